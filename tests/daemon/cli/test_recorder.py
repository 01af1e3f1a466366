"""A server entry with a read-only token is enough to record."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from PIL import Image

from daemon.sandbox import Sandbox
from tests.daemon.checks.test_doctor import _token, sandbox
from tests.daemon.cli.conftest import Desk, Served

__all__ = ["sandbox"]
ADMIN = {"Authorization": f"Basic {base64.b64encode(b'admin:admin').decode()}"}
WAIT_S = 30.0


async def work(url: str) -> None:
    """Make a project with one task of one image, and an issue in its job."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 48)).save(picture, "PNG")
    async with aiohttp.ClientSession(url, headers=ADMIN) as session:

        async def post(path: str, **body: Any) -> None:
            async with session.post(path, **body) as response:
                assert response.status < 300, await response.text()

        await post("/api/projects", json={"name": "p", "labels": [{"name": "car"}]})
        await post("/api/tasks", json={"name": "t", "project_id": 1})
        form = aiohttp.FormData({"image_quality": "70"})
        form.add_field("client_files[0]", picture.getvalue(), filename="a.png")
        await post("/api/tasks/1/data", data=form)
        for _ in range(100):
            async with session.get("/api/jobs/1") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.05)
        issue = {"job": 1, "frame": 0, "position": [1.0, 2.0], "message": "who is this?"}
        await post("/api/issues", json=issue)


@pytest.mark.parametrize("sandbox", ["2.73"], indirect=True)
def test_a_read_only_token_records_jobs_tasks_and_issues(
    desk: Desk, sandbox: Sandbox, serve: Callable[[], Served]
):
    """A user's first day: no dataset, no run, no right to change anything."""
    admin = next(user for user in sandbox.state.users.values() if user.is_admin)
    token = asyncio.run(_token(sandbox, admin.key, read_only=True))
    desk.run("server", "add", "main", sandbox.url, "--personal-token", typed=f"{token}\n")
    asyncio.run(work(sandbox.url))
    served = serve()

    wanted = {"JobDiscovered", "AnnotationsObserved", "TaskChanged", "IssueOpened"}
    seen: set[str] = set()
    process = desk.popen("log", "--since", "@0", "--follow", "--json")
    assert process.stdout is not None
    end = time.monotonic() + WAIT_S
    for line in process.stdout:
        seen.add(json.loads(line)["type"])
        if wanted <= seen or time.monotonic() > end:
            break
    process.kill()
    status = [one for one in desk.run("status", "--json").objects if one["kind"] == "source"]
    stopped = served.stop()

    assert wanted <= seen
    assert stopped == 0
    assert [(one["project"], one["jobs"], one["hooks"]) for one in status] == [(1, 1, False)]
