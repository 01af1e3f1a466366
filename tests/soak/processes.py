"""The sandbox and the daemon as processes of their own, and how much the daemon takes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

START_S: Final = 60.0
STOP_S: Final = 60.0
SETTINGS: Final = """\
[data]
folder = "{folder}/data"

[http]
port = 0

[logging]
level = "warning"

[servers.main]
url = "{url}"
user = "admin"
password = "admin"
"""


class Taken(NamedTuple):
    """What a process takes at one moment. at_s: the loop's seconds."""

    at_s: float
    rss_bytes: int
    handles: int


def taken_by(pid: int, at_s: float) -> Taken:
    """Look at the daemon and its front (Linux). What the pool does comes and goes."""
    homes = [Path(f"/proc/{pid}"), *_fronts_of(pid)]
    return Taken(
        at_s,
        sum(_rss_bytes(home) for home in homes),
        sum(1 for home in homes for _ in (home / "fd").iterdir()),
    )


def _fronts_of(pid: int) -> list[Path]:
    children = [
        Path(f"/proc/{child}")
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [home for home in children if b"daemon.http.front" in (home / "cmdline").read_bytes()]


def _rss_bytes(home: Path) -> int:
    lines = (home / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


async def watch(pid: int, every_s: float, seen: list[Taken]) -> None:
    """Look at a process again and again, until cancelled."""
    while True:
        seen.append(taken_by(pid, asyncio.get_running_loop().time()))
        await asyncio.sleep(every_s)


@asynccontextmanager
async def sandbox() -> AsyncIterator[str]:
    """Run a sandbox; yield its address."""
    async with _labeltrail("sandbox", "--port", "0", "--json") as process:
        assert process.stdout is not None
        yield json.loads(await asyncio.wait_for(process.stdout.readline(), START_S))["url"]


@asynccontextmanager
async def serving(folder: Path, url: str) -> AsyncIterator[int]:
    """Run the daemon on an empty folder; yield its pid. It must stop by itself when asked."""
    config = folder / "labeltrail.toml"
    config.write_text(SETTINGS.format(folder=folder, url=url))
    with (folder / "serve.log").open("wb") as log, _notified(folder / "notify") as notified:
        serve = _labeltrail(
            *("serve", "--config", str(config)),
            stderr=log.fileno(),
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )
        async with serve as process:
            told = await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(notified, 4_096), START_S
            )
            assert b"READY=1" in told
            yield process.pid
    assert process.returncode == 0, (folder / "serve.log").read_text()[-4_000:]


async def run(config: Path, *arguments: str) -> None:
    """Run a command of the product to its end."""
    async with _labeltrail(*arguments, "--config", str(config)) as command:
        printed, said = await command.communicate()
    assert command.returncode == 0, (arguments, printed, said)


@contextmanager
def _notified(path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does, to be told when the daemon is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.setblocking(False)
        yield listening


@asynccontextmanager
async def _labeltrail(
    *arguments: str,
    stderr: int = asyncio.subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daemon", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=env,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            # What a pipe still holds must be read, or the process could not end.
            async with asyncio.timeout(STOP_S):
                await process.communicate()
