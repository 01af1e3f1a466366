"""Commands as a person types them, each in a process of its own; and the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import aiohttp

from daemon.demo.telling import Teller
from events.errors import SyncError

COMMAND_S: Final = 60.0
START_S: Final = 30.0
STOP_S: Final = 20.0
LOOK_S: Final = 0.05
LINE_BYTES_MAX: Final = 16 * 2**20
FOREIGN: Final = (
    "LABELTRAIL_", "NOTIFY_SOCKET", "WATCHDOG_", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY",
)  # fmt: skip
LABELTRAIL: Final = (sys.executable, "-I", "-m", "daemon")

Json = dict[str, Any]


class CommandFailed(SyncError):
    """A command of the demo ended otherwise than it should."""


class DaemonTrouble(SyncError):
    """The daemon of the demo did not start, or did not stop, in time."""


class Shell:
    """A folder with a labeltrail.toml, in which commands run."""

    def __init__(self, folder: Path, teller: Teller) -> None:
        self.folder = folder
        self.teller = teller
        self.daemon: Process | None = None

    async def run(self, *arguments: str, codes: Collection[int] = (0,), lines_max: int = 12) -> int:
        """Type a command and show what it prints; return its exit code. Raises CommandFailed."""
        self.teller.typed(shlex.join(("labeltrail", *arguments)))
        code, printed = await self._output(arguments, codes)
        self.teller.printed(printed, lines_max)
        return code

    async def ask(self, *arguments: str, codes: Collection[int] = (0,)) -> list[Json]:
        """Run a command aside, with --json; return its objects. Raises CommandFailed."""
        _, printed = await self._output((*arguments, "--json"), codes)
        return [json.loads(line) for line in printed.splitlines()]

    async def python(self, script: Path, *arguments: str) -> str:
        """Run a script that sees nothing of ours; return what it prints. Raises CommandFailed."""
        self.teller.typed(shlex.join(("python", "-I", str(script), *arguments)))
        process = await self._start((sys.executable, "-I", str(script), *arguments))
        out, err = await self._finish(process)
        if not out:
            raise CommandFailed("the script failed", script=script.name, printed=err[-500:])
        return out

    async def follow(self, *arguments: str) -> Process:
        """Start a command that goes on for ever; its lines come from `stdout`."""
        return await self._start((*LABELTRAIL, *arguments))

    async def serve(self, url: str) -> None:
        """Start the daemon, and wait until it is ready. Raises DaemonTrouble."""
        self.teller.typed("labeltrail serve &")
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = await asyncio.create_subprocess_exec(
                *LABELTRAIL, "serve", cwd=self.folder, env=self._environment(), stdin=DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            async with asyncio.timeout(START_S):
                while await self.head(url) is None:
                    if self.daemon.returncode is not None:
                        raise self._trouble("the daemon ended as soon as it was started")
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as exc:
            raise self._trouble("the daemon was not ready in time") from exc

    async def head(self, url: str) -> int | None:
        """Return the last position of the log as the daemon tells it, None while it is not up."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
                found = await response.json()
                return int(found["position"]) if response.status == 200 else None
        except aiohttp.ClientError:
            return None

    def _trouble(self, what: str) -> DaemonTrouble:
        said = (self.folder / "daemon.log").read_text(errors="replace").splitlines()[-3:]
        return DaemonTrouble(what, said=" | ".join(said))

    async def kill(self) -> None:
        """End the daemon as a power cut would. Raises DaemonTrouble where it has ended already."""
        self.check_daemon()
        assert self.daemon is not None
        self.teller.typed(f"kill -9 {self.daemon.pid}")
        self.daemon.kill()
        await self.daemon.wait()
        self.daemon = None

    async def stop(self) -> None:
        """Ask the daemon to end, and wait. Raises DaemonTrouble."""
        assert self.daemon is not None
        self.teller.typed(f"kill {self.daemon.pid}")
        self.daemon.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                code = await self.daemon.wait()
        except TimeoutError as exc:
            raise DaemonTrouble("the daemon did not stop in time", seconds=STOP_S) from exc
        self.daemon = None
        if code:
            raise DaemonTrouble("the daemon did not end well", exit_code=code)

    def check_daemon(self) -> None:
        """Raise DaemonTrouble if the daemon ended by itself."""
        if self.daemon is not None and self.daemon.returncode is not None:
            raise self._trouble("the daemon ended by itself")

    async def clean_up(self) -> None:
        """End the daemon, however it stands."""
        if self.daemon is not None:
            await end(self.daemon)

    async def _start(self, command: tuple[str, ...]) -> Process:
        # In a session of its own: Ctrl-C is for the demo, which ends what it started.
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self._environment(), stdin=DEVNULL, stdout=PIPE,
            stderr=PIPE, limit=LINE_BYTES_MAX, start_new_session=True,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """Return our environment without what would lead a command to somebody else's settings."""
        kept = {name: one for name, one in os.environ.items() if not name.startswith(FOREIGN)}
        return kept | self.teller.environment()

    async def _finish(self, process: Process) -> tuple[str, str]:
        try:
            async with asyncio.timeout(COMMAND_S):
                out, err = await process.communicate()
        except TimeoutError as exc:
            raise CommandFailed("a command took too long", seconds=COMMAND_S) from exc
        finally:
            await end(process)
        return out.decode(), err.decode(errors="replace")

    async def _output(self, arguments: tuple[str, ...], codes: Collection[int]) -> tuple[int, str]:
        process = await self._start((*LABELTRAIL, *arguments))
        out, err = await self._finish(process)
        code = await process.wait()
        if code not in codes:
            raise CommandFailed(
                "a command of the demo ended otherwise than it should",
                command=shlex.join(("labeltrail", *arguments)),
                exit_code=code,
                printed=(err or out)[-1000:].strip(),
            )
        return code, out


async def end(process: Process) -> None:
    """End a process that may have ended: politely, then not."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
