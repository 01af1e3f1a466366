"""`labeltrail backup`, and whose the data folder is, as a user meets both."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from daemon import file_systems
from daemon.store.schema import FORMAT
from events.server import SweepCompleted
from tests.daemon.cli.conftest import Desk, Served

Serve = Callable[[], Served]


def test_a_backup_beside_the_running_daemon_is_restored_elsewhere(desk: Desk, serve: Serve):
    """The whole way of a bad day: copy, lose the disk, restore, go on, verify."""
    desk.record("server/main", SweepCompleted(jobs=1))
    served = serve()
    copied = desk.run("backup", str(desk.folder / "backups"), "--json")
    refused = desk.run("backup", "--restore", copied.objects[0]["path"])
    served.stop()
    (desk.folder / "data").rename(desk.folder / "lost")

    restored = desk.run("backup", "--restore", copied.objects[0]["path"], "--json")
    serve().stop()
    verified = desk.run("verify", "--json")
    log = desk.run("log", "--json")

    assert copied.objects[0]["position"] == 1
    assert (refused.code, "stop the daemon first" in refused.err) == (1, True)
    assert restored.code == 0, restored.err
    assert verified.code == 0
    assert verified.objects[-1]["epoch"] == restored.objects[0]["epoch"] > 1
    assert [found["type"] for found in log.objects] == ["SweepCompleted", "LogRestored"]
    assert log.objects[1]["actor"].startswith("cli/")


def test_a_published_checkpoint_that_knows_more_keeps_the_daemon_from_starting(desk: Desk):
    """Publishing over it would wipe out the only proof that events were lost."""
    with desk.config.open("a") as settings:
        settings.write('\n[checkpoints]\npublish = "published"\n')
    desk.record("server/main", SweepCompleted(jobs=1))
    copied = desk.run("backup", str(desk.folder / "backups"), "--json")
    desk.record("server/main", SweepCompleted(jobs=2), SweepCompleted(jobs=3))
    (desk.folder / "data").rename(desk.folder / "lost")
    desk.run("backup", "--restore", copied.objects[0]["path"])

    ran = desk.run("status")

    assert ran.code == 1
    assert "restored from a copy that ends before what was seen" in ran.err
    assert "position_seen=3" in ran.err


def test_a_newer_log_is_refused_by_an_older_program(desk: Desk):
    """After a downgrade the old program must not write what the new one would misread."""
    desk.record("server/main", SweepCompleted(jobs=1))
    conn = sqlite3.connect(desk.folder / "data/log.db")
    conn.execute(f"PRAGMA user_version = {FORMAT + 1}")
    conn.close()

    codes = [desk.run(*words) for words in (["status"], ["verify"], ["backup", str(desk.folder)])]

    assert [ran.code for ran in codes] == [1, 1, 1]
    assert all("written by a newer release" in ran.err for ran in codes)


def test_a_data_folder_on_a_network_file_system_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    """SQLite's locks do not reach the other machines that write there."""
    mounts = desk.folder / "mountinfo"
    mounts.write_text(f"30 21 0:40 / {desk.folder} rw shared:2 - nfs4 filer:/data rw\n")
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)

    ran = desk.run("status")

    assert ran.code == 1
    assert "network file system" in ran.err
    assert not (desk.folder / "data").exists()
