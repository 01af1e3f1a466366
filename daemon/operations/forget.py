"""Erase what is known of a person beside the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.registry import Json, operation
from daemon.people import ACTOR, NobodyKnown
from events.envelope import NewEvent
from events.log import PEOPLE_STREAM, PersonForgotten

if TYPE_CHECKING:
    from daemon.app import App


class ForgetArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """person: SERVER/USER ID, or a user name that only one person has."""

    person: str
    dry_run: bool = False


@operation("forget", args=ForgetArgs, writes="folder", state=False)
async def forget(app: App, args: ForgetArgs) -> AsyncGenerator[Json, None]:
    """Erase the names, the mail address and the texts of a person; every proof stays valid."""
    actor = await _actor(app, args.person)
    erased = await app.people.forget(actor, dry_run=args.dry_run)
    if not args.dry_run:
        # After the erasure: an event must not say what a crash has kept from happening.
        fact = PersonForgotten(person=actor)
        event = NewEvent(
            id=app.clock.new_id(),
            stream=PEOPLE_STREAM,
            fact=fact,
            actor=app.actor,
            evidence="command",
        )
        await app.store.append([event])
    yield {"kind": "forgotten", "person": actor, **msgspec.structs.asdict(erased)}


async def _actor(app: App, person: str) -> str:
    """Return the actor that is meant. Raises NobodyKnown."""
    if ACTOR.fullmatch(person):
        return person
    found = [one.actor for one in await app.people.named(person)]
    if len(found) != 1:
        raise NobodyKnown(
            "more than one person has this name" if found else "nobody known has this name",
            found=found or None,
            hint="nothing was erased; give SERVER/USER ID, as `labeltrail log` shows it",
        )
    return found[0]
