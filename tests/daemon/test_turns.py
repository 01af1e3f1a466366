"""The event loop turns, and the log is written, however much there is to decode and to compare."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest

from config.settings import Dataset
from daemon.clock import SystemClock
from daemon.handlers.carry_out import Journal
from daemon.handlers.scan import scan
from daemon.loops import collect_seldom
from daemon.pool import Pool
from daemon.projector import SqliteProjections
from daemon.store.sqlite import SqliteStore
from events.annotations import LabelSpec
from events.job import JobDiscovered
from projections.folds import FOLDS
from projections.questions import Merge, Settle, WhatChanged
from tests.daemon.manifests.exports import export, label, sample
from tests.fakes import turns

SHAPES: Final = 12_000
SAMPLES: Final = 1_000
LABELS_A_SAMPLE: Final = 10
BEAT_S: Final = 0.002
# Processor time that this process may take between two beats of the loop: what waits for the loop
# waits for that. Not time by the clock, which tells of whatever else the machine does.
TAKEN_S_MAX: Final = 0.1
TAKEN_P99_S_MAX: Final = 0.02


class Parts:
    """The parts of a daemon that a large job or manifest goes through."""

    def __init__(self, folder: Path, store: SqliteStore, projections: SqliteProjections) -> None:
        self.folder = folder
        self.pool = Pool()
        self.journal = Journal(store, projections, SystemClock())

    async def save(self, second: int, shapes: list[dict[str, Any]]) -> int:
        """Record what a job shows; return how many facts that is."""
        read = WhatChanged(
            server="main",
            job=7,
            body=orjson.dumps({"version": 0, "tags": [], "shapes": shapes, "tracks": []}),
            version=None,
            members=JobDiscovered(
                task=1, start_frame=0, stop_frame=9, created_date="2026-11-22T10:00:00Z"
            ),
            updated_date=f"2026-11-22T11:00:{second:02}Z",
            labels=(LabelSpec(id=1, name="car"),),
        )
        return len((await self.journal.carry_out(read, apart=self.pool)).drafts)

    async def scan(self) -> str:
        report = await scan(
            "birds",
            Dataset(manifest=self.folder / "birds"),
            store=self.journal.store,
            projections=self.journal.projections,
            clock=self.journal.clock,
            pool=self.pool,
            scratch=self.folder,
        )
        return report.outcome


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    threshold = gc.get_threshold()
    collect_seldom()  # as in the daemon: what the tests imported is not its to look at
    store = await SqliteStore.open(tmp_path / "log.db", SystemClock())
    projections = await SqliteProjections.open(tmp_path / "projections.db", store, FOLDS)
    following = asyncio.create_task(projections.follow())
    parts = Parts(tmp_path, store, projections)
    yield parts
    await parts.pool.close()
    following.cancel()
    await asyncio.wait([following])
    await projections.close()
    await store.close()
    gc.unfreeze()
    gc.set_threshold(*threshold)


def boxes() -> list[dict[str, Any]]:
    points = [1.5, 2.25, 30.125, 40.0625]
    return [
        {"id": id, "frame": id % 10, "label_id": 1, "type": "rectangle", "points": points}
        for id in range(1, SHAPES + 1)
    ]


@asynccontextmanager
async def beating() -> AsyncIterator[list[float]]:
    """Yield the seconds of processor time that this process takes between beats of the loop."""
    taken: list[float] = []

    async def beat() -> None:
        while True:
            before_s = time.process_time()
            await asyncio.sleep(BEAT_S)
            taken.append(time.process_time() - before_s)

    task = asyncio.create_task(beat())
    yield taken
    task.cancel()
    await asyncio.wait([task])


async def test_a_large_job_keeps_neither_the_loop_nor_the_log_waiting(parts: Parts) -> None:
    """Its first look, a save, what is settled and merged: webhooks are acknowledged meanwhile."""
    shapes = boxes()
    first = await parts.save(1, shapes)
    shapes[SHAPES // 2]["rotation"] = 12.5

    async with beating() as taken:
        facts = [
            await parts.save(2, shapes),
            len((await parts.journal.carry_out(
                Settle(server="main", job=7, observed=first + 1), apart=parts.pool
            )).drafts),
            len((await parts.journal.carry_out(
                Merge(server="main", job=7), apart=parts.pool
            )).drafts),
        ]  # fmt: skip

    assert (first, facts) == (2 + SHAPES // 1_000, [1, 1, 0])
    assert max(taken) < TAKEN_S_MAX
    assert turns.elsewhere == []


async def test_a_large_manifest_keeps_neither_the_loop_nor_the_log_waiting(parts: Parts) -> None:
    """Read, compared and appended, while nothing large is decoded where somebody waits."""
    some = [
        sample(n, *(label(n * 100 + k, label="cat") for k in range(LABELS_A_SAMPLE)))
        for n in range(1, SAMPLES + 1)
    ]
    export(parts.folder / "birds", some, images=False)
    assert (parts.folder / "birds" / "samples.json").stat().st_size > 2**20

    async with beating() as taken:
        outcome = await parts.scan()

    assert outcome == "taken"
    taken.sort()
    assert taken[-1] < TAKEN_S_MAX
    assert taken[len(taken) * 99 // 100] < TAKEN_P99_S_MAX
    assert turns.elsewhere == []


@pytest.mark.parametrize(
    "decode",
    [
        orjson.loads,
        msgspec.json.decode,
        msgspec.json.Decoder(str).decode,
        partial(msgspec.json.decode, type=str),
    ],
)
async def test_who_decodes_much_on_the_loop_is_found(decode: Any) -> None:
    """A guard that looks away would prove nothing."""
    large = orjson.dumps("x" * turns.DECODED_BYTES_MAX)

    decode(large)
    on_loop = len(turns.found)
    turns.found.clear()
    await asyncio.to_thread(decode, large)
    decode(large[:9] + b'"')
    elsewhere = len(turns.found), len(turns.elsewhere)
    writer = threading.Thread(target=decode, args=[large], name=turns.WRITER)
    writer.start()
    writer.join()

    assert (on_loop, elsewhere, len(turns.found)) == (1, (0, 1), 1)
    turns.found.clear()
