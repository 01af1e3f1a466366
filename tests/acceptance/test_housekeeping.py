"""Restoring, changing secrets and forgetting people, with a daemon and a CVAT server at work."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.demo.editor import Editor
from daemon.demo.shell import CommandFailed, Shell
from tests.acceptance.conftest import DEMO_S
from tests.acceptance.test_commands import NAME, RUN, annotated, folder, move_in_dataset

__all__ = ["folder"]

pytestmark = [pytest.mark.timeout(DEMO_S), pytest.mark.slow]


def address(shell: Shell) -> str:
    settings = tomllib.loads((shell.folder / "labeltrail.toml").read_text())
    return f"http://127.0.0.1:{settings['http']['port']}"


async def heard(shell: Shell, *chosen: str) -> dict[str, Any]:
    """Return the first event that the log has, or will have, of a choice."""
    following = await shell.follow("log", "-f", "--since", "@0", "--json", *chosen)
    assert following.stdout is not None
    found: dict[str, Any] = json.loads(await following.stdout.readline())
    following.terminate()
    await following.communicate()
    return found


async def test_after_a_restore_every_job_is_read_before_anything_is_merged(folder: Path):
    """What people did since the backup is in CVAT alone; a merge of old values would undo it."""
    async with annotated(folder) as (shell, ana, job):
        (copied,) = await shell.ask("backup", str(folder / "backups"))
        box = (await ana.open(job))["shapes"][0]
        await ana.save(job, update=[ana.moved(box, 48, 0)])
        shutil.rmtree(folder / "data")
        (restored,) = await shell.ask("backup", "--restore", copied["path"])
        with pytest.raises(CommandFailed, match="not all jobs of the server were read"):
            await shell.ask("load", NAME, RUN)

        await shell.serve(address(shell))
        try:
            after = f"@{restored['position']}"
            swept = await heard(shell, "--since", after, "--type", "SweepCompleted")
            await shell.ask("load", NAME, RUN)
            log = await shell.ask("log", "--since", after)
            verified = await shell.ask("verify")
        finally:
            await shell.stop()

        at = {found["type"]: found["position"] for found in reversed(log)}
        assert log[0]["type"] == "LogRestored"
        assert at["AnnotationsObserved"] < swept["position"] < at["LabelsMerged"]
        assert verified[-1]["epoch"] == restored["epoch"]


async def test_a_person_is_named_while_known_and_a_number_after_being_forgotten(folder: Path):
    """Names come from CVAT on first sight; forgotten, they stay away although CVAT knows them."""
    async with annotated(folder) as (shell, ana, job):
        await shell.serve(address(shell))
        try:
            box = (await ana.open(job))["shapes"][0]
            await ana.save(job, update=[ana.moved(box, 48, 0)])
            before = await heard(shell, "--type", "DeliveryReceived")
            (erased,) = await shell.ask("forget", "admin")
            again = await heard(shell, "--type", "DeliveryReceived")
        finally:
            await shell.stop()
        bytes_left = b"".join(
            path.read_bytes() for path in (folder / "data").glob("people.db*") if path.is_file()
        )

        assert before["actor"] == erased["person"] == again["actor"]
        assert "admin" in before["actor_name"]
        assert again["actor_name"] is None
        assert erased["deliveries"] >= 1
        assert b"admin" not in bytes_left


async def test_secrets_are_changed_while_the_daemon_listens(folder: Path):
    """Signed with the new secret and answered 204: CVAT and the daemon agree on it."""
    async with annotated(folder) as (shell, ana, job):
        await shell.serve(address(shell))
        try:
            secret = (folder / "data/keys/webhook-main").read_text()
            *hooks, rotated = await shell.ask("hook", "rotate")
            box = (await ana.open(job))["shapes"][0]
            await ana.save(job, update=[ana.moved(box, 48, 0)])
            await heard(shell, "--type", "DeliveryReceived")
            (status,) = await shell.ask("hook", "status")
        finally:
            await shell.stop()

        assert rotated["hooks"] == len(hooks) == 1
        assert [hook["ping_status"] for hook in hooks] == [204]
        assert (status["last_status"], status["missed"]) == (204, 0)
        assert (folder / "data/keys/webhook-main").read_text() != secret


async def test_what_waits_says_whose_edit_it_was(folder: Path):
    """Whoever decides a conflict asks the annotator first."""
    async with annotated(folder) as (shell, admin, job):
        settings = tomllib.loads((folder / "labeltrail.toml").read_text())
        await admin.ask("PATCH", f"/api/jobs/{job}", {"assignee": 2})
        await shell.serve(address(shell))
        async with Editor(settings["servers"]["main"]["url"], "annotator1", lambda *_: None) as ana:
            try:
                await ana.login("pw1")
                box = (await ana.open(job))["shapes"][0]
                label = ana.value_of(job, box, "label_id")
                await ana.save(job, update=[ana.moved(box, 48, 0)])
                await heard(shell, "--type", "JobSettled", "--stream", f"job/main/{job}")
                move_in_dataset(folder / NAME, label, 0.5)
                await shell.ask("dataset", "scan", NAME)
                await shell.ask("load", NAME, RUN, codes=(3,))
                (waits,) = await shell.ask("pending", codes=(3,))
                log = await shell.ask("log", "--stream", f"job/main/{job}")
            finally:
                await shell.stop()

        observed = [found["actor"] for found in log if found["type"] == "AnnotationsObserved"]
        assert waits["actor"] == observed[-1] == "main/2"
        assert waits["actor_name"] == "annotator1"


async def test_what_somebody_wrote_is_kept_where_it_can_be_erased(folder: Path):
    """A remark may be about a person; the log must be able to keep its proofs without it."""
    async with annotated(folder) as (shell, admin, job):
        await shell.serve(address(shell))
        try:
            remark = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "ask Zuzanna"}
            await admin.ask("POST", "/api/issues", remark)
            before = await heard(shell, "--type", "IssueCommented")
            (erased,) = await shell.ask("forget", "main/1")
            after = await heard(shell, "--type", "IssueCommented")
        finally:
            await shell.stop()
        bytes_left = b"".join(path.read_bytes() for path in (folder / "data").glob("*.db*"))

        assert (before["comment"], after["comment"]) == ("ask Zuzanna", None)
        assert erased["texts"] >= 1
        assert b"Zuzanna" not in bytes_left
