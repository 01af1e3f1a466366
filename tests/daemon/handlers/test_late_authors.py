"""Naming an author late costs a look at one observation, however long the history is."""

from __future__ import annotations

from pathlib import Path

from daemon.handlers.backfill import Backfill
from events.job import ActorLearned
from projections.jobs import LATE, NAMELESS
from tests.daemon.handlers.edges import Edge, play
from tests.simulation.process import HOOK


async def fill(edge: Edge) -> None:
    handler = Backfill(edge.cvat, edge.process.watch.journal, HOOK.target_url)
    async for _ in handler.fill():
        pass


def test_what_no_delivery_tells_of_is_not_looked_at_again(tmp_path: Path):
    """A polled job has thousands of nameless observations, and each read would weigh them all."""

    async def scene(edge: Edge) -> None:
        (job,) = await edge.annotate_outside()
        for _ in range(5):
            await edge.move(job, user="bob")
            await edge.process.watch.observe(job)

        tables = await edge.tables()

        assert len(list(tables.scan(NAMELESS, "main", job))) == 5
        assert list(tables.scan(LATE, "main", job)) == []

    play(tmp_path, scene)


def test_a_lost_delivery_leaves_its_neighbours_author_unknown(tmp_path: Path):
    """Two saves in one window, one delivery: a gap could hide somebody else, so nobody is named."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.process.load()
        await edge.delivered()
        for user in ("bob", "carol"):
            await edge.move(job, user=user)
        await edge.delivered()
        await edge.process.watch.observe(job)
        lost = [
            number
            for number, row in edge.state.deliveries.items()
            if row.event == "update:job" and row.request["sender"]["username"] == "bob"
        ]
        for number in lost:
            del edge.state.deliveries[number]

        await fill(edge)
        await edge.process.watch.learn_authors(job)

        assert lost
        assert edge.facts(ActorLearned) == []
        assert len(list((await edge.tables()).scan(LATE, "main", job))) == 1

    play(tmp_path, scene)


def test_two_senders_of_one_window_are_both_named(tmp_path: Path):
    """Who of them drew what cannot be told: `several`, all named."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.process.load()
        for user in ("bob", "carol"):
            await edge.move(job, user=user)
        await edge.delivered()
        await edge.process.watch.observe(job)

        await fill(edge)
        await edge.process.watch.learn_authors(job)

        (learned,) = edge.facts(ActorLearned)
        assert learned.actors == tuple(
            f"main/{number}" for number in sorted(map(edge.world.user, ("bob", "carol")))
        )

    play(tmp_path, scene)


def test_what_did_not_suffice_is_dropped_at_the_second_settling(tmp_path: Path):
    """Else every read would weigh what can never be decided."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.process.load()
        await edge.delivered()
        for user in ("bob", "carol"):
            await edge.move(job, user=user)
        await edge.delivered()
        await edge.process.watch.observe(job)
        for number, row in list(edge.state.deliveries.items()):
            if row.request["sender"]["username"] == "bob":
                del edge.state.deliveries[number]
        await fill(edge)
        left = []
        for _ in range(3):
            await edge.move(job, user="bob")
            await edge.process.load()
            left.append(len(list((await edge.tables()).scan(LATE, "main", job))))

        assert left == [1, 0, 0]

    play(tmp_path, scene)
