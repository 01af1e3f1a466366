"""Hold the log against what was signed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.exits import NOT_VERIFIED
from daemon.operations.registry import Json, exit_with, operation
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App


class NoLog(SyncError):
    """There is no log in the data folder."""


class VerifyStopped(SyncError):
    """Verification was cancelled."""


class VerifyArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """against: a file with a checkpoint that was published elsewhere."""

    against: str | None = None


@operation("verify", args=VerifyArgs)
async def verify(app: App, args: VerifyArgs) -> AsyncGenerator[Json, None]:
    """Read every byte of the log back. It is only read, also while the daemon writes it.

    Runs where it was asked for and takes no lock: a damaged log would not open for writing.
    """
    from daemon.app import know_all_events
    from daemon.store.sqlite import LOG_NAME
    from daemon.store.verified import Verified, note
    from daemon.store.verify import verify as read_back

    know_all_events()
    path = app.folder / LOG_NAME
    if not await asyncio.to_thread(path.exists):
        raise NoLog("there is no log here", path=str(path), hint="is [data] folder right?")
    stopped = threading.Event()

    def progress(_position: int, _head: int) -> None:
        if stopped.is_set():
            raise VerifyStopped("verification was cancelled")

    against = Path(args.against) if args.against else None
    try:
        report = await asyncio.to_thread(
            partial(read_back, path, against=against, progress=progress)
        )
    finally:
        stopped.set()
    kept = Verified(
        ok=report.ok,
        at=app.clock.now_us(),
        position=report.head,
        problems=report.problems_total,
    )
    await asyncio.to_thread(note, app.folder, kept)
    for problem in report.problems:
        # `kind` names the shape of the object here; the problem's own kind is its `sort`.
        found = msgspec.to_builtins(problem)
        yield {"kind": "problem", "sort": found.pop("kind"), **found}
    found = msgspec.to_builtins(report)
    del found["problems"]
    yield {"kind": "verified", "ok": report.ok, **found, "against": args.against}
    if not report.ok:
        yield exit_with(NOT_VERIFIED)
