"""Raw bodies beside the log: kept for a while, never more than allowed."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.clock import Clock
from daemon.http import bodies as bodies_module
from daemon.http.bodies import DAY_US, FILE_NAME, Bodies, Body
from tests.fakes.clock import START_US, FakeClock

KEEP_DAYS = 30


def kept(folder: Path, clock: Clock, *bodies: Body, bytes_max: int = 1_000_000) -> list[bytes]:
    """Keep bodies as one run of the daemon does; return what is there afterwards."""
    writing = Bodies(folder, clock, keep_days=KEEP_DAYS, bytes_max=bytes_max)
    for body in bodies:
        writing.keep(body)
    writing.close()
    with contextlib.closing(sqlite3.connect(folder / "deliveries.db")) as conn:
        return [body for (body,) in conn.execute("SELECT body FROM bodies ORDER BY received_at")]


def body(text: bytes, *, days_ago: float = 0) -> Body:
    return Body(START_US - int(days_ago * DAY_US), "main", text.hex(), text)


def test_what_waits_is_written_before_the_end(tmp_path: Path):
    """A restart loses no body."""
    texts = [b"%03d" % number for number in range(500)]

    found = kept(tmp_path, FakeClock(), *map(body, texts))

    assert sorted(found) == texts


def test_an_old_body_is_gone_at_the_next_start(tmp_path: Path):
    """Bodies hold names; what was promised to be deleted is deleted, also where nothing comes."""
    kept(tmp_path, FakeClock(), body(b"old", days_ago=KEEP_DAYS + 1), body(b"new", days_ago=1))

    assert kept(tmp_path, FakeClock()) == [b"new"]


def test_too_many_bytes_cost_the_oldest(tmp_path: Path):
    """The file is bounded, whatever is sent."""
    bodies = [body(bytes([number]) * 100, days_ago=10 - number) for number in range(10)]

    kept(tmp_path, FakeClock(), *bodies, bytes_max=350)
    found = kept(tmp_path, FakeClock(), bytes_max=350)

    assert [text[0] for text in found] == [7, 8, 9]


def test_what_is_too_much_goes_little_by_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sweep over the whole file kept what came meanwhile waiting, until it was dropped."""
    monkeypatch.setattr(bodies_module, "PRUNE_ROWS", 4)
    statements: list[str] = []
    connect = bodies_module.sqlite3.connect

    def traced(*args: Any, **named: Any) -> Any:
        conn = connect(*args, **named)
        conn.set_trace_callback(statements.append)
        return conn

    monkeypatch.setattr(bodies_module.sqlite3, "connect", traced)
    kept(tmp_path, FakeClock(), *[body(b"%03d" % n, days_ago=20 - n / 9) for n in range(99)])

    for _ in range(24):  # Each deletes some, whether or not it is stopped at once.
        found = kept(tmp_path, FakeClock(), bytes_max=10)

    assert found == [b"096", b"097", b"098"]
    steps = [step.count("DELETE FROM") for step in " ".join(statements).split("BEGIN")]
    assert max(steps) == 4


def test_what_somebody_else_deleted_makes_room(tmp_path: Path):
    """Bodies of a person who is forgotten go by another hand, and counted on."""
    texts = [bytes([number]) * 100 for number in range(5)]
    all_of = [body(text, days_ago=9 - text[0]) for text in texts]
    kept(tmp_path, FakeClock(), *all_of[:2])
    path = tmp_path / FILE_NAME
    bodies = Bodies(tmp_path, FakeClock(), keep_days=KEEP_DAYS, bytes_max=350)

    bodies.keep(all_of[2])
    wait_for(path, texts[2])
    with contextlib.closing(bodies_module.sqlite3.connect(path)) as conn, conn:
        conn.execute("DELETE FROM bodies WHERE body = ?", (texts[0],))
    for one in all_of[3:]:
        bodies.keep(one)
        wait_for(path, one.body)
    bodies.close()

    assert kept(tmp_path, FakeClock()) == texts[2:]


def wait_for(path: Path, text: bytes) -> None:
    """Wait until a body is in the file, as long as a test may take."""
    # By the same library: another one in this process would take its locks away.
    with contextlib.closing(bodies_module.sqlite3.connect(path)) as conn:
        while not conn.execute("SELECT 1 FROM bodies WHERE body = ?", (text,)).fetchone():
            time.sleep(0.01)


def test_only_the_owner_reads_bodies(tmp_path: Path):
    """They hold names and mail addresses."""
    kept(tmp_path, FakeClock(), body(b"x"))

    assert stat.S_IMODE((tmp_path / "deliveries.db").stat().st_mode) == 0o600


def test_a_file_that_is_no_database_costs_the_bodies_and_nothing_else(tmp_path: Path):
    """Nothing may depend on them, least of all an acknowledgement."""
    (tmp_path / "deliveries.db").write_bytes(b"no database" * 1_000)
    writing = Bodies(tmp_path, FakeClock(), keep_days=KEEP_DAYS, bytes_max=1)

    for _ in range(5_000):
        writing.keep(body(b"x"))
    writing.close()

    assert (tmp_path / "deliveries.db").read_bytes().startswith(b"no database")


@pytest.mark.parametrize("intact_bytes", [100, 4_096], ids=["all but its head", "all but a page"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, intact_bytes: int):
    """It is not synced, so a power cut may damage it; what comes after that is kept again."""
    path = tmp_path / "deliveries.db"
    kept(tmp_path, FakeClock(), *[body(b"%03d" % number * 1_000) for number in range(100)])
    with path.open("r+b") as file:
        file.seek(intact_bytes)
        file.write(b"\xff" * (path.stat().st_size - intact_bytes))

    with capture_logs() as logs:
        kept(tmp_path, FakeClock(), body(b"after"))
        found = kept(tmp_path, FakeClock(), body(b"later"))

    assert found[-1] == b"later"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "delivery bodies begun anew" in [line["event"] for line in logs]
