"""`GET /api/v1/events`: the log as server-sent events, from any position on.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. The id of an event is its
position, so `Last-Event-ID` goes on where a client was cut off. Nothing is queued for a client:
each reads the log at its own pace, and one that takes nothing for a while is let go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from daemon.http.api.answers import write
from daemon.http.api.problems import SeenFurther
from daemon.operations.registry import BadArguments, Json, find
from daemon.spelling import encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from daemon.app import App

HEARTBEAT_S: Final = 15.0
RECONNECT_MS: Final = 2_000
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}


class FeedArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin, and what to hear of.

    after          the position that was seen last; 0 is the whole log, without one the feed begins
                   with what is appended from now on. The header Last-Event-ID goes before it
    log_id, epoch  as the feed's first message named them: the log that `after` belongs to
    stream         a stream, or with a closing `/` or `*` all that begin so
    types          names of event types; empty: all
    facts          with the whole facts, not only their summaries
    """

    after: int | None = None
    log_id: str | None = None
    epoch: int | None = None
    stream: str | None = None
    types: tuple[str, ...] = ()
    facts: bool = True


def resumed(args: FeedArgs, last_event_id: str | None) -> FeedArgs:
    """Return the arguments of a client that comes back. Raises BadArguments."""
    if not last_event_id:
        return args
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
        raise BadArguments("Last-Event-ID is no position", given=last_event_id[:40])
    return msgspec.structs.replace(args, after=int(last_event_id))


class Feed:
    """One client's feed. `allowed` tells whether its token is still good."""

    def __init__(
        self, app: App, request: web.Request, args: FeedArgs, allowed: Callable[[], bool]
    ) -> None:
        self._app = app
        self._request = request
        self._args = args
        self._allowed = allowed
        self._response = web.StreamResponse(headers=HEADERS)

    @property
    def begun(self) -> bool:
        """Tell whether the status is sent."""
        return self._response.prepared

    async def run(self) -> web.StreamResponse:
        """Write events until the client, the token or the daemon goes. Raises SeenFurther."""
        after = await self._checked()
        identity = self._app.store.identity()
        await self._response.prepare(self._request)
        told: Json = {"log_id": identity.id.hex(), "epoch": identity.epoch, "position": after}
        await self._message(told, event="log", id=after, retry=RECONNECT_MS)
        arguments = {
            "since": f"@{after}",
            "stream": self._args.stream,
            "types": self._args.types,
            "facts": self._args.facts,
            "follow": True,
        }
        async with aclosing(find("log").start(self._app, arguments)) as events:
            await self._pour(events)
        return await self.end("the token was revoked")

    async def end(self, reason: str) -> web.StreamResponse:
        """Say why the feed ends, and end it."""
        await self._message({"reason": reason}, event="end")
        await self._response.write_eof()
        return self._response

    async def _checked(self) -> int:
        """Return the position to begin after. Raises SeenFurther."""
        head, identity = await self._app.store.head(), self._app.store.identity()
        facts = {"log_id": identity.id.hex(), "epoch": identity.epoch, "position": head}
        hint = "the log was restored or replaced: drop what you hold, and read it from after=0"
        wanted, epoch = self._args.log_id, self._args.epoch
        if wanted not in (None, identity.id.hex()) or epoch not in (None, identity.epoch):
            raise SeenFurther("this is not the log that was read before", **facts, hint=hint)
        after = head if self._args.after is None else self._args.after
        if after > head:
            raise SeenFurther(
                "the log has not come so far as was seen of it", **facts, after=after, hint=hint
            )
        return max(after, 0)

    async def _pour(self, events: AsyncGenerator[Json, None]) -> None:
        """Write events, and a sign of life where none come; return once the token is gone."""
        while self._allowed():
            coming = asyncio.ensure_future(anext(events))
            try:
                while not (await asyncio.wait({coming}, timeout=HEARTBEAT_S))[0]:
                    await write(self._request, self._response, b": still here\n\n")
                    if not self._allowed():
                        return
                found = coming.result()
            finally:
                # The generator can be closed only when nobody waits for its next value.
                coming.cancel()
                await asyncio.wait({coming})
            await self._message(found, id=found["position"])

    async def _message(self, found: dict[str, Any], **fields: str | int) -> None:
        head = "".join(f"{name}: {value}\n" for name, value in fields.items())
        piece = head.encode("ascii") + b"data: " + encode(found) + b"\n\n"
        await write(self._request, self._response, piece)
