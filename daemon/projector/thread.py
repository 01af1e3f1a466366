"""The projector's thread: takes requests, brings the tables forward, answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from daemon.ports.projections import Progress, ProjectionsClosed, Rebuilt
from daemon.projector.keeper import Keeper
from daemon.projector.view import View
from projections.tables import Tables

T = TypeVar("T")

Wake = Callable[[], None]
"""Has the thread look around, from any other."""


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
    upto: int
    progress: Progress
    future: Future[Rebuilt] = field(default_factory=Future)

    def ready(self, keeper: Keeper) -> bool:
        return keeper.building is None and keeper.position >= self.upto

    def answer(self, keeper: Keeper) -> Rebuilt:
        return Rebuilt(folds=self.folds, position=keeper.position)


class Look:
    """No request: something came further without the thread."""


class Projector:
    """Owns the keeper on one thread. `put` may be called from any."""

    def __init__(self, open_keeper: Callable[[Wake], Keeper]) -> None:
        self._open_keeper = open_keeper
        self._inbox: queue.SimpleQueue[Ask | Rebuild | Look | None] = queue.SimpleQueue()
        self._waiting: list[Ask | Rebuild] = []
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._closing = False
        self.position = 0  # Written by the thread, read by whoever asks how far it is.
        self._lock = threading.Lock()  # No request comes in after the last look at the inbox.
        self._cause: BaseException | None = None
        self._stuck = False  # Building failed; it is tried again when somebody asks.

    def put(self, request: Ask | Rebuild) -> None:
        """Hand in a request; its future tells the outcome. Raises ProjectionsClosed."""
        with self._lock:
            if self._closing:
                raise ProjectionsClosed("the projections were closed") from self._cause
            # First the request, then the thread: it would fold a batch before it looks again.
            self._inbox.put(request)
            if self._thread.ident is None:
                self._thread.start()

    def wake(self) -> None:
        """Have it look around: what it waits for may be there."""
        self._inbox.put(Look())

    def stop(self) -> None:
        """Let it stop after the batch or the question at hand."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._inbox.put(None)

    def close(self) -> None:
        """Stop, and wait for that. Blocks."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        keeper: Keeper | None = None
        try:
            keeper = self._open_keeper(self.wake)
            self.position = keeper.position
            while self._take(keeper):
                self._answer_ready(keeper)
                self._work(keeper)
                self.position = keeper.position
            self._end(ProjectionsClosed("the projections were closed"))
        except BaseException as exc:  # Whoever waits must hear of it, whatever it was.
            self._end(exc)
        finally:
            if keeper is not None:
                keeper.close()

    def _end(self, exc: BaseException) -> None:
        with self._lock:
            self._closing, self._cause = True, exc
        while not self._inbox.empty():
            if isinstance(request := self._inbox.get(), Ask | Rebuild):
                self._waiting.append(request)
        self._fail_waiting(exc, self._waiting)

    def _take(self, keeper: Keeper) -> bool:
        """Take what came in; wait for it only when there is nothing to do. False: stop."""
        idle = self._is_idle(keeper)
        while idle or not self._inbox.empty():
            request = self._inbox.get()
            if request is None:
                return False
            idle = False
            if isinstance(request, Look):
                continue
            self._waiting.append(request)
            self._stuck = False
            if isinstance(request, Rebuild):
                self._attempt(keeper, partial(keeper.begin, request.folds))
        return True

    def _is_idle(self, keeper: Keeper) -> bool:
        if keeper.building is None or self._stuck:
            return not self._waiting
        # Those who wait for more than this thread can do wait for others to build it.
        return keeper.away and not (
            self._is_behind(keeper) or any(request.ready(keeper) for request in self._waiting)
        )

    def _is_behind(self, keeper: Keeper) -> bool:
        return keeper.position < self._upto and not keeper.frozen

    @property
    def _upto(self) -> int:
        return max((request.upto for request in self._waiting), default=0)

    def _answer_ready(self, keeper: Keeper) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if request.future.cancelled():
                if isinstance(request, Rebuild):
                    keeper.abandon()
            elif not request.ready(keeper) or not self._answer(request, keeper):
                self._waiting.append(request)

    def _answer(self, request: Ask | Rebuild, keeper: Keeper) -> bool:
        """Answer, be it with an error. False: the tables were damaged, so it must wait."""
        try:
            answer = request.answer(keeper)
        except Exception as exc:
            if keeper.heal(exc):
                return False
            _fail(request, exc)
        else:
            if request.future.set_running_or_notify_cancel():
                request.future.set_result(answer)
        return True

    def _work(self, keeper: Keeper) -> None:
        """Bring the live tables forward by a batch, and the new ones too."""
        if self._is_behind(keeper):
            self._attempt(keeper, partial(keeper.advance, self._upto))
        if keeper.building is not None and not self._stuck:
            self._attempt(keeper, keeper.build)
            self._report(keeper)

    def _attempt(self, keeper: Keeper, act: Callable[[], None]) -> None:
        """Change tables. An error is told to those who wait for just this."""
        try:
            act()
        except Exception as exc:
            if keeper.heal(exc):
                return
            self._stuck = True
            rebuilds = [one for one in self._waiting if isinstance(one, Rebuild)]
            # The live tables can go on, whatever became of those of a rebuild.
            alone = rebuilds and act == keeper.build and not keeper.frozen
            if rebuilds:
                keeper.abandon()
            self._fail_waiting(exc, rebuilds if alone else self._waiting)

    def _report(self, keeper: Keeper) -> None:
        built = keeper.position if keeper.building is None else keeper.building
        for request in self._waiting:
            if isinstance(request, Rebuild):
                request.progress(built, keeper.position)

    def _fail_waiting(self, exc: BaseException, failed: Sequence[Ask | Rebuild]) -> None:
        self._waiting = [request for request in self._waiting if request not in failed]
        for request in failed:
            _fail(request, exc)


def _fail(request: Ask | Rebuild, exc: BaseException) -> None:
    if request.future.set_running_or_notify_cancel():
        request.future.set_exception(exc)
