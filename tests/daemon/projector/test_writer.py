"""Batches that are written while the next are folded: nobody can tell, not even when it fails."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.ports.projections import ProjectionsFailed
from daemon.projector import SqliteProjections, batch, shelf, writer
from daemon.projector.file import open_file
from daemon.projector.sqlite import SqliteKeeper
from daemon.store.driver import sqlite3
from daemon.store.memory import MemoryStore
from events.envelope import Recorded
from events.server import DeliveryRefused
from projections.compare import compare
from projections.fold import Fold, replay
from projections.tables import MemoryTables, Tables
from tests.daemon.projector.tally import (
    CLOCK,
    FOLDS,
    TALLIES,
    Tally,
    refuse,
    tallies,
)

EVENTS = 60
WAIT_S = 10


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(CLOCK)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def small_batches_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches of three events, and write all but the last one behind."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 3)
    monkeypatch.setattr(shelf, "WRITE_BEHIND_ROWS_MIN", 0)


def wander(tables: Tables, at: Recorded, fact: DeliveryRefused) -> None:
    """Read, write, scan and delete by turns, as some fold may."""
    step = random.Random(at.position)
    names = [f"{nth}" for nth in range(6)]
    for _ in range(step.randrange(4)):
        name = step.choice(names)
        match step.choice(["count", "delete", "take", "fold together", "look"]):
            case "count":
                known = tables.get(TALLIES, name)
                count = (known.count if known else 0) + at.position
                tables.put(TALLIES, Tally(reason=name, count=count))
            case "delete":
                tables.delete(TALLIES, name)
            case "fold together":
                for row in tables.scan(TALLIES):
                    doubled = Tally(reason=row.reason, count=row.count * 2 % 1009)
                    tables.put(TALLIES, doubled)
            case "look":
                rows = tables.rows(TALLIES)
                seen = sum(row.count for name in names if (row := rows[name]))
                rows["sum"] = Tally(reason="sum", count=seen)
            case "take":
                tables.rows(TALLIES).take(name)


WANDERING = Fold(
    name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: wander}
)  # fmt: skip


async def test_the_state_is_the_one_that_memory_has(store: MemoryStore, tmp_path: Path) -> None:
    """Promise 1: what a fold reads is what it wrote, wherever that is at the moment."""
    await refuse(store, *["a"] * EVENTS)
    fresh = MemoryTables()
    reader = store.reader()
    replay([WANDERING], fresh, ((at, reader.fact(at)) for at in reader.read()))

    projections = await SqliteProjections.open(tmp_path / "p.db", store, [WANDERING])
    differences = await projections.ask(lambda live: list(compare(live, fresh, WANDERING)))
    found = await projections.ask(tallies)
    await projections.close()

    assert differences == []
    assert found


def full_after(pages: int) -> Callable[[Path], sqlite3.Connection]:
    """Return what opens the file for the writer, on a disk that is full soon."""

    def opened(path: Path) -> sqlite3.Connection:
        conn = open_file(path)
        conn.execute(f"PRAGMA max_page_count = {pages}")
        return conn

    return opened


def remember(tables: Tables, at: Recorded, _fact: DeliveryRefused) -> None:
    """Count events, and write rows that need room."""
    known = tables.get(TALLIES, "events")
    tables.put(TALLIES, Tally(reason="events", count=(known.count if known else 0) + 1))
    tables.put(TALLIES, Tally(reason=f"{at.position:02}" * 500, count=at.position))


@pytest.mark.parametrize("scanning", [False, True])
async def test_a_full_disk_is_told_and_nothing_is_counted_twice(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, scanning: bool
) -> None:
    """The error comes while later events are folded already: they too must be folded again."""

    def handler(tables: Tables, at: Recorded, fact: Any) -> None:
        remember(tables, at, fact)
        if scanning and at.position % 7 == 0:
            assert next(tables.scan(TALLIES), None) is not None

    fold = Fold(name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: handler})
    await refuse(store, *["a"] * EVENTS)
    projections = await SqliteProjections.open(tmp_path / "p.db", store, [fold])
    monkeypatch.setattr(writer, "open_file", full_after(pages=20))

    with pytest.raises(ProjectionsFailed, match="cannot be read or written"):
        await projections.ask(tallies)

    monkeypatch.setattr(writer, "open_file", open_file)
    await projections.close()
    projections = await SqliteProjections.open(tmp_path / "p.db", store, [fold])
    found = await projections.ask(tallies)
    await projections.close()

    assert found["events"] == EVENTS
    assert len(found) == EVENTS + 1


async def test_a_fold_that_fails_leaves_what_was_on_its_way(
    store: MemoryStore, tmp_path: Path
) -> None:
    """The batch before it is good: it is kept, and counted once."""
    faulty = True

    def handler(tables: Tables, at: Recorded, fact: Any) -> None:
        assert not (faulty and at.position == 50), "a fault of the fold's own"
        remember(tables, at, fact)

    fold = Fold(name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: handler})
    await refuse(store, *["a"] * EVENTS)
    projections = await SqliteProjections.open(tmp_path / "p.db", store, [fold])

    with pytest.raises(AssertionError):
        await projections.ask(tallies)
    stood = projections.position
    faulty = False
    found = await projections.ask(tallies)
    await projections.close()

    assert stood == 48
    assert found["events"] == EVENTS


async def test_a_question_between_two_batches_sees_all_rows_of_the_first(
    store: MemoryStore, tmp_path: Path
) -> None:
    """`stale` answers come from what was folded, be it on its way or not."""
    await refuse(store, *"ab" * 20)
    projections = await SqliteProjections.open(tmp_path / "p.db", store, FOLDS)

    decision = asyncio.create_task(projections.ask(tallies))
    await asyncio.sleep(0)
    page = await projections.ask(lambda tables: sum(tallies(tables).values()), stale=True)

    assert await decision == {"a": 20, "b": 20}
    assert page in {*range(0, 40, batch.BATCH_EVENTS), 40}
    await projections.close()


async def test_what_could_not_be_written_is_folded_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    """The same tables go on once the cause is gone; else an hour of replay would be lost."""
    path = tmp_path / "p.db"
    fold = Fold(name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: remember})
    await refuse(store, *["a"] * EVENTS)
    projections = await SqliteProjections.open(path, store, [fold])
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "CREATE TRIGGER no BEFORE INSERT ON tally_r1_blue_tallies"
            " WHEN new.row LIKE '%:20}' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )

    with pytest.raises(sqlite3.IntegrityError, match="not this one"):
        await projections.ask(tallies)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("DROP TRIGGER no")
    found = await projections.ask(tallies)
    await projections.close()

    assert found["events"] == EVENTS
    assert len(found) == EVENTS + 1


async def test_a_scan_waits_for_rows_that_are_on_their_way(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that scans would miss what an earlier batch brought, and nobody would notice."""
    let_go = threading.Event()
    seen = []

    def opened(path: Path) -> sqlite3.Connection:
        assert let_go.wait(WAIT_S)
        return open_file(path)

    def handler(tables: Tables, at: Recorded, fact: Any) -> None:
        if at.position == batch.BATCH_EVENTS + 1:
            seen.extend(row.count for row in tables.scan(TALLIES))
        tables.put(TALLIES, Tally(reason=f"{at.position}", count=at.position))

    settle = shelf.SqliteShelf.settle

    def settling(self: shelf.SqliteShelf) -> None:
        let_go.set()  # Only now that somebody waits does the writer begin.
        settle(self)

    monkeypatch.setattr(writer, "open_file", opened)
    monkeypatch.setattr(shelf.SqliteShelf, "settle", settling)
    fold = Fold(name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: handler})
    await refuse(store, *["a"] * EVENTS)

    keeper = SqliteKeeper(tmp_path / "p.db", [fold], store.reader())
    while keeper.position < EVENTS:
        keeper.advance(EVENTS)
    keeper.close()

    assert seen == [1, 2, 3]
