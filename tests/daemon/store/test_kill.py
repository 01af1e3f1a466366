"""kill -9 at any moment loses nothing acknowledged and repeats nothing."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.store.reader import SqliteReader
from daemon.store.verify import verify
from tests.contract.noted import Noted

# Eight tasks append events of one to five notes and say so, once acknowledged.
WRITER = """
import asyncio, os, pathlib, sys
from daemon.clock import SystemClock
from daemon.store import writer
from daemon.store.sqlite import SqliteStore
from tests.contract.noted import noted

# Both kinds of checkpoint come often, so that many kills hit one.
writer.SIGN_EVENTS_IDLE, writer.SIGN_EVENTS_CAP = 20, 60
writer.WAL_BYTES, writer.WAL_BYTES_CAP = 100_000, 300_000

async def main(path, run):
    clock = SystemClock()
    store = await SqliteStore.open(path, clock, publish=path.parent / "published")
    os.write(1, b"open\\n")

    async def write(task):
        n = 0
        while True:
            n += 1
            batch = [noted(clock, f"job/{task}", value=[run, task, n, k]) for k in range(1 + n % 5)]
            await store.append(batch)
            os.write(1, f"{run} {task} {n}\\n".encode())

    await asyncio.gather(*[write(task) for task in range(8)])

asyncio.run(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
"""


def killed(path: Path, run: int, after_s: float) -> set[tuple[int, ...]]:
    """Let a writer write, kill it, and return the appends that it saw acknowledged."""
    command = [sys.executable, "-c", WRITER, str(path), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        said = b""
        deadline = time.monotonic() + after_s
        while (left := deadline - time.monotonic()) > 0:
            if select.select([writer.stdout], [], [], left)[0]:
                said += os.read(writer.stdout.fileno(), 65_536)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read()
    whole_lines = said.split(b"\n")[:-1]
    return {tuple(int(word) for word in line.split()) for line in whole_lines}


def appends(path: Path) -> dict[tuple[int, ...], list[int]]:
    """Return the notes in the log by the append that they came with."""
    reader = SqliteReader(path)
    found: dict[tuple[int, ...], list[int]] = {}
    for event in reader.read():
        fact = reader.fact(event)
        assert isinstance(fact, Noted)
        *append, note = fact.value
        found.setdefault(tuple(append), []).append(note)
    reader.close()
    return found


def kill_again_and_again(path: Path, *, seed: int, kills: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: set[tuple[int, ...]] = set()

    for run in range(kills):
        acknowledged |= killed(path, run, after_s=chance.uniform(0.0, 0.25))
        found = appends(path)

        assert acknowledged <= found.keys()
        for append, notes in found.items():
            assert notes == list(range(1 + append[2] % 5)), "half an append"

    assert acknowledged
    report = verify(path, against=path.parent / "published")
    assert report.problems == ()
    assert report.proven_upto > 0


def test_twelve_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """Promise 2; the same log is opened again after each kill, as after a crash."""
    kill_again_and_again(tmp_path / "log.db", seed=20_261_122, kills=12)


# Killed as the second statement of a large append begins.
DYING = """
import asyncio, os, pathlib, signal, sys
from daemon.clock import SystemClock
from daemon.store.sqlite import SqliteStore
from tests.contract.noted import noted

async def main(path):
    clock = SystemClock()
    store = await SqliteStore.open(path, clock)
    await store.append([noted(clock, value=[0, 0, 0, k]) for k in range(3)])
    begun = set()

    def die(statement):  # told again for each trigger of the same statement
        if statement.startswith("INSERT INTO events"):
            begun.add(statement)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    store._writer._conn.set_trace_callback(die)
    await store.append([noted(clock, value=[1, 0, 0, k]) for k in range(1_000)])

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def test_a_kill_between_the_statements_of_a_large_append_leaves_nothing_of_it(
    tmp_path: Path,
) -> None:
    """A large append is many statements and one transaction."""
    path = tmp_path / "log.db"

    died = subprocess.run([sys.executable, "-c", DYING, str(path)], timeout=60)

    assert died.returncode == -signal.SIGKILL
    assert appends(path) == {(0, 0, 0): [0, 1, 2]}
    assert verify(path).ok


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_many_kills_lose_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """The rare moments (inside a sync, a WAL reset, a checkpoint) need many tries."""
    kill_again_and_again(tmp_path / "log.db", seed=seed, kills=30)
