"""Each kind of tampering is found, and named by its position."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from daemon.store.reader import SqliteReader
from daemon.store.schema import triggers
from daemon.store.sqlite import SqliteStore
from daemon.store.verify import VerifyReport, verify
from events.envelope import leaf_hash
from tests.contract.noted import FakeClock, noted

Stranger = Callable[[str], str]

DROP = "DROP TRIGGER {0}_refuse_update; DROP TRIGGER {0}_refuse_delete;"
MASK = "".join(chr(33 + n * 7919 % 90) for n in range(9_000))


@pytest.fixture
async def log(tmp_path: Path, clock: FakeClock) -> Path:
    """A log of 12 events on two streams, signed at 5 and at 10, with a tail of 2."""
    path = tmp_path / "log.db"
    store = await SqliteStore.open(path, clock, publish=tmp_path / "elsewhere" / "checkpoint")
    values = ["plain", {"mask": MASK}, list(range(500)), 2.5, None]
    for signed_after in (5, 5, 2):
        for index in range(signed_after):
            clock.now += 1_000
            stream = "job/a" if index % 2 else "job/b"
            await store.append([noted(clock, stream, value=values[index])])
        if signed_after == 5:
            await store.checkpoint()
    # As after a power cut: closing would sign the tail.
    shutil.copytree(tmp_path, aside := tmp_path.with_name("aside"))
    await store.close()
    shutil.rmtree(tmp_path)
    aside.rename(tmp_path)
    return path


def found(report: VerifyReport) -> set[tuple[str, int | None]]:
    return {(problem.kind, problem.position) for problem in report.problems}


def published(log: Path) -> Path:
    return log.parent / "elsewhere" / "checkpoint"


def test_a_whole_log_is_proven_up_to_its_last_checkpoint(log: Path) -> None:
    """The tail after it is whole as far as anyone can see, but must not be called proven."""
    seen: list[tuple[int, int]] = []

    report = verify(log, against=published(log), progress=lambda *done: seen.append(done))

    assert report.problems == ()
    assert report.ok
    assert (report.head, report.checkpoints) == (12, 2)
    assert (report.proven_upto, report.unproven) == (10, 2)
    assert report.unknown == {}


async def test_verify_reads_beside_a_writer(tmp_path: Path, clock: FakeClock) -> None:
    """An audit must not need the daemon to stop."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    await store.append([noted(clock)])
    await store.checkpoint()

    report = verify(store.path)

    assert (report.ok, report.proven_upto, report.unproven) == (True, 1, 0)
    await store.close()


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'main/9'",
        "occurred_at = 5",
        "evidence = 'command'",
        "type = type",
        "schema = 2",
        "recorded_at = recorded_at + 1",
        "payload = x'7b7d'",
        "codec = 'json '",
        "id = x'00112233445566778899aabbccddeeff'",
        "causation = id",
        "stream = 3 - stream, version = 99",
    ],
)
def test_an_edited_row_is_found(log: Path, stranger: Stranger, change: str) -> None:
    """Whoever drops a trigger can change a row, but not its leaf's place under the root."""
    assert stranger(DROP.format("events") + f"UPDATE events SET {change} WHERE position = 3") == ""

    report = verify(log)

    if change == "type = type":  # the control: nothing was changed but the triggers
        assert found(report) == {("trigger", None)}
    else:
        assert {("edited", 3), ("root", 5), ("trigger", None)} <= found(report)
        assert report.proven_upto == 0
    # What was signed later is still judged by itself.
    assert ("root", 10) not in found(report)


def test_a_row_edited_with_its_leaf_is_found(log: Path, stranger: Stranger) -> None:
    """A careful stranger computes the leaf anew; the signed root still tells."""
    stranger(DROP.format("events") + "UPDATE events SET actor = 'main/9' WHERE position = 8")
    forge_leaf(log, stranger, position=8)

    report = verify(log)

    assert {("root", 10), ("trigger", None)} == found(report)
    assert "6 to 10" in next(p.what for p in report.problems if p.kind == "root")
    assert (report.proven_upto, report.unproven) == (5, 7)


def test_a_deleted_row_is_found(log: Path, stranger: Stranger) -> None:
    """Removing one edit is what somebody with something to hide would do."""
    assert stranger(DROP.format("events") + "DELETE FROM events WHERE position = 7") == ""

    report = verify(log)

    assert {("missing", 7), ("root", 10), ("trigger", None)} <= found(report)


def test_a_tail_cut_below_a_checkpoint_is_found(log: Path, stranger: Stranger) -> None:
    """The checkpoint in the log lies further than the log."""
    stranger(DROP.format("events") + "DELETE FROM events WHERE position > 8")

    report = verify(log)

    assert ("cut off", 9) in found(report)


def test_a_tail_cut_with_its_checkpoint_is_found_by_the_published_one(
    log: Path, stranger: Stranger
) -> None:
    """Without a checkpoint elsewhere this cannot be seen; the documentation says so."""
    cut = "DELETE FROM events WHERE position > 5; DELETE FROM checkpoints WHERE position > 5;"
    stranger(DROP.format("events") + DROP.format("checkpoints") + cut + triggers_back())

    assert verify(log).ok
    assert found(verify(log, against=published(log))) == {("cut off", 6)}


