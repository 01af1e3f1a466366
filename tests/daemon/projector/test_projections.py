"""What every `Projections` promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.ports.projections import (
    BeyondLog,
    Projections,
    ProjectionsClosed,
    ProjectionsStuck,
    UnknownFold,
    WriteRefused,
)
from daemon.projector import MemoryProjections
from daemon.projector import projections as followed
from daemon.store.memory import MemoryStore
from events.envelope import Recorded
from events.registry import Fact
from projections.fold import Fold
from projections.tables import Tables
from tests.daemon.projector.tally import (
    CLOCK,
    FOLDS,
    TALLIES,
    TALLY_FOLD,
    Tally,
    make,
    refuse,
    tallies,
    version,
)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(CLOCK)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def projections(
    store: MemoryStore, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Projections]:
    projections = await make(request.param, store, FOLDS, tmp_path)
    yield projections
    await projections.close()


async def test_an_answer_holds_all_that_was_in_the_log_when_it_was_asked(
    store: MemoryStore, projections: Projections
) -> None:
    """A handler decides on what was acknowledged, not on what a follower happened to have read."""
    await refuse(store, "size", "form", "size")

    assert await projections.ask(tallies) == {"form": 1, "size": 2}

    await refuse(store, "form")

    assert await projections.ask(tallies) == {"form": 2, "size": 2}


async def test_the_state_at_a_position_is_what_was_true_there(
    store: MemoryStore, projections: Projections
) -> None:
    """Going back in time, forth again and to the beginning each give that moment's state."""
    await refuse(store, *"abcab")

    answers = {at: await projections.ask(tallies, at=at) for at in (3, 5, 1, 0, 4)}

    assert answers == {
        0: {},
        1: {"a": 1},
        3: {"a": 1, "b": 1, "c": 1},
        4: {"a": 2, "b": 1, "c": 1},
        5: {"a": 2, "b": 2, "c": 1},
    }


@pytest.mark.parametrize("at", [-1, 3])
async def test_a_position_outside_the_log_is_refused(
    store: MemoryStore, projections: Projections, at: int
) -> None:
    """The state "at 3" of a log of two events would be a guess."""
    await refuse(store, "a", "b")

    with pytest.raises(BeyondLog):
        await projections.ask(tallies, at=at)


async def test_a_question_runs_on_a_thread_of_the_projections(projections: Projections) -> None:
    """The loop never waits for a scan."""
    asked_on = await projections.ask(lambda _: threading.get_ident())

    assert asked_on != threading.get_ident()


@pytest.mark.parametrize("at", [None, 0])
async def test_a_question_cannot_write(projections: Projections, at: int | None) -> None:
    """State that did not come from the log could not be rebuilt from it."""
    with pytest.raises(WriteRefused):
        await projections.ask(lambda t: t.put(TALLIES, Tally(reason="x", count=1)), at=at)
    with pytest.raises(WriteRefused):
        await projections.ask(lambda t: t.delete(TALLIES, "x"), at=at)
    with pytest.raises(WriteRefused):
        await projections.ask(lambda t: t.rows(TALLIES), at=at)

    assert await projections.ask(tallies, at=at) == {}


async def test_a_scan_that_leaves_its_question_is_refused(
    store: MemoryStore, projections: Projections
) -> None:
    """It would read on the wrong thread, from tables that moved on."""
    await refuse(store, "a")

    rows = await projections.ask(lambda tables: tables.scan(TALLIES))

    with pytest.raises(RuntimeError, match="returned a scan"):
        list(rows)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_following_keeps_the_tables_near_the_head(
    store: MemoryStore, kind: str, tmp_path: Path
) -> None:
    """A page that takes what is there sees a log that is followed, without asking for more."""
    loop, folded = asyncio.get_running_loop(), asyncio.Event()

    def tell(_tables: Tables, _at: Recorded, _fact: Fact) -> None:
        loop.call_soon_threadsafe(folded.set)

    telling = Fold(name="telling", revision=1, tables=(), handlers={Fact: tell})
    projections = await make(kind, store, (*FOLDS, telling), tmp_path)
    following = asyncio.create_task(projections.follow())

    await refuse(store, "a")
    await folded.wait()

    assert await projections.ask(version, stale=True) == 1
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await projections.close()


class FloodedStore(MemoryStore):
    """A store to which something is appended whenever somebody looks, so many times."""

    left = 10

    async def head(self) -> int:
        if self.left:
            self.left -= 1
            await refuse(self, "a")
        return await super().head()


@pytest.mark.parametrize(("looks_max", "left"), [(20, 0), (4, 5)])
async def test_following_lets_a_flood_of_appends_go_first_for_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks_max: int, left: int
) -> None:
    """Folding takes turns from acknowledgements; but tables that nobody brings on tell nothing."""
    monkeypatch.setattr(followed, "FOLLOW_EVERY_S", 0)
    monkeypatch.setattr(followed, "FLOOD_EVENTS", 1)
    monkeypatch.setattr(followed, "FLOOD_LOOKS_MAX", looks_max)
    store = FloodedStore(CLOCK)
    loop, folded, found = asyncio.get_running_loop(), asyncio.Event(), []

    def tell(_tables: Tables, _at: Recorded, _fact: Fact) -> None:
        found.append(store.left)
        loop.call_soon_threadsafe(folded.set)

    telling = Fold(name="telling", revision=1, tables=(), handlers={Fact: tell})
    projections = await make("memory", store, (*FOLDS, telling), tmp_path)
    following = asyncio.create_task(projections.follow())
    await refuse(store, "a")
    await folded.wait()
    following.cancel()
    await asyncio.wait({following})
    await projections.close()
    await store.close()

    assert found[0] == left


