"""The process under test: everything of ours that one `kill -9` takes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from daemon.cvat.server import BasicLogin
from daemon.handlers.annotate import Annotate
from daemon.handlers.carry_out import Journal
from daemon.handlers.load import Load
from daemon.handlers.observe import JobWatch
from daemon.handlers.projects import Hook
from daemon.http.receiver import Receiver
from daemon.observer import Observer
from daemon.pool import Pool
from events.run import Policy, Tripwire
from events.server import DeliveryReceived
from projections.folds import FOLDS
from projections.run_keys import RunExists
from projections.upload import AnnotateRequest, FieldRequest
from tests.fakes.projections import InlineProjections
from tests.fakes.receiving import receive
from tests.fakes.store import DyingStore, Life, ProcessDied
from tests.fakes.transport import client_of
from tests.simulation.world import CLASSES, World

SECRET = "not a secret"
HOOK = Hook("http://labeltrail.test/webhooks/cvat/main", SECRET)
LATENCY_MAX_S = 0.4
SETTLE_S = 10.0


class _Bodies:
    """Raw bodies are not kept here."""

    def keep(self, *bodies: object) -> None:
        pass


class Process:
    """One life: a store handle, projections, a client, an observer and a receiver of its own."""

    def __init__(self, world: World, life: Life, *, latency: bool = True) -> None:
        self.world = world
        self.life = life
        self.store = DyingStore(world.disk, life)
        self.projections = InlineProjections(self.store, FOLDS)
        self.dice = Random(world.rng.random())
        self.latency = latency
        cvat = client_of(
            world.sandbox,
            BasicLogin("admin", "admin"),
            pause=self._pause,
            overhear=world.overhear,
        )
        journal = Journal(self.store, self.projections, world.clock)
        self.watch = JobWatch(cvat, journal, Pool(), world.user("admin"))
        self.observer = Observer(
            self.watch, clock=world.clock, settle_s=SETTLE_S, poll_s=30.0, sweep_s=300.0
        )
        self.receiver = Receiver(
            self.store,
            self.projections,
            world.clock,
            secrets=lambda server: [SECRET],
            on_delivery=self._hear,
            bodies=_Bodies(),
        )

    async def _pause(self) -> None:
        if self.latency:
            await self.world.clock.sleep(self.dice.uniform(0, LATENCY_MAX_S))
        self.life.reach("request")

    def _hear(self, server: str, delivery: DeliveryReceived) -> None:
        if delivery.job is not None:
            self.observer.hint(delivery.job)

    async def _receive(self, body: bytes, signature: str | None) -> None:
        try:
            await receive(self.receiver, body, signature)
        except ProcessDied:
            raise ConnectionResetError from None

    async def annotate(self, policy: Policy) -> None:
        """Carry the run to CVAT, from wherever it is."""
        handler = Annotate(
            self.watch, self.watch.journal, lambda document: Path(document["filepath"]), HOOK
        )
        asked = AnnotateRequest(
            dataset="d",
            key="k",
            server="main",
            segment_size=2,
            policy=policy,
            fields=(
                FieldRequest(name="gt", classes=CLASSES[:2]),
                FieldRequest(name="weather", classes=("rain", "sun")),
            ),
            tripwire=Tripwire(labels_min=1_000),
        )
        with suppress(RunExists):
            await handler.request(asked)
        await handler.resume("d", "k")

    async def load(self) -> list[Any]:
        """Load the run, as a person would."""
        load = Load(self.watch, self.world.clock, SETTLE_S)
        return [loaded async for loaded in load.load("d", "k")]

    async def live(self, *work: Coroutine[Any, Any, Any], listen: bool = True) -> bool:
        """Do some work until it is done, while watching; tell whether the process lived."""
        died = asyncio.Event()
        self.life.mourners.append(died.set)
        if listen:
            self.world.receive = self._receive
            watching = asyncio.create_task(self.observer.run())
        else:
            watching = asyncio.create_task(asyncio.Event().wait())
        working = asyncio.gather(*map(asyncio.ensure_future, work))
        death = asyncio.create_task(died.wait())
        await asyncio.wait({watching, working, death}, return_when=asyncio.FIRST_COMPLETED)
        # What is cleaned up from here on reaches neither the log nor the server.
        self.world.receive = None
        lived = not self.life.dead
        self.life.dead = True
        outcome = [task for task in (working, watching) if task.done()]
        for task in (watching, working, death):
            task.cancel()
        await asyncio.gather(watching, working, death, return_exceptions=True)
        if lived:
            for task in outcome:
                task.result()
        return lived
