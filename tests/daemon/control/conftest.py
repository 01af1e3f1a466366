"""A running daemon's control socket, in the test's own process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.app import App, open_app
from daemon.control import client, server
from daemon.operations.registry import Json, exit_with, operation
from events.errors import SyncError


class ProbeArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """count: how many objects; odd: one that JSON has no spelling for; endless: then wait for ever;

    fail, code: how it ends.
    """

    count: int = 0
    odd: bool = False
    endless: bool = False
    fail: bool = False
    code: int = 0


class ProbeFailed(SyncError):
    """The probe was asked to fail."""

    exit_code = 3


@dataclass
class Probe:
    """What the operation of the tests saw."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    actor: str = ""


PROBE = Probe()


@operation("probe", args=ProbeArgs)
async def probe(app: App, args: ProbeArgs) -> AsyncGenerator[Json, None]:
    """Do what a test asks for."""
    PROBE.actor = app.actor
    try:
        for number in range(args.count):
            yield {"kind": "counted", "number": number}
        if args.odd:
            yield {
                "kind": "odd",
                "values": [math.nan, (math.inf, -math.inf, None)],
                "text": "\ud800",
            }
        PROBE.began.set()
        if args.endless:
            await asyncio.Event().wait()
        if args.fail:
            raise ProbeFailed("it was asked to", id=b"\x01", many=[1, 2], hint="do not ask")
        if args.code:
            yield exit_with(args.code)
    finally:
        PROBE.ended.set()


@dataclass
class Running:
    """A daemon's app and its socket."""

    app: App
    socket: Path

    async def call(self, name: str, **arguments: Any) -> list[Json]:
        """Call as a command does, in another thread, and return all objects."""
        return await asyncio.to_thread(self.call_here, name, arguments)

    def call_here(self, name: str, arguments: Json) -> list[Json]:
        objects = client.call(self.socket, name, arguments)
        assert objects is not None, "nobody listens"
        return list(objects)


@pytest.fixture(autouse=True)
def _fresh_probe() -> None:
    """Events belong to one loop, and each test has its own."""
    PROBE.began, PROBE.ended, PROBE.actor = asyncio.Event(), asyncio.Event(), ""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a settings file whose data folder is the test's."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "labeltrail.toml"
    path.write_text('[data]\nfolder = "data"\n[http]\nport = 0\n')
    return path


@pytest.fixture
async def running(config: Path) -> AsyncIterator[Running]:
    """Return an app that listens on its socket."""
    async with open_app(config, actor="daemon") as app:
        path = app.folder / "control.sock"
        async with server.listening(app, path):
            yield Running(app, path)
