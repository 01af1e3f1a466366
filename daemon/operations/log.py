"""The log, event by event."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from daemon.operations.people import with_names
from daemon.operations.registry import Json, operation
from daemon.operations.times import iso, position_at
from events import canonical
from events.envelope import Recorded
from events.errors import SyncError
from events.registry import Fact

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.ports.store import EventStore, LogReader

BATCH_EVENTS: Final = 200
LAST_MAX: Final = 1_000_000
SUMMARY_CHARS_MAX: Final = 160


class NothingToFollow(SyncError):
    """The log stands still while a command holds its lock."""


class LogArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to read of the log.

    since, until  moments: since < event ≤ until; see `daemon.operations.times`
    stream        a stream, or with a closing `/` or `*` all that begin so
    types         names of event types; empty: all
    last          the last so many of what was found
    follow        go on with what is appended from now on, until cancelled
    facts         with the whole facts, not only their summaries
    """

    since: str | None = None
    until: str | None = None
    stream: str | None = None
    types: tuple[str, ...] = ()
    last: int | None = None
    follow: bool = False
    facts: bool = True


@operation("log", args=LogArgs, state=False)
async def log(app: App, args: LogArgs) -> AsyncGenerator[Json, None]:
    """Yield events in the order of the log."""
    if args.follow and app.address is None:
        raise NothingToFollow(
            "no daemon runs, so nothing would be appended", hint="start one: `labeltrail serve`"
        )
    store = app.store
    head = await store.head()
    after = await position_at(store, args.since) if args.since else 0
    upto = await position_at(store, args.until) if args.until else head
    async with opened(store) as reader:
        async for batch in _batches(lambda: _found(reader, args, after, upto)):
            for found in await with_names(app, batch):
                yield found
        while args.follow:
            after, upto = upto, await store.wait_beyond(upto)
            async for batch in _batches(lambda: _read(reader, args, after, upto)):  # noqa: B023
                for found in await with_names(app, batch):
                    yield found


@asynccontextmanager
async def opened(store: EventStore) -> AsyncIterator[LogReader]:
    """Open a reader for worker threads.

    Whoever waits for a thread may be cancelled, the thread goes on: closing waits for it, so that
    is done in a thread, too, and whatever cancels it.
    """
    reader = store.reader()
    try:
        yield reader
    finally:
        await asyncio.shield(asyncio.to_thread(reader.close))


async def _batches(begin: Callable[[], Iterator[Json]]) -> AsyncGenerator[list[Json], None]:
    """Walk through a blocking iterator in a worker thread, one batch at a time."""
    iterator = await asyncio.to_thread(begin)
    while batch := await asyncio.to_thread(lambda: list(islice(iterator, BATCH_EVENTS))):
        yield batch


def _found(reader: LogReader, args: LogArgs, after: int, upto: int) -> Iterator[Json]:
    if args.last is None:
        return _read(reader, args, after, upto)
    last = min(args.last, LAST_MAX)
    if args.stream is None and not args.types:
        return _read(reader, args, max(after, upto - last), upto)
    return iter(deque(_read(reader, args, after, upto), maxlen=last))


def _read(reader: LogReader, args: LogArgs, after: int, upto: int) -> Iterator[Json]:
    stream, prefix = _chosen(args.stream)
    for recorded in reader.read(after=after, upto=upto, stream=stream, prefix=prefix):
        if not args.types or recorded.type in args.types:
            yield spelled(recorded, reader.fact(recorded), facts=args.facts)


def _chosen(pattern: str | None) -> tuple[str | None, str | None]:
    """Return (stream, prefix) that a pattern stands for."""
    if pattern is not None and pattern.endswith(("/", "*")):
        return None, pattern.removesuffix("*")
    return pattern, None


def spelled(recorded: Recorded, fact: Fact, *, facts: bool) -> Json:
    """Return an event as people and programs see it: times in ISO, ids as UUIDs."""
    held = msgspec.to_builtins(fact)
    return {
        "kind": "event",
        "position": recorded.position,
        "stream": recorded.stream,
        "version": recorded.version,
        "id": str(uuid.UUID(bytes=recorded.id)),
        "type": recorded.type,
        "schema": recorded.schema,
        "recorded_at": iso(recorded.recorded_at),
        "occurred_at": None if recorded.occurred_at is None else iso(recorded.occurred_at),
        "actor": recorded.actor,
        "evidence": recorded.evidence,
        "correlation": _uuid(recorded.correlation),
        "causation": _uuid(recorded.causation),
        "leaf": recorded.leaf.hex(),
        # Through the canonical form, which has a spelling for what JSON has none for.
        **({"fact": orjson.loads(canonical.canonical(held))} if facts else {}),
        "summary": summary(held),
    }


def summary(held: dict[str, Any]) -> str:
    """Return a fact in one line: plain members as they are, of lists the length."""
    words = (f"{name}={_brief(value)}" for name, value in held.items())
    text = " ".join(words)
    return text if len(text) <= SUMMARY_CHARS_MAX else text[: SUMMARY_CHARS_MAX - 1] + "…"


def _brief(value: object) -> object:
    match value:
        case list() | tuple():
            return len(value)
        case dict():
            return "{" + ",".join(map(str, islice(value, 6))) + ("…}" if len(value) > 6 else "}")
        case str() if len(value) > 40:
            return value[:39] + "…"
    return value


def _uuid(id: bytes | None) -> str | None:
    return None if id is None else str(uuid.UUID(bytes=id))
