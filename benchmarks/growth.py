"""What one save costs in a large run, against one in a small run: it must not grow with the run.

Jobs of 100 labels in the sandbox, all recorded; then single boxes are moved, now in the large run,
now in the small one, each recorded by the product's own handler on a log and projections on disk.
The time is that of the record: four requests, decoding, comparing, the append and its sync.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.pairs import Figure
from benchmarks.server import BOXES, Run, run_of
from daemon.app import open_app
from daemon.handlers.observe import JobWatch
from daemon.sandbox import Sandbox
from daemon.wiring import watch

USERS = {"admin": "admin"}
SMALL = 1_000
Recorded = tuple[Run, aiohttp.ClientSession, JobWatch]
SETTINGS = """
[data]
folder = "{folder}/data"
[servers.main]
url = "{url}"
user = "admin"
password = "admin"
"""


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `growth`: the medians' ratio."""
    large, saves = (10_000, 20) if quick else (100_000, 200)
    async with AsyncExitStack() as stack:
        runs = [await stack.enter_async_context(_recorded(labels)) for labels in (SMALL, large)]
        waits: list[list[float]] = [[], []]
        for nth in range(saves):
            for which in (0, 1) if nth % 2 else (1, 0):
                waits[which].append(await _save(*runs[which], nth))
    small_s, large_s = (statistics.median(found) for found in waits)
    return {"growth": {"ratio": round(large_s / small_s, 2), "ms": round(large_s * 1_000, 1)}}


async def _save(run: Run, http: aiohttp.ClientSession, jobs: JobWatch, nth: int) -> float:
    job = await run.move(http, nth)
    began = time.perf_counter()
    seen = await jobs.observe(job)
    took = time.perf_counter() - began
    assert seen.changed, "the save was not recorded"
    return took


@asynccontextmanager
async def _recorded(labels: int) -> AsyncIterator[Recorded]:
    """Yield a run, a session of its annotator, and what records its jobs; all are recorded once."""
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(users=USERS) as sandbox, aiohttp.ClientSession(sandbox.url) as http:
            run = await run_of(http, jobs=labels // BOXES)
            config = Path(folder) / "labeltrail.toml"
            config.write_text(SETTINGS.format(folder=folder, url=sandbox.url))
            async with open_app(config, actor="benchmark") as app:
                jobs = await watch(app, "main", by_command=False)
                for job in run.jobs:
                    await jobs.observe(job)
                yield run, http, jobs


if __name__ == "__main__":
    print(asyncio.run(measure(quick=True)))
