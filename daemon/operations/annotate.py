"""`annotate`: bring a selection of samples to CVAT."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.operations.progress import with_progress
from daemon.operations.registry import Json, operation
from daemon.operations.run import describe
from events.annotations import AttributeSpec
from events.errors import SyncError
from events.run import LabelType, Policy, Tripwire
from projections.run_keys import known_run
from projections.upload import AnnotateRequest, FieldRequest, Selection, request_run

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.handlers.annotate import Progress


class AnnotateArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run to ask for. Without `fields` an interrupted run of this key goes on.

    fields      FiftyOne label fields; `label_type` and `classes` are theirs where given
    attributes  None infers them; empty sends none
    """

    dataset: str
    key: str
    server: str | None = None
    fields: tuple[str, ...] = ()
    label_type: LabelType | None = None
    classes: tuple[str, ...] | None = None
    attributes: tuple[AttributeSpec, ...] | None = None
    forbid: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    limit: int | None = None
    task_size: int | None = None
    segment_size: int | None = None
    image_quality: int = 75
    policy: Policy = "manual"
    project: str | None = None
    no_project: bool = False
    tripwire_share: float = 0.2
    tripwire_labels: int = 50
    dry_run: bool = False


class NoFields(SyncError):
    """A new run was asked for without a label field."""


@operation("annotate", args=AnnotateArgs, writes="CVAT")
async def annotate(app: App, args: AnnotateArgs) -> AsyncGenerator[Json, None]:
    """Ask for a run and carry it to the end; an interrupted one goes on where it stopped."""
    app.dataset(args.dataset)
    asked = _asked(app, args)
    known = await app.projections.ask(lambda tables: known_run(tables, args.dataset, args.key))
    if known is None and not args.fields:
        raise NoFields(
            "there is no such run to go on with, and a new one needs a label field",
            dataset=args.dataset,
            key=args.key,
            hint="nothing was written; name one with --field, or see `labeltrail run ls`",
        )
    if known is None or known.opened or args.dry_run:
        # Also for a key that is taken: the decision says so.
        decision = await app.projections.ask(lambda tables: request_run(tables, asked))
        for draft in decision.drafts if args.dry_run else ():
            yield {"kind": "plan", "stream": draft.stream, **msgspec.to_builtins(draft.fact)}
        if args.dry_run:
            return
    server = known.request.server if known else asked.server

    async def carry(progress: Progress) -> Json:
        handler = await wiring.annotate(app, server, args.dataset, progress)
        if known is None:
            await handler.request(asked)
        await handler.resume(args.dataset, known.key if known else args.key)
        return await app.projections.ask(lambda tables: describe(tables, args.dataset, args.key))

    async for found in with_progress(carry):
        yield found


def _asked(app: App, args: AnnotateArgs) -> AnnotateRequest:
    forbidden = dict.fromkeys(args.forbid, False)
    attributes = True if args.attributes is None else args.attributes
    return AnnotateRequest(
        dataset=args.dataset,
        key=args.key,
        server=wiring.server_name(app, args.server),
        fields=tuple(
            FieldRequest(
                name=name,
                type=args.label_type,
                classes=args.classes,
                attributes=attributes,
                **forbidden,
            )
            for name in args.fields
        ),
        selection=Selection(ids=args.ids, tags=args.tags, limit=args.limit),
        task_size=args.task_size,
        segment_size=args.segment_size,
        image_quality=args.image_quality,
        policy=args.policy,
        project=args.project,
        hooked=not args.no_project,
        tripwire=Tripwire(share=args.tripwire_share, labels_min=args.tripwire_labels),
    )
