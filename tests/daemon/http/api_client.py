"""A daemon's port over a real log on disk, and clients with and without tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from daemon.app import App, open_app
from daemon.clock import SystemClock
from daemon.http import listener
from daemon.http.desk import StartFront
from daemon.tokens import Scope, Tokens
from events.envelope import NewEvent
from events.registry import Fact
from tests.daemon.http.conftest import here


class MovedClock(SystemClock):
    """A clock whose seconds a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1_000.0

    def monotonic_s(self) -> float:
        return self.seconds


@dataclass
class Answer:
    """One whole answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Served:
    """A port that listens, and its app."""

    app: App
    clock: MovedClock
    session: aiohttp.ClientSession

    @property
    def address(self) -> str:
        assert self.app.address is not None
        return self.app.address

    def token(self, name: str = "reader", scope: Scope = "read") -> str:
        """Make a token, and return its secret."""
        return Tokens(self.app.folder).make(name, scope, made_at=1)

    async def ask(
        self, path: str, token: str | None = None, method: str = "GET", **options: Any
    ) -> Answer:
        """Send a request; return the answer."""
        headers = options.pop("headers", {})
        if token is not None:
            headers = headers | {"Authorization": f"Bearer {token}"}
        url = f"{self.address}{path}"
        async with self.session.request(method, url, headers=headers, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def record(self, stream: str, *facts: Fact) -> None:
        """Append facts."""
        await self.app.store.append(
            [NewEvent(id=self.clock.new_id(), stream=stream, fact=fact) for fact in facts]
        )


@asynccontextmanager
async def served(
    folder: Path, settings: str = "", front: StartFront = here
) -> AsyncIterator[Served]:
    """Serve a data folder on a free port.

    settings  more lines of TOML
    front     runs what speaks HTTP, in this process unless given
    """
    config = folder / "labeltrail.toml"
    config.write_text(f'[data]\nfolder = "data"\n[http]\nport = 0\n{settings}')
    clock = MovedClock()
    async with (
        open_app(config, actor="daemon", clock=clock) as app,
        listener.listening(app, front) as app.address,
        aiohttp.ClientSession() as session,
    ):
        yield Served(app, clock, session)
