"""The projector's thread: takes requests, brings the tables forward, answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.ports.projections import Progress, ProjectionsClosed, Rebuilt
from daemon.projector.keeper import Keeper
from daemon.projector.view import View
from projections.tables import Tables

T = TypeVar("T")


@dataclass(eq=False)
class Ask:
    """A question, and the position that the live tables must have reached for it."""

    question: Callable[[Tables], Any]
    upto: int
    folds: Collection[str] | None = None
    stale: bool = False
    future: Future[Any] = field(default_factory=Future)

    def ready(self, keeper: Keeper) -> bool:
        if self.stale and keeper.readable(self.folds):
            return True
        return keeper.position >= self.upto and not keeper.frozen

    def answer(self, keeper: Keeper) -> Any:
        view = View(keeper.tables())
        try:
            return self.question(view)
        finally:
            view.close()


@dataclass(eq=False)
class Rebuild:
    """New tables for some folds."""

    folds: tuple[str, ...]
    progress: Progress
    future: Future[Rebuilt] = field(default_factory=Future)
    upto: int = 0

    def ready(self, keeper: Keeper) -> bool:
        return keeper.building is None

    def answer(self, keeper: Keeper) -> Rebuilt:
        return Rebuilt(folds=self.folds, position=keeper.position)


class Projector:
    """Owns the keeper on one thread. `put` may be called from any."""

    def __init__(self, open_keeper: Callable[[], Keeper]) -> None:
        self._open_keeper = open_keeper
        self._inbox: queue.SimpleQueue[Ask | Rebuild | None] = queue.SimpleQueue()
        self._waiting: list[Ask | Rebuild] = []
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._closing = False
        self._lock = threading.Lock()  # No request comes in after the last look at the inbox.
        self._stuck = False  # Building failed; it is tried again when somebody asks.

    def put(self, request: Ask | Rebuild) -> None:
        """Hand in a request; its future tells the outcome."""
        with self._lock:
            self.start()
            self._inbox.put(request)

    def start(self) -> None:
        """Start the thread, where it does not run yet. For the event loop's thread."""
        if self._closing:
            raise _closed()
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Stop after the batch or the question at hand, and wait for that. Blocks."""
        self._closing = True
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        keeper: Keeper | None = None
        try:
            keeper = self._open_keeper()
            while self._take(keeper):
                self._answer_ready(keeper)
                self._work(keeper)
            self._end(_closed())
        except BaseException as exc:  # Whoever waits must hear of it, whatever it was.
            self._end(exc)
        finally:
            if keeper is not None:
                keeper.close()

    def _end(self, exc: BaseException) -> None:
        with self._lock:
            self._closing = True
            self._fail_all(exc)

    def _take(self, keeper: Keeper) -> bool:
        """Take what came in; wait for it only when there is nothing to do. False: stop."""
        idle = not self._waiting and (keeper.building is None or self._stuck)
        while idle or not self._inbox.empty():
            request = self._inbox.get()
            if request is None:
                return False
            if isinstance(request, Rebuild):
                keeper.begin(request.folds)
            self._waiting.append(request)
            idle = self._stuck = False
        return True

    def _answer_ready(self, keeper: Keeper) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if request.future.cancelled():
                if isinstance(request, Rebuild):
                    keeper.abandon()
            elif request.ready(keeper):
                _settle(request, keeper)
            else:
                self._waiting.append(request)

    def _work(self, keeper: Keeper) -> None:
        upto = max((request.upto for request in self._waiting), default=0)
        try:
            if keeper.position < upto and not keeper.frozen:
                keeper.advance(upto)
            elif keeper.building is not None:
                self._build(keeper)
        except Exception as exc:
            self._stuck = True
            keeper.abandon()
            self._fail_all(exc)

    def _build(self, keeper: Keeper) -> None:
        keeper.build()
        for request in self._waiting:
            if isinstance(request, Rebuild):
                request.progress(keeper.building or keeper.position, keeper.position)

    def _fail_all(self, exc: BaseException) -> None:
        while not self._inbox.empty():
            if (request := self._inbox.get()) is not None:
                self._waiting.append(request)
        for request in self._waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(exc)
        self._waiting = []


def _settle(request: Ask | Rebuild, keeper: Keeper) -> None:
    if not request.future.set_running_or_notify_cancel():
        return
    try:
        answer = request.answer(keeper)
    except Exception as exc:
        request.future.set_exception(exc)
    else:
        request.future.set_result(answer)


def _closed() -> ProjectionsClosed:
    return ProjectionsClosed("the projections were closed")
