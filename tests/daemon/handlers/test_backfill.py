"""What CVAT sent while nobody listened is found in its own list, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.handlers import backfill
from daemon.handlers.backfill import Backfill, Filled
from daemon.handlers.carry_out import Journal
from daemon.ports.store import WrongVersion
from events.job import ActorLearned
from events.server import DeliveriesFilled, DeliveryReceived
from projections.jobs import LATE, NAMELESS
from tests.daemon.handlers.edges import Edge, play
from tests.simulation.process import HOOK


async def fill(edge: Edge, *, dry_run: bool = False, journal: Journal | None = None) -> Filled:
    handler = Backfill(edge.cvat, journal or edge.process.watch.journal, HOOK.target_url)
    (filled,) = [filled async for filled in handler.fill(dry_run=dry_run)]
    return filled


async def missed_saves(edge: Edge, saves: int = 1) -> int:
    """Let somebody save while our port is closed; return the job."""
    job = (await edge.annotate())[0]
    for _ in range(saves):
        await edge.move(job, user="bob")
    await edge.delivered()
    return job


async def redelivered(edge: Edge) -> None:
    """Have the server send all that it sent once more."""
    hook = next(iter(edge.state.webhooks))
    for delivery in list(edge.state.deliveries):
        await edge.ask("POST", f"/api/webhooks/{hook}/deliveries/{delivery}/redelivery")
    await edge.delivered()


def test_a_save_that_nobody_heard_of_gets_its_author_afterwards(tmp_path: Path):
    """Our port was closed, so the observation is nameless; the server's list knows who it was."""

    async def scene(edge: Edge) -> None:
        job = await missed_saves(edge)
        await edge.process.watch.observe(job)

        filled = await fill(edge)
        await edge.process.watch.learn_authors(job)

        assert filled.new
        assert filled.complete
        (learned,) = edge.facts(ActorLearned)
        assert learned.actors == (f"main/{edge.world.user('bob')}",)
        tables = await edge.tables()
        assert list(tables.scan(NAMELESS)) == []
        assert list(tables.scan(LATE)) == []

    play(tmp_path, scene)


def test_a_second_reading_asks_for_what_is_new_alone_and_writes_nothing(tmp_path: Path):
    """It runs every few minutes for years: neither the log nor the cost may grow with that."""

    async def scene(edge: Edge) -> None:
        await missed_saves(edge)
        first = await fill(edge)
        head = await edge.world.disk.head()

        again = await fill(edge)

        assert first.read == len(first.new) > 0
        assert again.new == ()
        assert again.read <= backfill.OVERLAP
        assert await edge.world.disk.head() == head

    play(tmp_path, scene)


def test_a_redelivery_with_its_keys_in_another_order_is_known(tmp_path: Path):
    """CVAT stores documents with sorted keys: the bytes differ, the delivery does not."""

    async def scene(edge: Edge) -> None:
        await missed_saves(edge)
        await fill(edge)
        await redelivered(edge)

        again = await fill(edge)

        assert again.new == ()
        assert again.read > 0

    play(tmp_path, scene)


def test_a_list_that_brings_nothing_new_is_noted_while_deliveries_pour_in(tmp_path: Path):
    """They move the server's stream on all the time, and the round was given up."""

    async def overtaken(events: Any, *, expects: Any) -> Any:
        if expects:
            raise WrongVersion("the stream moved on since it was read")
        return await store.append(events)

    async def scene(edge: Edge) -> None:
        nonlocal store
        await missed_saves(edge)
        await fill(edge)
        await redelivered(edge)
        journal = edge.process.watch.journal
        store = journal.store
        contested: Any = SimpleNamespace(append=overtaken)

        again = await fill(edge, journal=replace(journal, store=contested))

        assert again.new == ()
        assert edge.facts(DeliveriesFilled)[-1].upto == again.upto

    store: Any = None
    play(tmp_path, scene)


def test_a_delivery_that_came_by_the_port_is_not_recorded_again(tmp_path: Path):
    """Both ways share one memory: the hash of the document."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        edge.world.receive = edge.process._receive
        await edge.move(job, user="bob")
        await edge.delivered()
        heard = len(edge.facts(DeliveryReceived))
        assert heard > 0

        filled = await fill(edge)

        hashes = [fact.body_hash for fact in edge.facts(DeliveryReceived)]
        assert len(hashes) == len(set(hashes))
        assert filled.read == len(hashes)
        assert len(filled.new) == len(hashes) - heard

    play(tmp_path, scene)


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path):
    """Whoever is careful sees what would come."""

    async def scene(edge: Edge) -> None:
        await missed_saves(edge)
        head = await edge.world.disk.head()

        filled = await fill(edge, dry_run=True)

        assert filled.new
        assert await edge.world.disk.head() == head

    play(tmp_path, scene)


def test_a_list_longer_than_the_limit_is_cut_at_its_old_end_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A server keeps deliveries for years; a first look may not walk them all."""
    monkeypatch.setattr(backfill, "READ_MAX", 4)
    monkeypatch.setattr(backfill, "BATCH_MAX", 3)

    async def scene(edge: Edge) -> None:
        await missed_saves(edge, saves=3)

        filled = await fill(edge)

        assert (filled.read, len(filled.new), filled.complete) == (4, 4, False)
        (recorded,) = edge.facts(DeliveriesFilled)
        assert recorded == DeliveriesFilled(
            webhook=1, upto=max(edge.state.deliveries), read=4, new=4, complete=False
        )
        newest = sorted(edge.state.deliveries)[-4:]
        events = [edge.state.deliveries[number].request["event"] for number in newest]
        assert [fact.event for fact in edge.facts(DeliveryReceived)] == events

    play(tmp_path, scene)


def test_a_webhook_that_is_gone_holds_up_no_other(tmp_path: Path):
    """Somebody deleted the run's webhook by hand: its list is gone, and that is no trouble."""

    async def scene(edge: Edge) -> None:
        await missed_saves(edge)
        await edge.ask("DELETE", f"/api/webhooks/{next(iter(edge.state.webhooks))}")

        filled = await fill(edge)

        assert filled.refused
        assert filled.new == ()

    play(tmp_path, scene)
