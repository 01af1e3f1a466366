"""One run of everything, decided by one seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from events.run import Policy
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life, Step
from tests.simulation import checks
from tests.simulation.annotator import Annotator
from tests.simulation.dataset_side import DatasetSide
from tests.simulation.process import Process
from tests.simulation.witness import Witness
from tests.simulation.world import World

SAMPLES = 4
# Longer than the poll, the settling, a sweep and the latest delivery together.
QUIET_S = 900.0


def simulate(
    seed: int, folder: Path, *, deaths: int = 2, saves: int = 5, careless: bool = False
) -> Counter[str]:
    """Run a scenario and check it; return what was exercised. Raises AssertionError."""
    world = World(seed, folder, careless=careless)
    return run_virtual(world.clock, lambda: _scenario(world, deaths=deaths, saves=saves))


async def _scenario(world: World, *, deaths: int, saves: int) -> Counter[str]:
    rng = world.rng
    policy: Policy = rng.choice(("on-save", "on-save", "manual"))
    people = [Annotator(world, name) for name in ("bob", "carol")[: rng.randint(1, 2)]]
    witness = Witness(world)
    async with world.sandbox:
        await world.open_dataset(SAMPLES)
        left = await _until_annotated(world, policy, deaths)
        others = [DatasetSide(world, witness).work(6)] if rng.random() < 0.4 else []
        work = asyncio.gather(*(person.work(saves) for person in people), *others)
        while True:
            life = _life(world, left)
            process = Process(world, life)
            if await process.live(_use(process, work, policy)):
                break
            left -= 1
            world.counts[f"deaths: {life.step}"] += 1
            await world.clock.sleep(rng.choice((0.0, 1.0, 30.0)))
        await _check(world, witness, process)
    return world.counts


def _life(world: World, left: int) -> Life:
    step: Step = world.rng.choice(("append", "appended", "request"))
    most = 150 if step == "request" else 30
    return Life(dies_at=world.rng.randint(1, most) if left > 0 else None, step=step)


async def _until_annotated(world: World, policy: Policy, deaths: int) -> int:
    left = deaths
    while True:
        life = _life(world, left)
        process = Process(world, life)
        if await process.live(process.annotate(policy), listen=False):
            return left
        left -= 1
        world.counts[f"deaths: {life.step}"] += 1


async def _use(process: Process, work: asyncio.Future[list[None]], policy: Policy) -> None:
    """Let people work, load now and then, and at last wait until all is quiet."""
    clock = process.world.clock
    while not work.done():
        await clock.sleep(20.0)
        if policy == "manual" and process.dice.random() < 0.3:
            await process.load()
    work.result()
    await clock.sleep(QUIET_S)
    if policy == "manual":
        await process.load()
    before = await process.store.head()
    again = await process.load()
    assert all(loaded.state == "merged" for loaded in again)
    reader = process.store.reader()
    new = [reader.fact(at) for at in reader.read(after=before) if at.stream != "server/main"]
    assert new == [], f"loading twice brought {new}"


async def _check(world: World, witness: Witness, process: Process) -> None:
    process.life.dead = False
    process.projections.fold(await world.disk.head())
    tables = process.projections.shelf.tables
    checks.check_recorded(world, witness)
    checks.check_settled(world, tables)
    checks.check_raised_once(world, tables)
    checks.check_named(world, tables)
    checks.check_documents(witness, tables)
    checks.check_labels(world, witness, tables)
    checks.check_replay(world, tables)
