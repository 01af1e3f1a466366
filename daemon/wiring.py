"""Join the parts of an app into what handlers need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon import keys
from daemon.handlers.annotate import Annotate, Progress
from daemon.handlers.backfill import Backfill
from daemon.handlers.carry_out import Journal
from daemon.handlers.cleanup import Cleanup
from daemon.handlers.issues import IssueText, IssueWatch
from daemon.handlers.load import Load
from daemon.handlers.observe import JobWatch
from daemon.handlers.projects import Hook
from daemon.handlers.tasks import TaskWatch
from daemon.manifests.media import MediaPlaces
from daemon.manifests.source import Source
from daemon.rounds import Rounds
from events.errors import SyncError
from projections.restored import check_swept

if TYPE_CHECKING:
    from daemon.app import App


def journal(app: App) -> Journal:
    """Return the log as the app's actor writes to it."""
    return Journal(app.store, app.projections, app.clock, actor=app.actor, evidence="command")


def witness(app: App) -> Journal:
    """Return the log for what was seen to happen: the command that looks is not who did it."""
    return Journal(app.store, app.projections, app.clock)


async def watch(app: App, server: str, *, by_command: bool = True) -> JobWatch:
    """Return what watches the jobs of a server. Raises UnknownServer and CvatError.

    by_command  somebody wants to merge or write now; raises NotSweptYet
    """
    if by_command:
        await app.projections.ask(lambda tables: check_swept(tables, server))
    cvat = await app.cvat(server)
    own = (await cvat.self_user()).get("id")
    return JobWatch(cvat, witness(app), app.pool, own)


async def load(app: App, server: str) -> Load:
    """Return what loads runs of a server."""
    return Load(await watch(app, server), app.clock, app.server(server).settle_s)


async def cleanup(
    app: App, server: str, progress: Progress = lambda what, done, total: None
) -> Cleanup:
    """Return what takes runs off a server."""
    return Cleanup(await watch(app, server), journal(app), progress)


async def annotate(app: App, server: str, dataset: str, progress: Progress) -> Annotate:
    """Return what brings runs of a dataset to a server."""
    declared = app.dataset(dataset)
    source = Source(dataset, declared.manifest, tuple(declared.media_roots))
    places = MediaPlaces(source.folder, source.media_roots)

    def file_of(document: Mapping[str, Any]) -> Path:
        return places.resolve(document.get("filepath"))

    return Annotate(
        await watch(app, server), journal(app), file_of, await hook(app, server), progress
    )


async def backfill(app: App, server: str, *, by_command: bool = True) -> Backfill:
    """Return what records the deliveries of a server's webhooks that never reached us."""
    kept = journal(app) if by_command else witness(app)
    target_url = (await hook(app, server)).target_url
    return Backfill(await app.cvat(server), kept, target_url, app.delivered)


async def rounds(app: App, server: str) -> Rounds:
    """Return what is looked at from time to time beside a server's jobs."""

    async def keep_text(text: IssueText) -> None:
        await app.people.keep_text(text.name, text.author, text.salt, text.text)

    cvat = await app.cvat(server)
    kept = Journal(app.store, app.projections, app.clock)
    return Rounds(
        await backfill(app, server, by_command=False),
        TaskWatch(cvat, kept),
        IssueWatch(cvat, kept, keep_text),
        clock=app.clock,
    )


class WhichServer(SyncError):
    """No server was named, and not exactly one is declared."""


def server_name(app: App, given: str | None) -> str:
    """Return the server that is meant. Raises WhichServer and UnknownServer."""
    declared = sorted(app.settings.servers)
    if given is None and len(declared) != 1:
        raise WhichServer(
            "it is not clear which CVAT server is meant",
            declared=declared,
            hint="name one with --server, or declare one with `labeltrail server add`",
        )
    name = given or declared[0]
    app.server(name)
    return name


async def hook(app: App, server: str) -> Hook:
    """Return where the server's webhooks reach us, and the secret they are signed with."""
    given = app.server(server).webhook_secrets
    secret = (
        given[0].get_secret_value()
        if given
        else await asyncio.to_thread(keys.make_webhook_secret, app.folder, server)
    )
    http = app.settings.http
    base = http.public_url or app.address or f"http://{http.host}:{http.port}"
    return Hook(f"{base.rstrip('/')}/webhooks/cvat/{server}", secret)
