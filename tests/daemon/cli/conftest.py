"""Commands as a user runs them: in this process where that is enough, as a process where not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daemon.app import open_app
from daemon.cli import labeltrail
from events.envelope import NewEvent
from events.registry import Fact

ROOT = Path(__file__).parents[3]
READY_S = 20.0


@dataclass
class Ran:
    """What a command left: its exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Return the JSON objects of a `--json` run."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Desk:
    """A folder with settings, and commands that use them."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "labeltrail.toml"

    def run(self, *words: str, typed: str | None = None) -> Ran:
        """Run a command in this process."""
        ran = CliRunner().invoke(labeltrail, words, input=typed)
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return Ran(ran.exit_code, ran.stdout, ran.stderr)

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", *words],
            cwd=ROOT,
            env=os.environ | {"LABELTRAIL_CONFIG": str(self.config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End what a test left running."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for reader in self.readers:
            reader.join()
        for process in self.processes:
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def record(self, stream: str, *facts: Fact) -> None:
        """Append facts to the log of the data folder."""

        async def append() -> None:
            async with open_app(self.config, actor="test", state=False) as app:
                await app.store.append(
                    [NewEvent(id=app.clock.new_id(), stream=stream, fact=fact) for fact in facts]
                )

        asyncio.run(append())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return a desk whose settings and data lie in the test's folder."""
    made = Desk(tmp_path)
    made.config.write_text('[data]\nfolder = "data"\n\n[http]\nport = 0\n')
    monkeypatch.setenv("LABELTRAIL_CONFIG", str(made.config))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    yield made
    made.end()


@dataclass
class Served:
    """A daemon in a process of its own, whose lines are read as they come.

    A daemon whose lines nobody reads stands still when the pipe is full.
    """

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    @property
    def address(self) -> str:
        """Return the http address that it serves at."""
        found = [line["http"] for line in self.lines if line["event"] == "serving"]
        assert found, f"it ended with {self.process.wait()}: {self.lines}"
        return str(found[0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(READY_S)
        self.reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "serving":
                self.ready.set()
        self.ready.set()


@pytest.fixture
def serve(desk: Desk) -> Callable[[], Served]:
    """Return what starts a daemon and waits until it serves."""

    def start() -> Served:
        served = Served(desk.popen("serve"))
        desk.readers.append(served.reader)
        served.ready.wait()
        assert served.address
        return served

    return start
