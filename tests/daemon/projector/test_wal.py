"""Two that write by turns leave no large WAL behind."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from daemon.projector import wal
from daemon.projector.file import open_file, sign
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3

WAL_BYTES_MAX = 2**20
ROUNDS = 30
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
    file = path.with_name("projections.db-wal")
    with (
        closing(open_file(path)) as conn,
        closing(wal.Wal(conn, path)) as ours,
        file.open("rb") as theirs,
    ):
        with ours.turn():
            _begin(theirs)
        while file.stat().st_size < WAL_BYTES_MAX:
            conn.executemany(*BATCH[0])

        with ours.turn(), pytest.raises(BlockingIOError):
            _begin(theirs)

        assert file.stat().st_size == 0
        _begin(theirs)


def _begin(other: BinaryIO) -> None:
    """Begin to write as another one, and end. Raises BlockingIOError where it must wait."""
    fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_UN)


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
