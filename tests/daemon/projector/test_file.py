"""Whoever writes into the file of the projections waits for whoever does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.ports.projections import ProjectionsStuck
from daemon.projector import file
from daemon.projector.file import open_file, sign, transaction
from daemon.store.driver import sqlite3


@pytest.fixture
def conns(tmp_path: Path) -> Iterator[list[sqlite3.Connection]]:
    """Return two connections to a file."""
    path = tmp_path / "projections.db"
    with closing(open_file(path)) as first:
        sign(first)
        first.execute("CREATE TABLE t (n INTEGER)")
        with closing(open_file(path)) as second:
            yield [first, second]


def test_a_writer_begins_at_the_next_look_after_another_ended(
    conns: list[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that rebuild write by turns, and spent a tenth of their time waiting."""
    first, second = conns
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            first.execute("COMMIT")

    monkeypatch.setattr(file.time, "sleep", wait)
    first.execute("BEGIN IMMEDIATE")

    with transaction(second):
        second.execute("INSERT INTO t VALUES (1)")

    assert len(looks) == 3
    assert max(looks) <= 0.005
    assert first.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_writer_does_not_wait_for_ever(
    conns: list[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who has the file open in a shell gets a hint, and waits as before afterwards."""
    first, second = conns
    monkeypatch.setattr(file, "BUSY_MS", 20)
    first.execute("BEGIN IMMEDIATE")

    with pytest.raises(ProjectionsStuck, match="locked"), transaction(second):
        pass

    assert second.execute("PRAGMA busy_timeout").fetchone() == (20,)
