"""The process pool: what hangs or dies in it is tried again, then told, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from watchfiles import awatch

from daemon import worker
from daemon.pool import KEPT_BYTES_MAX, LONG_WORKERS_MAX, TRIES, Pool, WorkFailed
from tests.fakes import heavy

SOON_S = 1.0


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1)
    yield pool
    await pool.close()


@pytest.fixture
async def impatient() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1, silent_s=SOON_S)
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


async def test_long_work_that_says_that_it_goes_on_is_not_stuck(impatient: Pool):
    """A manifest of gigabytes takes minutes; only silence tells that nothing will come."""
    assert await impatient.run(heavy.slow_but_alive, b"1.2", long=True) == [b"done"]


async def test_long_work_keeps_no_short_work_waiting(pool: Pool, tmp_path: Path):
    """While a large manifest is read, jobs are decoded all the same."""
    noted = tmp_path / "pids"
    noted.touch()
    running = [
        asyncio.create_task(pool.run(heavy.stuck, os.fsencode(noted), long=True)) for _ in range(3)
    ]
    async for _ in awatch(tmp_path, yield_on_timeout=True, rust_timeout=200):
        if len(pids(noted)) == LONG_WORKERS_MAX:
            break

    assert await pool.run(heavy.echo, b"next") == [b"next"]

    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert all(map(is_gone, pids(noted)))


async def test_pieces_are_told_as_they_come(pool: Pool):
    """Whoever waits for minutes hears how far it is."""
    heard: list[bytes] = []

    assert await pool.run(heavy.echo, b"one", b"two", told=heard.append) == []
    assert heard == [b"one", b"two"]


async def test_whoever_waits_for_an_acknowledgement_comes_first(pool: Pool):
    """The processes are nice: the loop gets a core as soon as it wants one."""
    _, niceness = await pool.run(heavy.about)

    assert int(niceness) == os.nice(0) + worker.NICE


async def test_a_process_that_grew_is_not_kept(pool: Pool):
    """One large job a month ago must not hold its memory for ever."""
    [small] = await pool.run(heavy.wasteful, b"1000")
    [large] = await pool.run(heavy.wasteful, str(KEPT_BYTES_MAX).encode())
    [next_one] = await pool.run(heavy.wasteful, b"1000")

    assert small == large != next_one
    assert is_gone(int(large))


async def test_a_process_beside_a_large_daemon_is_kept(pool: Pool):
    """What its parent had when it began is none of its own; a new one takes half a second."""
    ballast = b"x" * 2 * KEPT_BYTES_MAX
    [first] = await pool.run(heavy.wasteful, b"1000")
    [second] = await pool.run(heavy.wasteful, b"1000")
    del ballast

    assert first == second


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of such a death")
async def test_a_daemon_that_is_killed_leaves_no_process_at_work(tmp_path: Path):
    """A worker that is stuck would stay for ever, and each start of the daemon add others."""
    noted = tmp_path / "pids"
    noted.touch()
    code = (
        "import asyncio; from daemon.pool import Pool; from tests.fakes import heavy;"
        f"asyncio.run(Pool().run(heavy.stuck, {os.fsencode(noted)!r}))"
    )
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=root)
    async for _ in awatch(tmp_path, yield_on_timeout=True, rust_timeout=200):
        if pids(noted):
            break

    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(os.pidfd_open(pids(noted)[0]), gone.set)

    parent.kill()
    await parent.wait()

    async with asyncio.timeout(10):
        await gone.wait()
