"""A rebuild in processes of the pool: the same tables, whoever is killed, and answers meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from benchmarks.changes import saves
from daemon.pool import TRIES, Pool, WorkFailed
from daemon.ports.projections import Rebuilt
from daemon.projector import SqliteProjections, apart, batch, share
from daemon.projector.file import TablesDamaged
from daemon.projector.rows import DamagedRow
from daemon.store.driver import sqlite3
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from projections.folds import FOLDS
from projections.streams import STREAMS
from projections.tables import Table, Tables
from tests.daemon.projector import stricken
from tests.daemon.projector.tally import CLOCK, refuse

EVENTS = 5 * batch.BATCH_EVENTS // 2
"""Three batches: one before somebody is killed, one after it, and one more."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Return a log of saves in jobs, and of many small events."""
    store = await SqliteStore.open(tmp_path / "log.db", CLOCK)
    for stream, fact in saves(3, 40):
        await store.append([NewEvent(id=CLOCK.new_id(), stream=stream, fact=fact)])
    await refuse(store, *["a"] * (EVENTS - await store.head()))
    yield store
    await store.close()


@asynccontextmanager
async def opened(path: Path, store: SqliteStore) -> AsyncIterator[SqliteProjections]:
    """Open projections that have a pool, and close both at the end."""
    pool = Pool()
    kept = await SqliteProjections.open(path, store, FOLDS, pool=pool, log_file=store.path)
    try:
        yield kept
    finally:
        await kept.close()
        await pool.close()


async def in_place(path: Path, store: SqliteStore) -> dict[str, list[Any]]:
    """Fold the log in a thread, and return all rows."""
    kept = await SqliteProjections.open(path, store, FOLDS)
    await kept.ask(nothing)
    await kept.close()
    return dump(path)


def dump(path: Path) -> dict[str, list[Any]]:
    """Return all rows of all tables, as they are stored."""
    with closing(sqlite3.connect(path)) as conn:
        return {
            table.name: conn.execute(
                f'SELECT * FROM "{table.name}" ORDER BY {columns(table)}'
            ).fetchall()
            for fold in FOLDS
            for table in fold.tables
        }


def columns(table: Table[Any]) -> str:
    return ", ".join(f'"{member}"' for member in table.key)


def nothing(_tables: Tables) -> None:
    """Ask for nothing but that the tables come forward."""


def version(tables: Tables) -> int:
    """Return how many events the server's stream has."""
    row = tables.get(STREAMS, "server/main")
    return row.version if row else 0


async def test_the_first_tables_are_those_that_a_thread_makes(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Promise 1: the tables follow from the log, whoever folds it."""
    async with opened(tmp_path / "apart.db", store) as kept:
        before = await kept.ask(version)

    assert dump(tmp_path / "apart.db") == await in_place(tmp_path / "place.db", store)
    assert before == EVENTS - 46


async def test_live_tables_answer_and_follow_until_the_new_ones_take_over(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended meanwhile is answered at once, and is in the new tables too."""
    gate = tmp_path / stricken.GATE
    os.mkfifo(gate)
    told: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    async with opened(tmp_path / "apart.db", store) as kept:
        before = await kept.ask(version)
        monkeypatch.setattr(apart, "work", stricken.held)
        rebuild = asyncio.create_task(kept.rebuild(progress=lambda *at: told.put_nowait(at)))
        while (await told.get())[0] == 0:
            pass
        await refuse(store, "b", "c")
        during = await kept.ask(version)
        was_done = rebuild.done()
        await asyncio.to_thread(gate.write_bytes, b"")
        rebuilt = await rebuild
        after = await kept.ask(version)

    assert not was_done
    assert (during, after) == (before + 2, before + 2)
    assert rebuilt == Rebuilt(folds=tuple(fold.name for fold in FOLDS), position=EVENTS + 2)
    assert dump(tmp_path / "apart.db") == await in_place(tmp_path / "place.db", store)


async def test_a_process_that_was_killed_is_followed_by_another(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from what was committed, so nothing is in the tables twice."""
    monkeypatch.setattr(apart, "work", stricken.killed_once)

    with capture_logs() as logs:
        async with opened(tmp_path / "apart.db", store) as kept:
            await kept.ask(nothing)

    assert {line["event"] for line in logs} == {"worker killed"}
    assert dump(tmp_path / "apart.db") == await in_place(tmp_path / "place.db", store)


async def test_processes_that_are_killed_again_and_again_are_told_to_who_waits(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live tables answer on, also whoever asks while the rebuild fails."""
    async with opened(tmp_path / "apart.db", store) as kept:
        before = await kept.ask(version)
        monkeypatch.setattr(apart, "work", stricken.killed)

        rebuild = asyncio.create_task(kept.rebuild())
        with capture_logs() as logs, pytest.raises(WorkFailed, match="did not end its work"):
            await rebuild
        await refuse(store, "b")
        after = await kept.ask(version)

    assert len([line for line in logs if line["event"] == "worker killed"]) >= TRIES
    assert after == before + 1
    assert dump(tmp_path / "apart.db") == await in_place(tmp_path / "place.db", store)


def test_a_process_that_folds_starts_without_an_event_loop() -> None:
    """It has none, and importing one would be a fifth of its start."""
    names = "import sys, daemon.worker, daemon.projector.share; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)

    imported = set(ran.stdout.split())
    assert "daemon.projector.share" in imported
    assert not imported & {"asyncio", "aiohttp", "numpy", "sqlite_utils", "structlog"}


def test_what_a_process_tells_of_a_damaged_row_quotes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the service's log afterwards, where no label and no name may."""

    def damaged(*_: object) -> None:
        raise DamagedRow('LabelRow: \'{"worker": "ana"}\'')

    monkeypatch.setattr(share, "_Share", damaged)

    with pytest.raises(TablesDamaged) as raised:
        list(share.work([b"log.db", b"projections.db", share.order(["jobs"], 1)]))

    assert raised.value.facts["reason"] == "DamagedRow"
    assert "ana" not in f"{raised.value} {raised.value.facts}"


@pytest.mark.parametrize("pool", [True, False])
async def test_a_daemon_that_was_killed_leaves_tables_to_go_on_with(
    store: SqliteStore, tmp_path: Path, *, pool: bool
) -> None:
    """A thread cannot go on where two processes stopped at two places: it begins anew."""
    log, path = store.path, tmp_path / "apart.db"
    await store.close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.daemon.projector.crash_apart", log, path)
    )
    ended = await process.wait()
    with closing(sqlite3.connect(path)) as conn:
        left = conn.execute("SELECT DISTINCT state, position FROM pointers").fetchall()

    store = await SqliteStore.open(log, CLOCK)
    if pool:
        async with opened(path, store) as kept:
            await kept.ask(nothing)
    else:
        await in_place(path, store)
    expected = await in_place(tmp_path / "place.db", store)
    await store.close()

    assert ended == -signal.SIGKILL
    assert ("live", 0) in left
    assert {state for state, _ in left} == {"live", "building"}
    assert dump(path) == expected