async def test_following_goes_on_when_the_disk_takes_the_tables_again(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a while must not end the daemon, which still takes deliveries."""
    loop, folded, full = asyncio.get_running_loop(), asyncio.Event(), [True]

    def write(_tables: Tables, _at: Recorded, _fact: Fact) -> None:
        if full and full.pop():
            raise ProjectionsStuck("the disk is full")
        loop.call_soon_threadsafe(folded.set)

    writing = Fold(name="writing", revision=1, tables=(), handlers={Fact: write})
    monkeypatch.setattr(followed, "STUCK_S", 0)
    projections = await make("sqlite", store, (*FOLDS, writing), tmp_path)

    with capture_logs() as lines:
        following = asyncio.create_task(projections.follow())
        await refuse(store, "a")
        await folded.wait()

    assert [line["event"] for line in lines] == ["projections_behind"]
    assert await projections.ask(version) == 1
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await projections.close()


async def test_following_ends_at_once_while_a_long_question_runs(
    store: MemoryStore, projections: Projections
) -> None:
    """A shutdown does not wait for somebody's page."""
    began, may_end = threading.Event(), threading.Event()

    def long_question(_tables: Tables) -> None:
        began.set()
        may_end.wait()

    asked = asyncio.create_task(projections.ask(long_question))
    await asyncio.to_thread(began.wait)
    following = asyncio.create_task(projections.follow())
    await refuse(store, "a")
    await asyncio.sleep(0)

    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following

    may_end.set()
    await asked


async def test_a_question_that_raises_fails_alone(
    store: MemoryStore, projections: Projections
) -> None:
    """One bad page must not end the thread that all others need."""
    await refuse(store, "a")

    with pytest.raises(ZeroDivisionError):
        await projections.ask(lambda _: 1 // 0)

    assert await projections.ask(tallies) == {"a": 1}


async def test_a_rebuild_gives_the_same_state_and_tells_how_far_it_is(
    store: MemoryStore, projections: Projections
) -> None:
    """Projections may be thrown away at any time: the log has it all."""
    head = await refuse(store, *"abcab")
    before = await projections.ask(tallies)
    told: list[tuple[int, int]] = []

    rebuilt = await projections.rebuild(progress=lambda at, upto: told.append((at, upto)))

    assert await projections.ask(tallies) == before
    assert (rebuilt.position, sorted(rebuilt.folds)) == (head, ["streams", "tally"])
    assert told[-1] == (head, head)


async def test_names_that_no_fold_has_are_refused(projections: Projections) -> None:
    """A typing mistake in `replay --only` must not pass as "nothing to do"."""
    with pytest.raises(UnknownFold):
        await projections.rebuild(["tallies"])
    with pytest.raises(UnknownFold):
        await projections.ask(tallies, folds=["tallies"])


async def test_closed_projections_say_so(store: MemoryStore) -> None:
    """An await that never ends would hang the shutdown."""
    projections = MemoryProjections(store, FOLDS)
    await projections.ask(tallies)

    await projections.close()

    for at in (None, 0):
        with pytest.raises(ProjectionsClosed):
            await projections.ask(tallies, at=at)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_fold_that_fails_says_where_and_leaves_no_half_batch(
    store: MemoryStore, kind: str, tmp_path: Path
) -> None:
    """The error names fold and position; no later answer comes from half of what was folded."""

    def trip(tables: Tables, at: Recorded, fact: Fact) -> None:
        if at.position == 3:
            raise ZeroDivisionError

    faulty = Fold(name="faulty", revision=1, tables=(), handlers={Fact: trip})
    projections = await make(kind, store, (TALLY_FOLD, faulty), tmp_path)
    await refuse(store, *"aaa")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as raised:
            await projections.ask(tallies)
        assert "fold 'faulty', position 3" in raised.value.__notes__[0]

    assert await projections.ask(tallies, stale=True) == {}
    await projections.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_later_position_folds_only_what_lies_between(
    store: MemoryStore, kind: str, tmp_path: Path
) -> None:
    """Walking through history forwards costs the walk, not a replay at every step."""
    seen: list[int] = []
    noting = Fold(
        name="noting",
        revision=1,
        tables=(),
        handlers={Fact: lambda _t, at, _f: seen.append(at.position)},
    )
    projections = await make(kind, store, (*FOLDS, noting), tmp_path)
    await refuse(store, *"abcab")

    for at in (2, 4, 4, 1):
        await projections.ask(tallies, at=at)

    await projections.close()
    assert seen == [1, 2, 3, 4, 1]
