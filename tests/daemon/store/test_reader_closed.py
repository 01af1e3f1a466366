"""A reader that is closed while a thread still reads with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.clock import SystemClock
from daemon.ports.store import StoreClosed
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from events.server import DeliveryRefused


async def test_a_reader_that_is_closed_under_a_thread_refuses_and_does_not_crash(tmp_path: Path):
    """A client that goes away cancels its wait, not the thread that reads for it."""
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    await store.append(
        [
            NewEvent(id=clock.new_id(), stream="server/main", fact=DeliveryRefused(reason=str(n)))
            for n in range(3_000)
        ]
    )
    for _ in range(20):
        reader = store.reader()
        began = threading.Event()
        ended: list[BaseException] = []

        def read(reader=reader, began=began, ended=ended) -> None:
            try:
                while True:
                    for _ in reader.read():
                        began.set()
            except StoreClosed as exc:
                ended.append(exc)

        thread = threading.Thread(target=read)
        thread.start()
        assert began.wait(10)

        reader.close()
        thread.join(10)

        assert len(ended) == 1
        with pytest.raises(StoreClosed):
            reader.head()
    await store.close()
