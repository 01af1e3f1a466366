"""A frozen server as a person meets it."""

from __future__ import annotations

import contextlib

from events.job import AnnotationsObserved, JobDiscovered, JobSchemaChanged
from events.server import ServerChanged
from tests.daemon.cli.conftest import Desk
from tests.daemon.cli.test_commands import sandbox


def test_a_frozen_server_waits_for_a_person_who_thaws_it(desk: Desk):
    """It stands in `pending`; `server thaw` says what it would do, does it, and is done."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(sandbox())
        desk.run("server", "add", "main", url, "--user", "admin", typed="admin\n")
        desk.record(
            "job/main/7",
            JobDiscovered(task=3, start_frame=0, stop_frame=1),
            JobSchemaChanged(labels=()),
            AnnotationsObserved(updated_date="2026-01-01T00:00:00Z", baseline=True),
        )
        desk.record("server/main", ServerChanged(reason="the updated_date of job 7 went back"))

        waiting = desk.run("pending", "--json")
        dry = desk.run("server", "thaw", "main", "--dry-run", "--json")
        still = desk.run("pending")
        thawed = desk.run("server", "thaw", "main", "--json")
        after = desk.run("pending")
        again = desk.run("server", "thaw", "main")

    assert (waiting.code, waiting.objects[0]["what"]) == (3, "frozen server")
    assert "server thaw" in waiting.objects[0]["reason"]
    assert (dry.code, dry.objects[0]["jobs"], still.code) == (0, 1, 3)
    assert thawed.code == 0, thawed.err
    # The job is not there any more: nobody calls its labels deleted.
    assert thawed.objects[0]["outcomes"] == {"deleted": 1}
    assert (after.code, again.code) == (0, 1)
    assert "not frozen" in again.err


def test_status_shows_a_frozen_server(desk: Desk):
    """Whoever looks should not wonder why nothing comes."""
    desk.record("server/main", ServerChanged(reason="restored"))

    assert "FROZEN: restored" in desk.run("status").out
