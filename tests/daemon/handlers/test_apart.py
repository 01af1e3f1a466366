"""A large job is compared, settled and merged in another process, to the same events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from daemon.clock import SystemClock
from daemon.handlers.carry_out import Journal
from daemon.pool import Pool, WorkFailed
from daemon.ports.projections import TablesFile
from daemon.projector import SqliteProjections
from daemon.store.sqlite import SqliteStore
from events.annotations import LabelSpec
from events.job import JobDiscovered
from projections.codec.cvat import UnknownLabel, UnreadableAnnotations
from projections.decision import Decision
from projections.folds import FOLDS
from projections.questions import AnyQuestion, Merge, Settle, WhatChanged

SHAPES = 3_000


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1)
    yield pool
    await pool.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    projections = await SqliteProjections.open(tmp_path / "projections.db", store, FOLDS)
    yield Journal(store, projections, clock)
    await projections.close()
    await store.close()


def box(id: int, **members: Any) -> dict[str, Any]:
    points = [1.5, 2.25, 30.125, 40.0625]
    return {"id": id, "frame": 0, "label_id": 1, "type": "rectangle", "points": points, **members}


def save(second: int, shapes: list[dict[str, Any]]) -> WhatChanged:
    """What a job shows that was saved then."""
    return WhatChanged(
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


def plain(decision: Decision) -> tuple[Any, Any]:
    """Return a decision without the bytes that were made on the way."""
    return [msgspec.structs.replace(draft, encoded=None) for draft in decision.drafts], dict(
        decision.expects
    )


async def test_another_process_decides_the_same(journal: Journal, pool: Pool) -> None:
    """Where it is decided must not show in the log: a baseline, a save, a settling, a merge."""
    shapes = [box(nth) for nth in range(1, SHAPES)]
    moved = [box(5, rotation=12.5), box(6, label_id=1, occluded=True), *shapes[10:], box(9_999)]
    questions: list[AnyQuestion] = [
        save(1, shapes),
        save(2, moved),
        Settle(server="main", job=7, observed=6),
        Merge(server="main", job=7),
    ]
    decided = []
    for question in questions:
        apart = await journal.decided(question, apart=pool)
        assert plain(apart) == plain(await journal.decided(question))
        decided.append(await journal.carry_out(question, apart=pool))

    baseline, changed, settled, merged = decided
    assert (len(baseline.drafts), len(changed.drafts)) == (5, 1)
    assert (len(settled.drafts), len(merged.drafts)) == (1, 0)
    reader = journal.store.reader()
    facts = [reader.fact(row) for row in reader.read()]
    reader.close()
    assert facts == [draft.fact for decision in decided for draft in decision.drafts]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"shapes": [', UnreadableAnnotations),
        (orjson.dumps({"shapes": [box(1, label_id=9)]}), UnknownLabel),
    ],
)
async def test_what_is_wrong_with_a_body_is_told_as_of_a_small_one(
    journal: Journal, pool: Pool, body: bytes, error: type[Exception]
) -> None:
    """The reader of a job tells a schema that moved from a body that nobody can read."""
    wrong = msgspec.structs.replace(save(1, []), body=body)

    for apart in (None, pool):
        with pytest.raises(error):
            await journal.carry_out(wrong, apart=apart)

    assert await journal.store.head() == 0


@pytest.mark.parametrize(("name", "position"), [("nowhere.db", 0), ("projections.db", 99)])
async def test_tables_that_another_process_cannot_use_are_asked_here(
    journal: Journal,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    position: int,
) -> None:
    """Neither damaged ones nor those of a moment ago may decide; the job must not wait either."""

    async def file() -> TablesFile:
        return TablesFile(tmp_path / name, position)

    monkeypatch.setattr(journal.projections, "file", file)

    decision = await journal.carry_out(save(1, [box(1)]), apart=pool)

    assert len(decision.drafts) == await journal.store.head() == 3


async def test_work_that_fails_is_the_callers_to_decide(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that takes all memory there must not be asked here next."""

    class Stuck(Pool):
        async def run(self, *_: Any, **__: Any) -> list[bytes]:
            raise WorkFailed("a process of the pool did not end its work", tries=2)

    with pytest.raises(WorkFailed):
        await journal.carry_out(save(1, [box(1)]), apart=Stuck())

    assert await journal.store.head() == 0
