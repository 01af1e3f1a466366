"""The judge of the demo can fail: each forged log, and each forged journal, is found out."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.demo import judge
from events.envelope import leaf_hash
from tests.acceptance.conftest import DEMO_S, Played

pytestmark = pytest.mark.timeout(DEMO_S)

COLUMNS = (
    "position", "stream", "version", "id", "type", "schema", "recorded_at", "occurred_at", "actor",
    "evidence", "correlation", "causation", "codec", "payload",
)  # fmt: skip
Row = dict[str, Any]
Forge = Callable[[list[Row]], None]


def judged(journal: Path, log: Path) -> dict[str, Any]:
    """Run the judge as the demo does, even without what is installed beside Python."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", judge.__file__, str(journal), str(log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    return found


def forged(log: Path, target: Path, forge: Forge) -> Path:
    """Copy a log, let somebody change its events, and hash all of them anew."""
    shutil.copy(log, target)
    db = sqlite3.connect(target)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    streams, types = (
        dict(db.execute(f"SELECT id, name FROM {table}")) for table in ("streams", "types")
    )
    found = db.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position")
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        row["type_name"] = types[row["type"]]
    forge(rows)
    db.execute("DELETE FROM events")
    versions: dict[int, int] = {}
    for position, row in enumerate(rows, 1):
        versions[row["stream"]] = versions.get(row["stream"], 0) + 1
        row |= {"position": position, "version": versions[row["stream"]]}
        row["id"] = position.to_bytes(16, "big")
        hashed = {**row, "stream": streams[row["stream"]], "type": types[row["type"]]}
        leaf = leaf_hash(**{name: hashed[name] for name in COLUMNS})
        values = [row[name] for name in COLUMNS] + [leaf]
        db.execute(f"INSERT INTO events VALUES ({', '.join('?' * 15)})", values)
    db.commit()
    db.close()
    return target


def observed(rows: list[Row], **wanted: str) -> tuple[int, Row, dict[str, Any]]:
    """Find a read that told of a deletion alone: its place, its row, its fact."""
    for place, row in enumerate(rows):
        if row["type_name"] != "AnnotationsObserved":
            continue
        fact = json.loads(unpacked(row))
        alone = len(fact.get("removed", ())) == 1 and not fact.get("changed", fact.get("added"))
        if alone and all(row[name] == value for name, value in wanted.items()):
            return place, row, fact
    raise AssertionError("the demo made no such event")


def unpacked(row: Row) -> bytes:
    return zlib.decompress(row["payload"]) if row["codec"] == "json+zlib" else row["payload"]


def test_the_log_as_it_is_passes_also_without_any_package(played: Played):
    """Else every claim below would hold for nothing."""
    assert judged(played.journal, played.log)["ok"]


def test_an_event_that_is_left_out_is_a_lost_edit(played: Played, tmp_path: Path):
    """The one deletion whose webhook was lost: nobody would miss it but the judge."""

    def leave_out(rows: list[Row]) -> None:
        del rows[observed(rows)[0]]

    found = judged(played.journal, forged(played.log, tmp_path / "log.db", leave_out))

    assert (found["lost"], found["repeated"], found["untrue"]) == (1, 0, 0)
    assert not found["final_state_equal"]
    assert found["leaves_ok"]
    assert not found["ok"]


def test_an_event_that_is_there_twice_is_a_repeated_edit(played: Played, tmp_path: Path):
    """Also where the state at the end is the right one."""

    def double(rows: list[Row]) -> None:
        place, row, _ = observed(rows)
        rows.insert(place + 1, dict(row))

    found = judged(played.journal, forged(played.log, tmp_path / "log.db", double))

    assert (found["lost"], found["repeated"], found["untrue"]) == (0, 1, 0)
    assert found["final_state_equal"]
    assert not found["ok"]


def test_a_wrong_author_is_counted(played: Played, tmp_path: Path):
    """A wrong name is worse than none."""

    def blame(rows: list[Row]) -> None:
        by_ana = [row for row in rows if (row["type_name"], row["actor"], row["evidence"])
                  == ("AnnotationsObserved", "main/2", "webhook")]  # fmt: skip
        by_ana[0]["actor"] = "main/3"

    found = judged(played.journal, forged(played.log, tmp_path / "log.db", blame))

    assert found["authors"]["wrong"] >= 1
    assert found["lost"] == 0
    assert not found["ok"]


def test_a_value_that_never_was_is_untrue_and_the_edit_lost(played: Played, tmp_path: Path):
    """An event alone proves nothing: it must tell what happened."""

    def move(rows: list[Row]) -> None:
        _, row, fact = observed(rows)
        fact["removed"][0]["points"][0] += 0.25
        row |= {"codec": "json", "payload": json.dumps(fact).encode()}

    found = judged(played.journal, forged(played.log, tmp_path / "log.db", move))

    assert (found["lost"], found["untrue"]) == (1, 1)
    assert not found["ok"]


@pytest.mark.parametrize(("copies", "lost", "repeated"), [(0, 1, 0), (2, 0, 1)])
def test_a_delivery_that_was_answered_is_in_the_log_once(
    played: Played, tmp_path: Path, copies: int, lost: int, repeated: int
):
    """Promise 2: nothing acknowledged is lost, and nothing is repeated."""

    def forge(rows: list[Row]) -> None:
        place = next(n for n, row in enumerate(rows) if row["type_name"] == "DeliveryReceived")
        rows[place : place + 1] = [dict(rows[place]) for _ in range(copies)]

    found = judged(played.journal, forged(played.log, tmp_path / "log.db", forge))

    assert found["deliveries"]["lost"] == lost
    assert found["deliveries"]["repeated"] == repeated
    assert not found["ok"]


def test_a_changed_row_that_was_not_hashed_anew_is_found(played: Played, tmp_path: Path):
    """The judge reads the log's own hashes with code of its own."""
    copy = forged(played.log, tmp_path / "log.db", lambda rows: None)
    assert judged(played.journal, copy)["ok"]
    db = sqlite3.connect(copy)
    db.execute("UPDATE events SET actor = 'cli/nobody' WHERE position = 2")
    db.commit()
    db.close()

    found = judged(played.journal, copy)

    assert not found["leaves_ok"]
    assert not found["ok"]


def test_a_journal_that_lacks_a_save_is_not_believed(played: Played, tmp_path: Path):
    """What the server held before a save must follow from the saves before it."""
    lines = played.lines()
    saves = [line for line in lines if line.get("user") == "ana" and "before" in line]
    lines.remove(saves[0])
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))

    found = judged(journal, played.log)

    assert not found["journal_sound"]
    assert not found["ok"]


def test_a_write_that_was_answered_as_an_error_is_not_judged(played: Played, tmp_path: Path):
    """Its answer does not say what it wrote: better no verdict than a guess."""
    lines = played.lines()
    next(line for line in lines if "before" in line)["status"] = 500
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))

    code = judge.main(str(journal), str(played.log))

    assert code == 1
