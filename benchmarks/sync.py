"""How long after a save in CVAT its event is on disk: sandbox, webhook and daemon as they are."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.pairs import Figure
from benchmarks.server import labelled_task
from daemon.sandbox import Sandbox

USERS = {"admin": "admin"}
SECRET = "a secret of the benchmark"
SETTINGS = """
[data]
folder = "{folder}/data"
[http]
port = 0
[servers.main]
url = "{url}"
user = "admin"
password = "admin"
webhook_secrets = ["{secret}"]
"""


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `sync_p50_s`."""
    saves = 3 if quick else 30
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(users=USERS) as sandbox, aiohttp.ClientSession(sandbox.url) as http:
            job = await labelled_task(http, boxes=20)
            config = Path(folder) / "labeltrail.toml"
            config.write_text(SETTINGS.format(folder=folder, url=sandbox.url, secret=SECRET))
            async with labeltrail(config, "serve") as serve:
                await until(serve.stderr, b'"serving"')
                await _run(config, "hook", "install", str(job.project))
                async with labeltrail(config, "log", "-f", "--json") as log:
                    await until(log.stdout, b"AnnotationsObserved")
                    waits = [await _save(job, http, log.stdout) for _ in range(saves)]
    return {"sync_p50_s": {"s": round(statistics.median(waits), 2)}}


async def _save(job: Any, http: aiohttp.ClientSession, lines: Any) -> float:
    began = time.perf_counter()
    await job.move(http)
    await until(lines, b"AnnotationsObserved")
    return time.perf_counter() - began


async def until(lines: Any, wanted: bytes) -> None:
    """Read what a process says until it says so."""
    async with asyncio.timeout(60):
        while wanted not in (line := await lines.readline()):
            assert line, f"the process ended before it said {wanted!r}"


async def _run(config: Path, *arguments: str) -> None:
    async with labeltrail(config, *arguments) as command:
        assert await command.wait() == 0, json.dumps(arguments)


@asynccontextmanager
async def labeltrail(config: Path, *arguments: str) -> Any:
    """Run a command as a process of its own, which ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "daemon", *arguments, "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        # What a pipe still holds must be read, or the process could not end.
        await process.communicate()
