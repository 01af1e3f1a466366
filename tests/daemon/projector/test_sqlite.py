"""What the file of the projections promises: restarts, crashes, damage, new code, other logs."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.ports.projections import ProjectionsFailed
from daemon.ports.store import EventStore
from daemon.projector import SqliteProjections, batch, shelf
from daemon.projector.file import open_file
from daemon.projector.sqlite import SqliteKeeper
from daemon.store.driver import sqlite3
from daemon.store.memory import MemoryStore
from daemon.store.sqlite import SqliteStore
from events.envelope import Recorded
from events.registry import Fact
from events.server import DeliveryRefused
from projections.compare import compare
from projections.fold import Fold
from projections.folds import FOLDS as ALL_FOLDS
from projections.tables import MemoryTables, Table, Tables
from tests.daemon.projector.tally import (
    CLOCK,
    FOLDS,
    TALLIES,
    TALLY_FOLD,
    Tally,
    count,
    refuse,
    tallies,
    version,
)

WAIT_S = 10


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(CLOCK)
    yield store
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "projections.db"


@pytest.fixture(params=[0, shelf.WRITE_BEHIND_ROWS_MIN], ids=["behind", "at once"], autouse=True)
def write_behind_rows_min(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch but the last be written while the next is folded, or none."""
    monkeypatch.setattr(shelf, "WRITE_BEHIND_ROWS_MIN", request.param)


@asynccontextmanager
async def opened(path: Path, store: EventStore, *folds: Fold) -> AsyncIterator[SqliteProjections]:
    """Open the projections, and close them at the end."""
    projections = await SqliteProjections.open(path, store, folds or FOLDS)
    try:
        yield projections
    finally:
        await projections.close()


class Witness:
    """A fold of no tables that remembers which events it saw, and can stop at one of them."""

    def __init__(self, stop_at: int = 0) -> None:
        self.seen: list[int] = []
        self.stop_at = stop_at
        self.stopped, self.may_go_on = threading.Event(), threading.Event()
        self.fold = Fold(name="witness", revision=1, tables=(), handlers={Fact: self._see})

    def _see(self, _tables: Tables, at: Recorded, _fact: Fact) -> None:
        self.seen.append(at.position)
        if at.position == self.stop_at:
            self.stopped.set()
            assert self.may_go_on.wait(WAIT_S)

    async def wait(self) -> None:
        """Wait until it stopped."""
        assert await asyncio.to_thread(self.stopped.wait, WAIT_S)


def doubled(tables: Tables, at: Recorded, fact: DeliveryRefused) -> None:
    """Count twice: what the next revision of the tally does."""
    count(tables, at, fact)
    count(tables, at, fact)


