"""Rounds go on whatever a server answers, and hear of issues at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers.backfill import Backfill
from daemon.handlers.issues import IssueWatch
from daemon.handlers.tasks import TaskWatch
from daemon.rounds import TASKS_S, Rounds
from daemon.sandbox.faults import RequestFault
from events.job import FramesDeleted, IssueOpened
from events.server import DeliveryReceived, RowUnreadable
from tests.daemon.handlers.edges import Edge, play
from tests.simulation.process import HOOK


def rounds_of(edge: Edge) -> Rounds:
    watch = edge.process.watch
    return Rounds(
        Backfill(edge.cvat, watch.journal, HOOK.target_url),
        TaskWatch(edge.cvat, watch.journal),
        IssueWatch(edge.cvat, watch.journal),
        clock=edge.world.clock,
    )


def test_a_round_that_fails_is_put_off_and_no_more(tmp_path: Path):
    """A server that is down for a minute ends nothing of ours."""

    async def scene(edge: Edge) -> None:
        await edge.annotate()
        running = asyncio.create_task(rounds_of(edge).run())
        await edge.world.clock.sleep(1.0)
        edge.world.faults.requests.append(RequestFault("reset", method="GET", times=40))
        await edge.world.clock.sleep(2 * TASKS_S)
        edge.world.faults.requests.clear()
        await edge.ask("PATCH", "/api/tasks/1/data/meta", {"deleted_frames": [1]})

        await edge.world.clock.sleep(3 * TASKS_S)

        assert not running.done()
        assert edge.facts(FramesDeleted) == [FramesDeleted(old=(), new=(1,))]
        running.cancel()

    play(tmp_path, scene)


@pytest.mark.parametrize("path", ["/api/tasks", "/api/issues", "/api/comments"])
@pytest.mark.parametrize(
    "members",
    [
        {"id": ..., "updated_date": 5},
        {"id": "7"},
        {"id": True},
        {"updated_date": "2026-99-99T00:00:00Z", "name": [], "assignee": "x"},
        {"job": None, "issue": None, "status": {}},
        {"position": ["a", None], "created_date": "soon"},
    ],
)
def test_what_no_cvat_would_answer_ends_nothing(tmp_path: Path, path: str, members: Any):
    """A proxy, a bug, somebody else's server at the address: a row is set aside, no more."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.process.watch.observe(job)
        for _ in range(2):
            sent = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "a"}
            await edge.ask("POST", "/api/issues", sent)
        edge.world.faults.spoiled[path, 1] = members
        running = asyncio.create_task(rounds_of(edge).run())

        await edge.world.clock.sleep(2 * TASKS_S)

        assert not running.done()
        assert [fact.list for fact in edge.facts(RowUnreadable)] == [path.removeprefix("/api/")]
        running.cancel()

    play(tmp_path, scene)


def test_a_delivery_of_an_issue_is_looked_after_at_once(tmp_path: Path):
    """Nobody should wait five minutes to see that somebody asked something."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        rounds = rounds_of(edge)
        running = asyncio.create_task(rounds.run())
        await edge.world.clock.sleep(1.0)
        sent = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "a"}
        await edge.ask("POST", "/api/issues", sent)

        rounds.heard(
            DeliveryReceived(event="create:issue", resource="issue", job=job, body_hash="x")
        )
        await edge.world.clock.sleep(1.0)

        assert len(edge.facts(IssueOpened)) == 1
        running.cancel()

    play(tmp_path, scene)
