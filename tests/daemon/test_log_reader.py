"""Reading the log for somebody who goes away in the middle of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.app import open_app
from daemon.operations.registry import find
from daemon.store.reader import SqliteReader
from events.envelope import NewEvent, Recorded
from events.job import JobDiscovered


class SlowReader(SqliteReader):
    """Reads like its base, and stays within a reading until it is let go."""

    def __init__(self, path: Path, began: asyncio.Event) -> None:
        super().__init__(path)
        self.began, self.go_on, self.ended = began, threading.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()

    def read(self, **asked: Any) -> Iterator[Recorded]:
        try:
            with self._open():
                self.loop.call_soon_threadsafe(self.began.set)
                self.go_on.wait(5)
            yield from super().read(**asked)
        finally:
            self.ended.set()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("log", {}), ("diff", {"target": "job/main/1"})],
)
async def test_a_cancelled_reading_closes_its_reader_when_the_thread_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any]
) -> None:
    """The wait is cancelled, the thread is not: closing under it held up the whole daemon."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = tmp_path / "labeltrail.toml"
    config.write_text('[data]\nfolder = "data"\n')
    async with open_app(config, actor="cli/ana") as app:
        fact = JobDiscovered(task=1, start_frame=0, stop_frame=1)
        event = NewEvent(id=app.clock.new_id(), stream="job/main/1", fact=fact)
        await app.store.append([event])
        # Those who keep the projections have a reader of their own.
        await app.projections.ask(lambda tables: None)
        readers: list[SlowReader] = []
        began = asyncio.Event()

        def reader() -> SlowReader:
            readers.append(SlowReader(app.folder / "log.db", began))
            return readers[-1]

        monkeypatch.setattr(app.store, "reader", reader)

        async def run() -> None:
            async for _ in find(name).start(app, arguments):
                pass

        running = asyncio.create_task(run())
        await began.wait()
        (slow,) = readers

        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        still_reading = not slow.ended.is_set()
        slow.go_on.set()
        await asyncio.wait({running})

        assert still_reading
        assert running.cancelled()
        assert slow._closed
