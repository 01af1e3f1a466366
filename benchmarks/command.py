"""How long `labeltrail status` takes beside a running daemon: from the start of its process on."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pairs import Figure
from benchmarks.sync import labeltrail, until

RUNS = 20
SETTINGS = '[data]\nfolder = "{folder}/data"\n[http]\nport = 0\n'


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `command_ms`: by the clock, and of a processor, which others do not lengthen."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "labeltrail.toml"
        config.write_text(SETTINGS.format(folder=folder))
        async with labeltrail(config, "serve") as serve:
            await until(serve.stderr, b'"serving"')
            runs = RUNS // 2 if quick else RUNS
            took = [await asyncio.to_thread(_status, config) for _ in range(runs)]
    medians_ms = [round(statistics.median(times) * 1_000) for times in zip(*took, strict=True)]
    return {"command_ms": dict(zip(("ms", "processor_ms"), medians_ms, strict=True))}


def _status(config: Path) -> tuple[float, float]:
    """Return the seconds by the clock and those of a processor."""
    command = [sys.executable, "-m", "daemon", "status", "--config", str(config)]
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    _, status, used = os.wait4(pid, 0)
    assert status == 0
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(asyncio.run(measure(quick=False)))
