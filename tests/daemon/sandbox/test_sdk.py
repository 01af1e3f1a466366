"""The official client from PyPI works with the sandbox, unchanged."""

from __future__ import annotations

import asyncio
import json
import venv
from pathlib import Path

import pytest

from daemon.sandbox import Sandbox
from tests.conformance.recording import mp4
from tests.daemon.sandbox.client import Client

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "conformance" / "sdk_session.py"
OLDER = ROOT / "tests" / "conformance" / "older_sdk_session.py"
INSTALL_S = 300


async def run(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def interpreter(version: str) -> Path:
    """Return a Python that has this `cvat-sdk`, in an environment of its own under build/."""
    folder = ROOT / "build" / f"cvat-sdk-{version}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        venv.create(folder, with_pip=True)
        await run(python, "-m", "pip", "install", "-q", f"cvat-sdk=={version}", "pillow")
        (folder / ".installed").touch()
    return python


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S)
@pytest.mark.parametrize(
    ("served", "sdk"), [("2.15", "2.15.0"), ("2.73", "2.73.0"), ("2.73", "2.80.0")]
)
async def test_the_sdk_works_unchanged(tmp_path: Path, served: str, sdk: str) -> None:
    """Projects, tasks, annotations, frames, jobs, issues, videos, webhooks, as scripts do."""
    python = await interpreter(sdk)
    (tmp_path / "clip.mp4").write_bytes(mp4(160, 120, 20))

    async with Sandbox(version=served) as server:
        seen = json.loads(await run(python, SCRIPT, server.url, tmp_path))

    box = [1.0, 2.0, 30.0, 40.0]
    assert seen == {
        "user": "admin",
        "project": {"name": "renamed", "labels": 2},
        "task": ["train", 4, 2],
        # Those of the newest job, then those of the task.
        "shapes": [[3, *box], [1, *box], [3, *box]],
        "frames": {
            "frame": [64, 48],
            "compressed": [64, 48],
            "preview": [64, 48],
            "chunk": [f"{number:06d}.jpeg" for number in range(4)],
            "written": ["frame_000000.jpg", "frame_000003.jpg"],
            "names": ["0.jpg", "1.jpg", "2.jpg", "3.jpg"],
            "of_job": [64, 48],
            "preview_of_job": [64, 48],
            "range_of_job": [2, 3, 2],
            "deleted": [2],
        },
        "review": {
            "issues": [[0, True]],
            "comments": ["done now", "look"],
            "job": ["validation", "completed", True],
            "jobs": ["completed", "new"],
        },
        "video": {"size": 20, "mode": "interpolation", "frame": [160, 120], "chunk": "ftyp"},
        "hooks": {
            "hooks": [["project", ["update:job"]]],
            "deliveries": [["ping", 502]],
            "pinged": "ping",
        },
        "tasks": [2, 1],
        "jobs": 3,
        "left": [0, 0],
    }


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S)
async def test_an_older_sdk_cannot_work_with_a_newer_server(tmp_path: Path) -> None:
    """As measured on the real one: `doctor` must not say that it could."""
    python = await interpreter("2.15.0")

    async with Sandbox(version="2.73") as server:
        admin = await Client(server).login()
        project = (await admin.post("/api/projects", {"name": "p"}))["id"]
        hook = {"target_url": "http://127.0.0.1:1/x", "type": "project", "project_id": project}
        events = ["update:job", "completed:request[create:task]"]
        await admin.post("/api/webhooks", hook | {"events": events})
        tried = json.loads(await run(python, OLDER, server.url, tmp_path))

    # Events that only the newer one has, and tasks without `data`, do not fit its models.
    assert tried == {"projects": None, "webhooks": "ApiValueError", "task": "ApiTypeError"}
