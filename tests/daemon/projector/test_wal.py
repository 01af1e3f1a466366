"""Two that write by turns leave no large WAL behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from daemon.projector import wal
from daemon.projector.file import open_file, sign
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3

WAL_BYTES_MAX = 2**20
ROUNDS = 30
LOOK_S = 0.2
BATCH = [("INSERT INTO pages VALUES (?)", [(b"x" * 4_000,)] * 100)]
BATCH_BYTES = 450_000  # in the WAL


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a table to fill, whose WAL may be a few batches long."""
    monkeypatch.setattr(wal, "WAL_BYTES_MAX", WAL_BYTES_MAX)
    monkeypatch.setattr(wal, "READERS_WAIT_MS", 1)
    path = tmp_path / "projections.db"
    with closing(open_file(path)) as conn:
        sign(conn)
        conn.execute("CREATE TABLE pages (page BLOB)")
    return path


Work = Callable[[int], int]


@pytest.fixture
def work(path: Path) -> Iterator[Work]:
    """Have two write so many batches each; return the bytes that the WAL had at most."""
    writers = [Writer(path, by_turns=True) for _ in range(2)]

    def write(rounds: int) -> int:
        most = 0
        for _ in range(rounds):
            for sent in [one.write(BATCH, lambda _: None) for one in writers]:
                sent.result()
            most = max(most, path.with_name("projections.db-wal").stat().st_size)
        return most

    yield write
    for one in writers:
        one.close()


def test_the_wal_stays_small(path: Path, work: Work) -> None:
    """A rebuild of a long log would fill the disk with it."""
    assert work(ROUNDS) < WAL_BYTES_MAX + 4 * BATCH_BYTES

    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT count(*) FROM pages").fetchone() == (2 * ROUNDS * 100,)


def test_whoever_finds_it_large_writes_alone(path: Path) -> None:
    """The moment in which all of it is copied is over as soon as another one writes."""
    begun = threading.Event()

    def begin() -> None:
        with closing(open_file(path)) as conn, closing(wal.Wal(conn, path)) as other, other.turn():
            begun.set()

    with closing(open_file(path)) as conn, closing(wal.Wal(conn, path)) as one:
        with one.turn(), _running(begin):
            assert begun.wait(timeout=60), "while it is small, nobody waits"
        while path.with_name("projections.db-wal").stat().st_size < WAL_BYTES_MAX:
            conn.executemany(*BATCH[0])
        begun.clear()

        with ExitStack() as after:
            with one.turn():
                after.enter_context(_running(begin))
                assert not begun.wait(LOOK_S)
            assert begun.wait(timeout=60)


@contextmanager
def _running(work: Callable[[], None]) -> Iterator[None]:
    """Run something in a thread, and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_whoever_reads_in_it_is_not_waited_for(path: Path, work: Work) -> None:
    """Answers of the live tables may take long; the WAL is cut off after them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM pages").fetchone() == (0,)
        grown = work(ROUNDS)
        assert reader.execute("SELECT count(*) FROM pages").fetchone() == (0,)
    assert grown > 2 * ROUNDS * BATCH_BYTES // 2

    work(ROUNDS)

    assert work(ROUNDS) < WAL_BYTES_MAX + 4 * BATCH_BYTES
