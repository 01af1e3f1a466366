"""The process pool: what hangs or dies in it is tried again, then told, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from watchfiles import awatch

from daemon.pool import TRIES, Pool, WorkFailed
from tests.fakes import heavy

SOON_S = 1.0


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1)
    yield pool
    await pool.close()


@pytest.fixture
async def impatient() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1, work_s=SOON_S)
    yield pool
    await pool.close()


def pids(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_pieces_come_back_whole_and_in_order(pool: Pool):
    """Also those larger than any buffer between the processes."""
    parts = [b"one", b"", b"x" * 3_000_000]

    assert await pool.run(heavy.echo, *parts) == parts


async def test_a_stuck_worker_is_killed_and_its_work_is_tried_again(
    impatient: Pool, tmp_path: Path
):
    """What hung once because the machine was busy need not hang again."""
    noted = tmp_path / "pids"

    assert await impatient.run(heavy.stuck_once, os.fsencode(noted)) == [b"done"]

    first, second = pids(noted)
    assert first != second
    assert is_gone(first)


async def test_work_that_is_always_stuck_is_reported(impatient: Pool, tmp_path: Path):
    """It must not hold up the next, nor be tried for ever; no process of it stays."""
    noted = tmp_path / "pids"

    with pytest.raises(WorkFailed, match="did not end") as raised:
        await impatient.run(heavy.stuck, os.fsencode(noted))

    assert raised.value.facts["tries"] == TRIES
    assert len(pids(noted)) == TRIES
    assert all(map(is_gone, pids(noted)))
    assert await impatient.run(heavy.echo, b"next") == [b"next"]


async def test_a_worker_that_dies_is_reported(pool: Pool, tmp_path: Path):
    """The kernel kills the largest process when memory runs out."""
    noted = tmp_path / "pids"

    with pytest.raises(WorkFailed, match="it ended"):
        await pool.run(heavy.dead, os.fsencode(noted))

    assert len(pids(noted)) == TRIES


async def test_cancelled_work_is_ended(pool: Pool, tmp_path: Path):
    """A daemon that stops must not leave a process at work behind."""
    noted = tmp_path / "pids"
    noted.touch()
    running = asyncio.create_task(pool.run(heavy.stuck, os.fsencode(noted)))
    async for _ in awatch(tmp_path, yield_on_timeout=True, rust_timeout=200):
        if pids(noted):
            break

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert all(map(is_gone, pids(noted)))


async def test_an_error_of_the_works_own_is_raised_as_it_was(pool: Pool):
    """The caller decides on it: an old schema is read again, a broken body is recorded."""
    with pytest.raises(heavy.TooHeavy) as raised:
        await pool.run(heavy.refused, raises=[heavy.TooHeavy])

    assert raised.value.message == "too heavy"
    assert raised.value.hint == "take less"
    assert raised.value.facts == {"kg": 70}


async def test_an_error_that_nobody_thought_of_names_its_kind_alone(pool: Pool):
    """Its text may hold what a label says; what somebody printed is no answer."""
    with pytest.raises(WorkFailed) as raised:
        await pool.run(heavy.broken)

    assert raised.value.facts["reason"] == "ZeroDivisionError"
    assert "with a name" not in str(raised.value)
    assert await pool.run(heavy.echo, b"next") == [b"next"]
