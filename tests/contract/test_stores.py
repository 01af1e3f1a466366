"""Every store keeps every promise of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.ports.store import EventStore
from daemon.store.memory import MemoryStore
from daemon.store.sqlite import SqliteStore
from tests.contract.noted import FakeClock
from tests.contract.store_contract import StoreContract


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[EventStore]:
        store = MemoryStore(clock)
        yield store
        await store.close()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, clock: FakeClock, tmp_path: Path) -> AsyncIterator[EventStore]:
        store = await SqliteStore.open(tmp_path / "log.db", clock)
        yield store
        await store.close()