TALLY_2 = replace(TALLY_FOLD, revision=2, handlers={DeliveryRefused: doubled})


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Look into the file with any SQLite tool."""
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchall()


async def test_a_restart_goes_on_where_it_stopped(path: Path, store: MemoryStore) -> None:
    """A start must cost what happened since, not what ever happened."""
    first, second = Witness(), Witness()
    await refuse(store, "a", "b")
    async with opened(path, store, first.fold) as projections:
        await projections.ask(lambda _: None)
    await refuse(store, "c")

    async with opened(path, store, second.fold) as projections:
        await projections.ask(lambda _: None)

    assert (first.seen, second.seen) == ([1, 2], [3])


@pytest.mark.parametrize("rebuilding", [False, True])
async def test_a_process_killed_inside_a_batch_leaves_rows_and_position_agreed(
    path: Path, rebuilding: bool
) -> None:
    """Half a batch counted twice would be a wrong state that nobody notices."""
    log = path.parent / "log" / "log.db"
    log.parent.mkdir()
    store = await SqliteStore.open(log, CLOCK)
    for _ in range(5):
        await refuse(store, *["a"] * 1_000)
    if rebuilding:  # The fold that kills is new then, so its tables are built beside the others.
        async with opened(path, store) as projections:
            await projections.ask(version)
    await store.close()

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.daemon.projector.crash", str(log), str(path), "3500"
    )
    code = await process.wait()

    assert code == -signal.SIGKILL
    [(live,)] = rows(path, "SELECT position FROM pointers WHERE fold = 'tally'")
    [(counted,)] = rows(path, "SELECT row ->> 'count' FROM tallies")
    assert live == counted == (5_000 if rebuilding else 2_000)
    [(killed,)] = rows(path, "SELECT position FROM pointers WHERE fold = 'killing'")
    assert rows(path, "SELECT max(position) FROM killing_r1_blue_mets") == [(killed,)] == [(2_000,)]
    store = await SqliteStore.open(log, CLOCK)
    async with opened(path, store) as projections:
        assert await projections.ask(tallies) == {"a": 5_000}
    await store.close()


async def test_a_rebuild_that_a_crash_ended_goes_on_where_it_was(
    path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild of an hour must not begin anew with every restart."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 2)
    await refuse(store, *"abcdef")
    async with opened(path, store) as projections:
        await projections.ask(tallies)
    first, second = Witness(stop_at=4), Witness()
    projections = await SqliteProjections.open(path, store, (*FOLDS, first.fold))
    await first.wait()
    stopping = asyncio.create_task(projections.close())
    await asyncio.sleep(0)
    first.may_go_on.set()
    await stopping

    async with opened(path, store, *FOLDS, second.fold) as projections:
        await projections.ask(tallies)

    assert (first.seen, second.seen) == ([1, 2, 3, 4], [5, 6])


async def test_old_tables_answer_until_those_of_the_new_revision_take_over(
    path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade shows yesterday's pages for a while, not an error and not half a count."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 2)
    await refuse(store, *"aaaa")
    async with opened(path, store) as projections:
        await projections.ask(tallies)
    await refuse(store, "a")
    witness = Witness(stop_at=2)

    async with opened(path, store, TALLY_2, FOLDS[0], witness.fold) as projections:
        await witness.wait()
        page = asyncio.create_task(
            projections.ask(
                lambda tables: (tallies(tables), version(tables), list(witness.seen)),
                folds=["tally", "streams"],
                stale=True,
            )
        )
        decision = asyncio.create_task(projections.ask(tallies))
        await asyncio.sleep(0)
        witness.may_go_on.set()

        assert await page == ({"a": 4}, 4, [1, 2])
        assert await decision == {"a": 10}
    names = {name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"pointers", "tally_r2_green_tallies", "streams_r1_blue_streams"}


async def test_a_rebuild_lets_the_old_tables_answer_and_follow(
    path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labeltrail replay` is no reason to stop working."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 2)
    await refuse(store, *"aaaa")
    witness = Witness()
    async with opened(path, store, *FOLDS, witness.fold) as projections:
        await projections.ask(tallies)
        witness.stop_at = 2
        rebuild = asyncio.create_task(projections.rebuild())
        await witness.wait()
        await refuse(store, "b")
        during = asyncio.create_task(projections.ask(tallies))
        await asyncio.sleep(0)
        witness.may_go_on.set()

        assert await during == {"a": 4, "b": 1}
        assert (await rebuild).position >= 4
        assert await projections.ask(tallies) == {"a": 4, "b": 1}
    assert sorted(witness.seen) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_new_tables_that_a_killed_daemon_left_ahead_of_the_live_ones_take_over(
    path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes made the first tables; no question may then look for those they replaced."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 3)
    await refuse(store, *"aaaa")
    keeper = SqliteKeeper(path, FOLDS, store.reader())
    keeper.begin([fold.name for fold in FOLDS])
    assert keeper._new is not None
    keeper._new.advance(4)
    keeper._new.settle()
    keeper.close()
    monkeypatch.setattr(batch, "BATCH_EVENTS", 2)

    async with opened(path, store) as projections:
        found = await projections.ask(tallies)

    assert found == {"a": 4}
    assert rows(path, "SELECT DISTINCT state, position FROM pointers") == [("live", 4)]


async def test_a_cancelled_rebuild_leaves_the_old_tables(
    path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C during `replay` costs nothing but the time."""
    monkeypatch.setattr(batch, "BATCH_EVENTS", 1)
    await refuse(store, *"aaaa")
    witness = Witness()
    async with opened(path, store, *FOLDS, witness.fold) as projections:
        await projections.ask(tallies)
        witness.stop_at = 2
        rebuild = asyncio.create_task(projections.rebuild(["witness"]))
        await witness.wait()

        rebuild.cancel()
        await asyncio.wait([rebuild])
        witness.may_go_on.set()

        assert await projections.ask(tallies) == {"a": 4}
    assert rows(path, "SELECT DISTINCT state FROM pointers") == [("live",)]
    assert witness.seen[4:] in ([1, 2], [1, 2, 3])


async def test_a_row_type_that_changed_is_rebuilt_even_if_its_revision_was_forgotten(
    path: Path, store: MemoryStore
) -> None:
    """Old rows read as new ones would give wrong values without an error; so they wait."""

    class Longer(Tally, frozen=True, kw_only=True):
        last: int = -1

    table = Table("tallies", ("reason",), Longer)

    def last(tables: Tables, at: Recorded, fact: DeliveryRefused) -> None:
        tables.put(table, Longer(reason=fact.reason, count=1, last=at.position))

    await refuse(store, "a")
    async with opened(path, store) as projections:
        await projections.ask(tallies)
    changed = replace(TALLY_FOLD, tables=(table,), handlers={DeliveryRefused: last})

    async with opened(path, store, changed) as projections:
        found = await projections.ask(lambda tables: list(tables.scan(table)), stale=True)

    assert found == [Longer(reason="a", count=1, last=1)]


