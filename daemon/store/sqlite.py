"""The log in SQLite: an event loop in front, one writer thread behind.

Appends that arrive while the last commit is being synced wait in a queue, and go
into one transaction and one fsync together; then all are acknowledged.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import structlog

from daemon.clock import Clock
from daemon.ports.store import (
    NOTHING_EXPECTED,
    Appended,
    LogIdentity,
    OnAppend,
    QueueFull,
    StoreClosed,
    StoreCondition,
    StoreFailed,
)
from daemon.store.checkpoints import Checkpoint
from daemon.store.follow import Followers
from daemon.store.lock import FolderLock
from daemon.store.prepare import Batch, TooLarge, is_for_writer, prepare, prepare_small
from daemon.store.reader import SqliteReader
from daemon.store.schema import LogMeta
from daemon.store.writer import LogWriter
from events.envelope import NewEvent
from events.errors import SyncError

LOG_NAME: Final = "log.db"
KEYS_NAME: Final = "keys"

QUEUE_APPENDS_MAX: Final = 10_000
QUEUE_BYTES_MAX: Final = 128 * 2**20
# Nothing came for so long: there is time to sign and to empty the WAL. A queue that is empty for
# a moment is none: whoever was answered comes again at once, and would wait behind that.
IDLE_S: Final = 0.05
QUIET_S: Final = 60.0
GROUP_EVENTS_MAX: Final = 20_000
GROUP_BYTES_MAX: Final = 32 * 2**20

log = structlog.get_logger(__name__)


class _Append(NamedTuple):
    """An append on its way.

    batch  returns it, or makes it first
    bytes  0 where that is not known before
    """

    batch: Callable[[], Batch]
    events: int
    bytes: int
    done: asyncio.Future[Appended]


class _Sign(NamedTuple):
    done: asyncio.Future[Checkpoint]


class _Stop(NamedTuple):
    done: asyncio.Future[None]


_Order = _Append | _Sign | _Stop

_STOPPED: Final = -1.0


class SqliteStore:
    """An EventStore on disk. Made by `open`; belongs to the loop it was opened in."""

    def __init__(self, path: Path, writer: LogWriter, lock: FolderLock | None) -> None:
        self.path = path
        self.meta: LogMeta = writer.meta
        self._writer = writer
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._followers = Followers(writer.head.position)
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._waiting: dict[asyncio.Future[Appended], _Append] = {}
        self._waiting_bytes = 0
        self._listeners: list[OnAppend] = []
        self._refuses: StoreFailed | None = None
        self._asking = threading.Lock()
        self._asked: SqliteReader | None = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        keys: Path | None = None,
        publish: Path | None = None,
        lock: FolderLock | None = None,
    ) -> SqliteStore:
        """Open a log, or make it.

        path     e.g. <data folder>/log.db
        keys     the folder of the signing key; beside the log unless given
        publish  a file that gets each signed checkpoint, outside of the log's folder
        lock     that of the data folder if the caller holds it; else it is taken here

        Raises DataFolderLocked, NotALog, LogTooNew, LogDamaged, BadKey.
        """
        taken = None if lock else FolderLock(path.parent)
        opening = asyncio.ensure_future(
            asyncio.to_thread(
                LogWriter, path, clock, keys=keys or path.parent / KEYS_NAME, publish=publish
            )
        )
        try:
            # Shielded, since a thread cannot be cancelled: what it opens must be closed again.
            writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: _abandon(done, taken))
            raise
        except BaseException:
            _abandon(opening, taken)
            raise
        return cls(path, writer, taken)

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        if not self._waiting and is_for_writer(events):
            self._check_open()
            make = partial(prepare_small, events, dict(expects), self.meta.salt)
            with suppress(TooLarge):
                return await self._send(make, events, 0)
        batch = await prepare(events, expects, self.meta.salt)
        self._check_room(batch)
        return await self._send(partial(_itself, batch), events, batch.bytes)

    async def _send(
        self, make: Callable[[], Batch], events: Sequence[NewEvent], size: int
    ) -> Appended:
        began_s = self._loop.time()
        order = _Append(make, len(events), size, self._loop.create_future())
        self._waiting[order.done] = order
        self._waiting_bytes += size
        self._orders.put(order)
        appended = await order.done
        if not appended.repeated:
            for listener in self._listeners:
                listener(events, self._loop.time() - began_s)
        return appended

    async def head(self) -> int:
        return self._followers.head

    async def version(self, stream: str) -> int:
        return await asyncio.to_thread(self._ask, lambda reader: reader.version(stream))

    async def wait_beyond(self, position: int) -> int:
        return await self._followers.beyond(position)

    async def position_at(self, time_us: int) -> int:
        return await asyncio.to_thread(self._ask, lambda reader: reader.position_at(time_us))

    def reader(self) -> SqliteReader:
        return SqliteReader(self.path)

    def identity(self) -> LogIdentity:
        return LogIdentity(self.meta.id, self.meta.epoch)

    def condition(self) -> StoreCondition:
        last = self._writer.last_checkpoint
        return StoreCondition(
            waiting=len(self._waiting),
            waiting_bytes=self._waiting_bytes,
            signed=last.position if last else 0,
            signed_recorded_at=last.recorded_at if last else 0,
        )

    def hear(self, listener: OnAppend) -> None:
        self._listeners.append(listener)

    async def checkpoint(self) -> Checkpoint:
        """Sign the head now, e.g. by a timer or before a backup."""
        self._check_open()
        order = _Sign(self._loop.create_future())
        self._orders.put(order)
        return await order.done

    async def close(self) -> None:
        """Write what waits, sign the head, empty the WAL, give the folder back."""
        if isinstance(self._refuses, StoreClosed):
            return
        broken = self._refuses is not None
        self._refuses = StoreClosed("the log is closed", hint="nothing was written")
        self._followers.close()
        if not broken:
            order = _Stop(self._loop.create_future())
            self._orders.put(order)
            # The thread ends by itself; a cancelled close must not leave it half closed.
            await asyncio.shield(order.done)
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._thread.join()
        with self._asking:
            if self._asked is not None:
                self._asked.close()

    # On the event loop.

    def _check_open(self) -> None:
        if self._refuses is not None:
            raise self._refuses

    def _check_room(self, batch: Batch) -> None:
        self._check_open()
        # One append of any size is taken when nothing waits, else it could never be written.
        bytes_then = self._waiting_bytes + batch.bytes
        if self._waiting and (
            len(self._waiting) >= QUEUE_APPENDS_MAX or bytes_then > QUEUE_BYTES_MAX
        ):
            raise QueueFull(
                "too much waits to be written",
                appends=len(self._waiting),
                bytes=self._waiting_bytes,
                hint="nothing was written; try again in a second",
            )

    def _settle(
        self, group: list[_Append], outcomes: list[Appended | Exception], head: int
    ) -> None:
        for order, outcome in zip(group, outcomes, strict=True):
            del self._waiting[order.done]
            self._waiting_bytes -= order.bytes
            _resolve(order.done, outcome)
        self._followers.moved(head)

    def _broke(self, error: StoreFailed) -> None:
        self._refuses = self._refuses or error
        self._followers.close()
        for done in self._waiting:
            _resolve(done, error)
        self._waiting.clear()

    # In the writer's thread.

    def _run(self) -> None:
        try:
            wait_s: float | None = None
            while (wait_s := self._turn(wait_s)) != _STOPPED:
                pass
        # Nobody stands above a thread: whoever waits must hear of whatever ended it.
        except BaseException as exc:
            # The text alone: a traceback with local variables would log what events hold.
            log.critical("log_writer_died", traceback=traceback.format_exc())
            self._tell(self._broke, StoreFailed("the log's writer died", reason=repr(exc)))
        finally:
            self._writer.abandon()
            if self._lock is not None:
                self._lock.release()

    def _turn(self, wait_s: float | None) -> float | None:
        """Write what waits; return how long to wait for more, None: until it comes."""
        group, order = self._take(wait_s)
        if group:
            self._tell(self._settle, group, self._written(group), self._writer.head.position)
        match order:
            case _Sign(done):
                self._tell(_resolve, done, self._signed())
            case _Stop(done):
                self._close_writer()
                self._tell(_resolve, done, None)
                return _STOPPED
            case None:
                self._tidy(idle=not group)
        if group:
            return IDLE_S
        # Woken from a long quiet only to sign what is not signed yet.
        return QUIET_S if self._writer.unsigned else None

    def _written(self, group: list[_Append]) -> list[Appended | Exception]:
        made = [_made(one) for one in group]
        written = iter(self._writer.write([one for one in made if isinstance(one, Batch)]))
        return [next(written) if isinstance(one, Batch) else one for one in made]

    def _take(self, wait_s: float | None) -> tuple[list[_Append], _Sign | _Stop | None]:
        group: list[_Append] = []
        events = size = 0
        try:
            order: _Order = self._orders.get(timeout=wait_s)
        except Empty:
            return group, None
        while isinstance(order, _Append):
            group.append(order)
            events += order.events
            size += order.bytes
            if events >= GROUP_EVENTS_MAX or size >= GROUP_BYTES_MAX:
                return group, None
            try:
                order = self._orders.get_nowait()
            except Empty:
                return group, None
        return group, order

    def _tidy(self, *, idle: bool) -> None:
        try:
            self._writer.tidy(idle=idle)
        except StoreFailed as exc:
            # What was acknowledged is in the WAL and stays there; this is tried again.
            log.warning("log_checkpoint_failed", error=str(exc))

    def _signed(self) -> Checkpoint | SyncError:
        try:
            return self._writer.sign()
        except StoreFailed as exc:
            return exc

    def _close_writer(self) -> None:
        try:
            self._writer.close()
        except StoreFailed as exc:
            log.warning("log_close_failed", error=str(exc))

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            # The loop is closed, so nobody waits any more.
            log.debug("log_writer_unheard")

    # In any worker thread.

    def _ask(self, question: Callable[[SqliteReader], int]) -> int:
        with self._asking:
            if self._asked is None:
                self._asked = self.reader()
            return question(self._asked)


def _itself(batch: Batch) -> Batch:
    return batch


def _made(order: _Append) -> Batch | Exception:
    # What is wrong with an append is for whoever sent it, and not the end of the thread.
    try:
        return order.batch()
    except Exception as exc:
        return exc


def _resolve(done: asyncio.Future[Any], outcome: object) -> None:
    if done.done():  # cancelled by whoever asked
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _abandon(opening: asyncio.Future[LogWriter], lock: FolderLock | None) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
    if lock is not None:
        lock.release()
