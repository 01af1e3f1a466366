"""How the log's file is opened for writing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from daemon.store.driver import open_writer

FULL = 2


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """What is acknowledged must outlive a power cut; a kill alone would not show the difference.

    SQLite itself is asked: it passes over a pragma that it cannot read without a word.
    """
    with closing(open_writer(tmp_path / "log.db")) as conn:
        synchronous = conn.execute("PRAGMA synchronous").fetchone()
        journal = conn.execute("PRAGMA journal_mode").fetchone()

    assert (synchronous, journal) == ((FULL,), ("wal",))
