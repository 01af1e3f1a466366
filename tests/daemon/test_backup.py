"""Copies of the data folder, and going on from one."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from daemon import backup
from daemon.backup import BackupFailed, BackupUnsound, NotEmpty
from daemon.clock import SystemClock
from daemon.store.checkpoints import read_published
from daemon.store.schema import LogMeta, SeenFurther
from daemon.store.sqlite import SqliteStore
from daemon.store.verify import verify
from events.envelope import NewEvent
from events.log import LogRestored
from events.server import SweepCompleted

CLOCK = SystemClock()


class HeldClock(SystemClock):
    """A clock that stands until a test moves it."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    def now_us(self) -> int:
        return self.seconds * 1_000_000


def swept(number: int) -> NewEvent:
    fact = SweepCompleted(jobs=number)
    return NewEvent(id=CLOCK.new_id(), stream="server/main", fact=fact)


async def with_log(
    folder: Path,
    work: Callable[[SqliteStore], Awaitable[object]],
    *,
    publish: Path | None = None,
) -> None:
    """Do something with the log of a data folder, made where there is none."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    store = await SqliteStore.open(folder / "log.db", CLOCK, publish=publish)
    try:
        await work(store)
    finally:
        await store.close()


def grown_by(count: int) -> Callable[[SqliteStore], Awaitable[object]]:
    return lambda store: store.append([swept(number) for number in range(count)])


async def test_a_copy_is_made_while_the_writer_goes_on(tmp_path: Path):
    """Nobody stops the daemon for the nightly backup; what was acknowledged before it is in it."""
    data, backups = tmp_path / "data", tmp_path / "backups"

    async def copy_beside(store: SqliteStore) -> None:
        await store.append([swept(number) for number in range(2_000)])
        copying = asyncio.create_task(asyncio.to_thread(backup.make, data, backups, "one"))
        written = 2_000
        while not copying.done():
            await store.append([swept(written)])
            written += 1
        report = await copying
        assert report.ok
        assert 2_000 <= report.head <= written
        assert written > 2_000

    await with_log(data, copy_beside)

    assert verify(backups / "one/log.db").ok
    assert sorted(path.name for path in (backups / "one").iterdir()) == ["keys", "log.db"]
    assert {path.stat().st_mode & 0o077 for path in (backups / "one").rglob("*")} == {0}


async def test_a_restored_copy_is_another_epoch_and_still_verifies(tmp_path: Path):
    """Two histories begin at the copy; a proof of one must not pass for one of the other."""
    data, new = tmp_path / "data", tmp_path / "new"
    await with_log(data, grown_by(5))
    backup.make(data, tmp_path, "copy")

    fact = await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")
    await with_log(new, grown_by(3))
    report = verify(new / "log.db")

    assert fact == LogRestored(epoch=fact.epoch, position=5)
    assert fact.epoch > 1
    assert (report.ok, report.epoch, report.head) == (True, fact.epoch, 9)
    assert report.unproven == 0
    assert verify(data / "log.db").epoch == 1
    assert {"keys", "lock", "log.db"} <= {path.name for path in new.iterdir()}
    assert not (new / "restoring").exists()


async def test_a_checkpoint_that_has_seen_further_says_so(tmp_path: Path):
    """The lost events are gone from every local file; only what was published knows of them."""
    data, new, published = tmp_path / "data", tmp_path / "new", tmp_path / "published"
    await with_log(data, grown_by(5), publish=published)
    known = tmp_path / "known"
    shutil.copy(published, known)
    backup.make(data, tmp_path, "copy")
    await with_log(data, grown_by(5), publish=published)

    await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")
    await with_log(new, grown_by(20))
    lost = verify(new / "log.db", against=published)
    kept = verify(new / "log.db", against=known)
    with pytest.raises(SeenFurther) as refused:
        await with_log(new, grown_by(1), publish=published)

    assert [problem.kind for problem in lost.problems] == ["cut off"]
    assert "restored from a copy that ends before" in lost.problems[0].what
    assert kept.ok
    assert refused.value.facts["position_seen"] == 10
    assert "10\n" in (read_published(published) or "")


async def test_the_log_that_was_left_behind_does_not_pass_for_the_restored_one(tmp_path: Path):
    """Somebody starts the old disk again: what was published since belongs to the new history."""
    data, new, published = tmp_path / "data", tmp_path / "new", tmp_path / "published"
    await with_log(data, grown_by(5))
    backup.make(data, tmp_path, "copy")
    await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")
    await with_log(new, grown_by(1), publish=published)
    await with_log(data, grown_by(50))

    report = verify(data / "log.db", against=published)

    assert [problem.kind for problem in report.problems] == ["cut off"]
    assert "another copy of the log was restored" in report.problems[0].what


async def test_one_copy_restored_twice_gives_two_histories(tmp_path: Path):
    """The first attempt was used for an hour, then given up: its proofs are not the second's."""
    data, published = tmp_path / "data", tmp_path / "published"
    await with_log(data, grown_by(5))
    backup.make(data, tmp_path, "copy")
    clock = HeldClock(1_800_000_000)
    await backup.restore(tmp_path / "copy", tmp_path / "first", clock, "cli/me")
    await with_log(tmp_path / "first", grown_by(1), publish=published)
    clock.seconds += 3_600
    await backup.restore(tmp_path / "copy", tmp_path / "second", clock, "cli/me")
    await with_log(tmp_path / "second", grown_by(50))

    report = verify(tmp_path / "second/log.db", against=published)

    assert report.epoch == 1_800_003_600
    assert [problem.kind for problem in report.problems] == ["cut off"]


