"""The daemon's side of the front: it judges deliveries, and keeps a front running."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.crash import crash
from daemon.http.front import wire
from daemon.http.front.front import HEADS_S, STOP_S
from daemon.http.front.wire import Answer, Channel, Delivery, Limits
from daemon.http.receiver import Given, Receiver
from daemon.http.requests import Requests
from daemon.http.webhook import PATH, RECEIVED, verdict
from daemon.pool import HOME, python
from events.errors import SyncError

READY_S: Final = 30.0
AGAIN_S: Final = 1.0  # before a front that died is replaced
END_S: Final = 2.0  # to end, once everything is answered

UNREAD: Final[dict[wire.Unread, str]] = {
    "too large": "the body is too large",
    "too slow": "the body did not arrive in time",
}

StartFront = Callable[[socket.socket, Path, Limits, socket.socket], Awaitable[object]]
"""Runs a front until it ends: the listening socket, the site's path, limits, and its end of a pair,
which is closed afterwards."""

log = structlog.get_logger(__name__)


class FrontFailed(SyncError):
    """The process that speaks HTTP does not start."""


class Unread(SyncError):
    """A delivery's body was not read to its end."""


class Desk:
    """One front's deliveries, from the pair of sockets to the log and back."""

    def __init__(self, receiver: Receiver, requests: Requests, ready: asyncio.Event) -> None:
        self.channel = Channel(self.hear, self.lost)
        self._ready = ready
        self._receiver = receiver
        self._requests = requests
        self._answers: list[Answer] = []  # of this turn of the loop
        self._received: Counter[str] = Counter()  # deliveries among them, by server
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, kind: bytes, body: bytes) -> None:
        """Take a frame."""
        if kind == wire.DELIVERIES:
            self._take(wire.decode_deliveries(body))
        elif kind == wire.BAD_REQUEST:
            log.info("bad_request", error=wire.decode_text(body))
        elif kind == wire.FAILED:
            log.error("front_failed", **wire.decode_crash(body))
        elif kind == wire.READY:
            self._ready.set()

    def lost(self) -> None:
        """Nothing: whoever runs the front sees its end. What came is recorded all the same."""

    def _take(self, deliveries: list[Delivery]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        given = []
        for one in deliveries:
            told = partial(self._answer, one, began_s)
            if one.unread is not None:
                self._tasks.add(task := loop.create_task(self._refuse(one, told)))
                task.add_done_callback(self._tasks.discard)
            else:
                sent = one.signature
                signature = None if sent is None else sent.decode("utf-8", "surrogateescape")
                given.append(Given(one.server, one.body, signature, told))
        self._receiver.take(given)

    async def _refuse(self, one: Delivery, told: Callable[[BaseException], None]) -> None:
        assert one.unread is not None
        try:
            self._receiver.check_known(one.server)
            refused = Unread(UNREAD[one.unread])
            told(await self._receiver.refused(one.server, one.unread, refused))
        except SyncError as exc:
            told(exc)

    def _answer(self, one: Delivery, began_s: float, outcome: bool | BaseException) -> None:
        found = verdict(outcome)
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._send)
        self._answers.append(Answer(one.number, found.status, found.text))
        if found is RECEIVED:
            # Its line is that of the append.
            self._received[one.server] += 1
            return
        if found.status == 500 and isinstance(outcome, BaseException):
            log.error("delivery_failed", server=one.server, **crash(outcome))
        told = {} if found.status == 404 else {"server": one.server}
        if found.outcome is not None:
            told["outcome"] = found.outcome
            self._requests.metrics.delivered(one.server, found.outcome)
        self._requests.note("POST", PATH, found.status, began_s, one.peer, **told)

    def _send(self) -> None:
        answers, self._answers = self._answers, []
        received, self._received = self._received, Counter()
        self.channel.send(wire.ANSWERS, answers)
        metrics = self._requests.metrics
        for server, number in received.items():
            metrics.requested("POST", PATH, "204", number)
            metrics.delivered(server, "received", number)


@asynccontextmanager
async def standing(
    receiver: Receiver,
    requests: Requests,
    bound: socket.socket,
    site: Path,
    limits: Limits,
    start: StartFront | None = None,
) -> AsyncIterator[None]:
    """Have a front at a listening socket, also when it dies; then let running requests end.

    bound  is closed at the end
    site   the socket of what answers all that is no delivery

    Raises FrontFailed.
    """
    keeper = _Keeper(receiver, requests, partial(start or in_a_process, bound, site, limits))
    keeping = asyncio.create_task(keeper.keep(), name="front")
    try:
        await _wait_ready(keeper)
        yield
    finally:
        bound.close()
        keeper.stop()
        await asyncio.wait({keeping}, timeout=HEADS_S + STOP_S + END_S)
        keeping.cancel()
        await asyncio.wait({keeping})


async def _wait_ready(keeper: _Keeper) -> None:
    try:
        async with asyncio.timeout(READY_S):
            await keeper.ready.wait()
    except TimeoutError as exc:
        raise FrontFailed(
            "the process that speaks HTTP does not start",
            seconds=READY_S,
            hint="the lines of the service's log before this one tell what kept it from that",
        ) from exc


class _Keeper:
    """Keeps one front running."""

    def __init__(
        self,
        receiver: Receiver,
        requests: Requests,
        start: Callable[[socket.socket], Awaitable[object]],
    ) -> None:
        self.ready = asyncio.Event()
        self._receiver = receiver
        self._requests = requests
        self._start = start
        self._desk: Desk | None = None
        self._stopping = False

    def stop(self) -> None:
        """Let the front end."""
        self._stopping = True
        if self._desk is not None:
            self._desk.channel.send(wire.STOP)

    async def keep(self) -> None:
        """Run a front, and another one when it died."""
        while not self._stopping:
            try:
                await self._run_one()
            except OSError as exc:
                # No handles, no memory: it may be otherwise in a moment.
                log.error("front_not_started", error=type(exc).__name__, reason=exc.strerror)
            if not self._stopping:
                log.error("front_ended", again_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)

    async def _run_one(self) -> None:
        ours, theirs = socket.socketpair()
        self._desk = desk = Desk(self._receiver, self._requests, self.ready)
        await desk.channel.join(ours)
        try:
            if not self._stopping:
                await self._start(theirs)
        finally:
            desk.channel.close()
            theirs.close()


async def in_a_process(
    bound: socket.socket, site: Path, limits: Limits, pair: socket.socket
) -> None:
    """Run a front in a process of its own until that ends."""
    process = await asyncio.create_subprocess_exec(
        *python("daemon.http.front"),
        *(str(bound.fileno()), str(pair.fileno()), str(site), msgspec.json.encode(limits)),
        pass_fds=(bound.fileno(), pair.fileno()),
        stdin=DEVNULL,
        cwd=HOME,
        # It knows no secret, so that none can be had of it.
        env={name: value for name, value in os.environ.items() if not _is_ours(name)},
        # Ctrl-C is for the daemon, which tells it when to end.
        start_new_session=True,
    )
    pair.close()  # so that the end of the process is the end of the pair
    try:
        await process.wait()
    finally:
        with suppress(ProcessLookupError):
            if process.returncode is None:
                process.kill()
        await process.wait()


def _is_ours(name: str) -> bool:
    return name.startswith("LABELTRAIL_") or name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET")