def test_a_flipped_byte_of_a_compressed_payload_is_found(log: Path, stranger: Stranger) -> None:
    """Compressed formats have bytes that do not change what comes out; the leaf sees all."""
    reader = SqliteReader(log)
    [row] = reader.read(after=2, upto=3)
    reader.close()
    header, rest = row.payload[:2], row.payload[2:]
    assert header in (b"\x78\x01", b"\x78\x5e")  # of the standard library, and of isal
    other = b"\x78\xda" + rest  # says another level of compression, and unpacks to the same
    assert zlib.decompress(other) == zlib.decompress(row.payload)

    edit = f"UPDATE events SET payload = x'{other.hex()}' WHERE position = 3"
    assert stranger(DROP.format("events") + edit) == ""

    assert {("edited", 3), ("root", 5)} <= found(verify(log))


def test_an_edited_blob_is_found_where_it_is_used(log: Path, stranger: Stranger) -> None:
    """The row holds only the name of a large value; verifying rows alone would miss it."""
    edit = f"UPDATE blobs SET codec = 'json', value = CAST('\"{'x' * 9_000}\"' AS BLOB)"
    assert stranger(DROP.format("blobs") + edit) == ""

    assert {("blob", 2), ("blob", 7), ("blob", 12)} <= found(verify(log))


def test_a_removed_blob_is_found_where_it_is_used(log: Path, stranger: Stranger) -> None:
    """A label whose mask is gone is not whole."""
    stranger(DROP.format("blobs") + "DELETE FROM blobs")

    assert {("blob", 2), ("blob", 7), ("blob", 12)} <= found(verify(log))


@pytest.mark.parametrize(
    "edit",
    [
        "note = replace(note, 'epoch 1', 'epoch 2')",
        "note = (SELECT note FROM checkpoints ORDER BY position LIMIT 1)",
        "note = substr(note, 1, length(note) - 9) || 'AAAAAAAA' || char(10)",
        "note = 'anything'",
        "frontier = zeroblob(64)",
        "frontier = x'00'",
    ],
)
def test_an_edited_checkpoint_is_found(log: Path, stranger: Stranger, edit: str) -> None:
    """A root proves something only under a signature for this log and this position."""
    assert (
        stranger(DROP.format("checkpoints") + f"UPDATE checkpoints SET {edit} WHERE position = 10")
        == ""
    )

    assert ("checkpoint", 10) in found(verify(log))


def test_a_published_checkpoint_of_another_history_is_found(
    log: Path, tmp_path: Path, stranger: Stranger
) -> None:
    """Rewriting the log and signing it anew cannot rewrite what was published."""
    stranger(DROP.format("events") + "UPDATE events SET actor = 'main/9' WHERE position = 2")
    forge_leaf(log, stranger, position=2)
    stranger(DROP.format("checkpoints") + "DELETE FROM checkpoints;" + triggers_back())

    assert ("root", 10) in found(verify(log, against=published(log)))


def test_a_published_checkpoint_that_is_missing_or_foreign_is_said(
    log: Path, tmp_path: Path
) -> None:
    """Verifying against nothing must not look like verifying."""
    foreign = tmp_path / "foreign"
    foreign.write_text(published(log).read_text().replace("labeltrail/", "labeltrail/00"))

    assert ("checkpoint", None) in found(verify(log, against=tmp_path / "nowhere"))
    assert ("checkpoint", None) in found(verify(log, against=foreign))


def test_a_missing_name_is_found(log: Path, stranger: Stranger) -> None:
    """Stream names are under the leaf, though they are stored beside the row."""
    stranger(DROP.format("streams") + "UPDATE streams SET name = 'job/z' WHERE name = 'job/a'")

    assert ("edited", 2) in found(verify(log))


def test_pages_of_nonsense_are_a_problem_and_not_a_traceback(log: Path, stranger: Stranger) -> None:
    """A failing disk is the moment in which people run verify."""
    stranger("PRAGMA wal_checkpoint(TRUNCATE)")
    reader = SqliteReader(log)
    sql = "SELECT rootpage FROM sqlite_master WHERE name = 'events'"
    [page] = reader._conn.execute(sql).fetchone()
    reader.close()
    with log.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 64)

    report = verify(log)

    assert not report.ok
    assert "database" in {problem.kind for problem in report.problems}


def test_values_of_sizes_that_were_never_written_are_found(log: Path, stranger: Stranger) -> None:
    """Verifying must end with a report, whatever a stranger put into a row."""
    edit = "UPDATE events SET version = -5, schema = -1 WHERE position = 4"
    stranger(DROP.format("events") + edit)

    assert {("edited", 4), ("version", 4)} <= found(verify(log))


def forge_leaf(log: Path, stranger: Stranger, *, position: int) -> None:
    """Store the leaf that fits the row as it is now."""
    reader = SqliteReader(log)
    [row] = reader.read(after=position - 1, upto=position)
    reader.close()
    leaf = leaf_hash(*msgspec.structs.astuple(row)[:-1])
    stranger(f"UPDATE events SET leaf = x'{leaf.hex()}' WHERE position = {position}")


def triggers_back() -> str:
    return "".join(
        sql.replace("CREATE TRIGGER", "CREATE TRIGGER IF NOT EXISTS") + ";"
        for sql in triggers().values()
    )