@pytest.mark.parametrize(
    ("epoch", "position", "fine"),
    [(1, 100, True), (1, 101, False), (20, 250, True), (20, 251, False), (30, 9_999, True),
     (25, 1, False), (31, 1, False)],
)  # fmt: skip
def test_what_was_seen_in_an_epoch_holds_up_to_the_copy_that_ended_it(
    epoch: int, position: int, fine: bool
):
    """Restored twice: at 100, and later at 250."""
    meta = LogMeta(id=b"", salt=b"", epochs={1: 0, 20: 100, 30: 250})

    if fine:
        meta.check_seen(epoch, position)
    else:
        with pytest.raises(SeenFurther):
            meta.check_seen(epoch, position)
    assert meta.epoch == 30


async def test_a_damaged_log_gives_no_backup(tmp_path: Path):
    """A copy that does not verify would push the last good one out of the folder."""
    data = tmp_path / "data"
    await with_log(data, grown_by(5))
    conn = sqlite3.connect(data / "log.db")
    conn.execute("DROP TRIGGER events_refuse_update")
    conn.execute("UPDATE events SET actor = 'somebody' WHERE position = 3")
    conn.commit()
    conn.close()

    with pytest.raises(BackupUnsound) as refused:
        backup.make(data, tmp_path / "backups", "one")

    assert refused.value.facts["problems_total"] >= 2
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["lock"]


async def test_a_restore_goes_into_an_empty_folder_only(tmp_path: Path):
    """A slip of the hand must not write over the log that is in use."""
    data = tmp_path / "data"
    await with_log(data, grown_by(5))
    backup.make(data, tmp_path, "copy")

    with pytest.raises(NotEmpty):
        await backup.restore(tmp_path / "copy", data, CLOCK, "cli/me")

    assert verify(data / "log.db").epoch == 1


@pytest.mark.parametrize("after", ["people.db", "keys", "log.db"])
async def test_a_restore_that_was_cut_off_is_asked_for_again(
    tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch
):
    """Whatever lies in the folder by then is our own, and the log comes last."""
    data, new = tmp_path / "data", tmp_path / "new"
    await with_log(data, grown_by(5))
    people = sqlite3.connect(data / "people.db")
    people.execute("CREATE TABLE people (name)")
    people.close()
    backup.make(data, tmp_path, "copy")
    real = Path.replace

    def cut_off(path: Path, target: Path) -> Path:
        moved = real(path, target)
        if path.parent.name == "restoring" and path.name == after:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")
    monkeypatch.undo()
    if after == "log.db":
        with pytest.raises(NotEmpty):
            await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")
    else:
        await backup.restore(tmp_path / "copy", new, CLOCK, "cli/me")

    report = verify(new / "log.db")
    assert (report.ok, report.head) == (True, 6)
    assert report.epoch > 1
    assert (new / "people.db").exists()


async def test_two_backups_do_not_meet_in_one_folder(tmp_path: Path):
    """The timer and a person at once: neither may clear away what the other one writes."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    await with_log(data, grown_by(5))
    with backup._alone(backups), pytest.raises(BackupFailed, match="another backup"):
        backup.make(data, backups, "two")

    backup.make(data, backups, "two")
    with pytest.raises(BackupFailed, match="of this name"):
        backup.make(data, backups, "two")


async def test_what_a_killed_backup_left_is_cleared_away(tmp_path: Path):
    """The next one begins anew; nobody sees a half one under a name of its own."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    await with_log(data, grown_by(5))
    await asyncio.to_thread(shutil.copytree, data, backups / ".partial")

    backup.make(data, backups, "whole")

    assert sorted(path.name for path in backups.iterdir()) == ["lock", "whole"]


async def test_only_old_backups_with_dates_are_removed(tmp_path: Path):
    """A backup that somebody named is kept for a reason."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    await with_log(data, grown_by(1))
    dates = [backup.dated(day * 86_400_000_000) for day in range(20_000, 20_004)]
    for name in [*dates, "before-the-upgrade"]:
        backup.make(data, backups, name)

    removed = backup.prune(backups, keep=2)

    assert [path.name for path in removed] == dates[:2]
    assert sorted(path.name for path in backups.iterdir()) == [
        "before-the-upgrade", *dates[2:], "lock",
    ]  # fmt: skip


async def test_a_running_daemon_keeps_its_folder(tmp_path: Path):
    """The lock tells, even where the folder looks empty."""
    data = tmp_path / "data"
    await with_log(data, grown_by(1))
    backup.make(data, tmp_path, "copy")

    async def restore_over(_store: SqliteStore) -> None:
        with pytest.raises(BackupFailed, match="in use"):
            await backup.restore(tmp_path / "copy", tmp_path / "new", CLOCK, "cli/me")

    await with_log(tmp_path / "new", restore_over)
