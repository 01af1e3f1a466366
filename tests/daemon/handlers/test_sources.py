"""For each source: does CVAT tell us, or do we ask; when was the last event; what was missed."""

from __future__ import annotations

from pathlib import Path

from daemon.cli.status import _source as line
from daemon.handlers.backfill import Backfill
from projections.sources import sources
from tests.daemon.handlers.edges import Edge, play
from tests.simulation.process import HOOK


def test_a_hooked_project_and_loose_tasks_are_two_sources(tmp_path: Path):
    """Whoever annotates outside a project should see that nobody tells us of it."""

    async def scene(edge: Edge) -> None:
        (job,) = await edge.annotate_outside()
        await edge.move(job, user="bob")
        await edge.process.watch.observe(job)

        (found,) = sources(await edge.tables(), 0)

        assert (found.project, found.jobs, found.hooks, found.gaps) == (None, 1, False, 1)
        assert found.gap is not None
        assert found.gap[0] < found.gap[1] == found.changed_us

    play(tmp_path, scene)


def test_a_gap_is_gone_when_the_deliveries_are_found(tmp_path: Path):
    """A save while the port was closed is a gap until back-fill names who it was."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.process.load()
        await edge.move(job, user="bob")
        await edge.delivered()
        await edge.process.watch.observe(job)
        (before,) = sources(await edge.tables(), 0)
        async for _ in Backfill(edge.cvat, edge.process.watch.journal, HOOK.target_url).fill():
            pass
        await edge.process.watch.learn_authors(job)

        (after,) = sources(await edge.tables(), 0)
        (late,) = sources(await edge.tables(), before.changed_us + 1)

        assert (before.hooks, before.gaps, before.delivered_us) == (True, 1, 0)
        assert (after.gaps, after.gap, late.gaps) == (0, None, 0)
        assert after.delivered_us > 0

    play(tmp_path, scene)


def test_a_source_is_one_line():
    """How it is watched, the last event, and the last window in which a save may be hidden."""
    hooked = {
        "server": "main",
        "project": 3,
        "jobs": 2,
        "hooks": True,
        "poll_s": 30.0,
        "delivered_at": "2026-01-01T00:00:00.000000Z",
        "changed_at": None,
        "gaps": 0,
    }
    polled = hooked | {
        "project": None,
        "hooks": False,
        "delivered_at": None,
        "gaps": 2,
        "gap_since": "2026-01-01T00:00:00.000000Z",
        "gap_until": "2026-01-01T00:01:00.000000Z",
    }

    assert line(hooked) == "  main, project 3: 2 jobs, hooks, last event 2026-01-01T00:00:00Z"
    assert line(polled) == (
        "  main, tasks outside projects: 2 jobs, polling every 30 s, 2 gaps without an author "
        "in 7 days (last: 2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z)"
    )