async def test_a_live_state_equals_a_fresh_replay(path: Path, store: MemoryStore) -> None:
    """Promise 1: deleting all projections and replaying gives the same state."""
    async with opened(path, store) as projections:
        for reasons in ("ab", "a", "cab"):
            await refuse(store, *reasons)
            await projections.ask(tallies)
        fresh = MemoryTables()
        reader = store.reader()
        for at in reader.read():
            for fold in FOLDS:
                fold.apply(fresh, at, reader.fact(at))

        same = await projections.ask(
            lambda live: [d for fold in FOLDS for d in compare(live, fresh, fold)]
        )
        fresh.put(TALLIES, Tally(reason="a", count=9))
        other = await projections.ask(
            lambda live: [d.key for fold in FOLDS for d in compare(live, fresh, fold)]
        )

    assert (same, other) == ([], [("a",)])


async def test_another_log_or_an_earlier_copy_of_it_is_folded_anew(
    path: Path, store: MemoryStore
) -> None:
    """After a restore the tables would hold what never happened in this log."""
    await refuse(store, *"aaa")
    async with opened(path, store) as projections:
        await projections.ask(tallies)

    for reasons in ("bb", "bbbb"):  # One ends before the position, one has another event there.
        restored = MemoryStore(CLOCK)
        await refuse(restored, *reasons)
        with capture_logs() as lines:
            async with opened(path, restored) as projections:
                assert await projections.ask(tallies) == {"b": len(reasons)}
        assert "the log was restored or replaced" in lines[0]["event"]


def content(path: Path | str) -> bytes:
    return Path(path).read_bytes()


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 1_000)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE notes (text)")


def newer(path: Path) -> None:
    with closing(open_file(path)) as conn:
        conn.execute("CREATE TABLE pointers (x)")
        conn.execute("PRAGMA user_version = 99")


def bent(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA application_id = 1282560114")
        conn.execute("PRAGMA user_version = 1")
        conn.execute("CREATE TABLE pointers (x)")
        conn.commit()
    with path.open("r+b") as file:  # Past the 100 bytes of SQLite's header.
        file.seek(100)
        file.write(b"\xff" * 200)


@pytest.mark.parametrize("spoil", [garbage, foreign, newer, bent])
async def test_a_file_that_is_not_ours_is_set_aside(
    path: Path, store: MemoryStore, spoil: Callable[[Path], None]
) -> None:
    """Projections are disposable, but somebody else's file is not."""
    await refuse(store, "a")
    spoil(path)
    before = content(path)

    with capture_logs() as lines:
        async with opened(path, store) as projections:
            assert await projections.ask(tallies) == {"a": 1}

    assert content(f"{path}.aside") == before
    assert [line["log_level"] for line in lines] == ["warning"]


def spoil_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE tally_r1_blue_tallies SET row = 'spoiled'")
        conn.commit()


async def test_damage_that_shows_late_is_healed_under_the_question(
    path: Path, store: MemoryStore
) -> None:
    """Whoever asked gets the answer, from tables that were folded anew."""
    await refuse(store, "a")
    async with opened(path, store) as projections:
        await projections.ask(tallies)
    spoil_rows(path)

    with capture_logs() as lines:
        async with opened(path, store) as projections:
            found = await projections.ask(tallies)

    assert found == {"a": 1}
    assert "damaged or not ours" in lines[0]["event"]


async def test_a_folder_that_cannot_be_written_is_said_at_once(
    tmp_path: Path, store: MemoryStore
) -> None:
    """The error names what to do, and comes at the start and not with the first page."""
    with pytest.raises(ProjectionsFailed, match="the log is not affected"):
        await SqliteProjections.open(tmp_path / "missing" / "projections.db", store, FOLDS)


async def test_people_can_read_the_tables_with_any_tool(path: Path, store: MemoryStore) -> None:
    """Keys are columns, rows are JSON, and the plain names are there."""
    await refuse(store, "a", "b")
    async with opened(path, store) as projections:
        await projections.ask(tallies)

    assert rows(path, "SELECT reason, row ->> 'count' FROM tallies") == [("a", 1), ("b", 1)]
    assert rows(path, "SELECT fold, state, position FROM pointers") == [
        ("streams", "live", 2),
        ("tally", "live", 2),
    ]


async def test_tables_of_a_fold_that_is_no_more_are_dropped(path: Path, store: MemoryStore) -> None:
    """A file does not keep for ever what no code reads."""
    async with opened(path, store):
        pass

    async with opened(path, store, FOLDS[0]):
        pass

    found = rows(path, "SELECT name FROM sqlite_master WHERE type != 'index' ORDER BY name")
    assert found == [("pointers",), ("streams",), ("streams_r1_blue_streams",)]


async def test_every_projection_of_the_product_can_be_kept(path: Path, store: MemoryStore) -> None:
    """A key of another type than str or int would sort differently on disk than in memory."""
    tables = [table for fold in ALL_FOLDS for table in fold.tables]

    async with opened(path, store, *ALL_FOLDS) as projections:
        found = await projections.ask(lambda kept: [list(kept.scan(one)) for one in tables])

    assert found == [[] for _ in tables]
