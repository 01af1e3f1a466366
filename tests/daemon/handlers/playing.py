"""Scenes for handlers: an annotated run on the sandbox, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from events.registry import Fact
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life
from tests.simulation.process import Process
from tests.simulation.world import World

Scene = Callable[[World, Process], Awaitable[None]]


def play(media: Path, scene: Scene, *, annotated: bool = True, policy: Any = "manual") -> None:
    """Play a scene; no observer runs."""
    world = World(1, media, faulty=False)

    async def run() -> None:
        async with world.sandbox:
            await world.open_dataset(4)
            process = Process(world, Life(), latency=False)
            if annotated:
                await process.annotate(policy)
            await scene(world, process)

    run_virtual(world.clock, run)


async def recorded(world: World, kind: type[Fact]) -> list[Any]:
    """Return all facts of a type."""
    reader = world.disk.reader()
    return [fact for fact in map(reader.fact, reader.read()) if isinstance(fact, kind)]


async def change(world: World, job: int, user: str = "bob", **members: Any) -> None:
    """Save one changed box."""
    held = await world.ask(user, "GET", f"/api/jobs/{job}/annotations")
    shape = sorted(held["shapes"], key=lambda one: one["id"])[0] | members
    body = {"tags": [], "shapes": [shape], "tracks": []}
    await world.annotate(user, job, "PATCH", "update", body)
