"""The official client from PyPI works with the sandbox, unchanged."""

from __future__ import annotations

import asyncio
import json
import venv
from pathlib import Path

import pytest

from daemon.sandbox import Sandbox

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "conformance" / "sdk_session.py"
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
async def test_the_sdk_logs_in_makes_a_task_and_annotates_it(
    tmp_path: Path, served: str, sdk: str
) -> None:
    """Login, upload, annotations, frames, jobs, issues; whoever scripts CVAT uses this client."""
    python = await interpreter(sdk)

    async with Sandbox(version=served) as server:
        seen = json.loads(await run(python, SCRIPT, server.url, tmp_path))

    assert seen == {
        "user": "admin",
        "size": 4,
        "jobs": 2,
        "shapes": [[1.0, 2.0, 30.0, 40.0]],
        "frame": [64, 48],
        "names": ["0.jpg", "1.jpg", "2.jpg", "3.jpg"],
        "issues": 1,
        "states": ["completed", "new"],
        "tasks": 0,
    }
