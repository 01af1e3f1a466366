"""The process dies at each of its steps in turn: nobody may be able to tell from the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from projections.label_fields import LABELS
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life, Step
from tests.simulation import checks
from tests.simulation.process import Process
from tests.simulation.witness import Witness
from tests.simulation.world import World

End = tuple[list[str], list[list[str]], list[str]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures lie."""
    return tmp_path_factory.mktemp("media")


def live_through(media: Path, dies_at: int | None, step: Step) -> tuple[End, bool]:
    """Run the one scenario; return how it ends, and whether the process died on the way."""
    world = World(7, media, faulty=False)
    return run_virtual(world.clock, lambda: _scenario(world, dies_at, step))


async def _scenario(world: World, dies_at: int | None, step: Step) -> tuple[End, bool]:
    witness = Witness(world)
    life, died = Life(dies_at, step), False
    async with world.sandbox:
        await world.open_dataset(4)
        process = Process(world, life, latency=False)
        if not await process.live(process.annotate("on-save"), listen=False):
            died, life = True, Life()
            process = Process(world, life, latency=False)
            assert await process.live(process.annotate("on-save"), listen=False)
        before, life.dead = life.steps, True
        life = Life(None if died or dies_at is None else dies_at - before, step)
        edits = asyncio.ensure_future(_edit(world))
        while not await (process := Process(world, life, latency=False)).live(_rest(world)):
            died, life = True, Life()
        await edits
        process.projections.fold(await world.disk.head())
        tables = process.projections.shelf.tables
        checks.check_recorded(world, witness)
        checks.check_labels(world, witness, tables)
        checks.check_settled(world, tables)
        checks.check_replay(world, tables)
    labels = sorted(
        # The id of a box that was drawn follows from where in the log it was seen first.
        repr((row.sample, row.field, {**row.document, "_id": ""}, row.label in sent))
        for sent in [{label for _, _, label in witness.uploaded}]
        for row in tables.scan(LABELS, "d")
    )
    shown = [sorted(map(repr, world.shown(job).items())) for job in world.jobs()]
    return (labels, shown, list(_made(world))), died


async def _rest(world: World) -> None:
    await world.clock.sleep(400)


async def _edit(world: World) -> None:
    """Move, relabel, delete, draw, and renumber; in one job and in the other."""
    await world.clock.sleep(3)
    first, second = world.jobs()
    for job in (first, second):
        held = await world.ask("bob", "GET", f"/api/jobs/{job}/annotations")
        moved, gone, drawn = held["shapes"][0], held["shapes"][1], dict(held["shapes"][2])
        moved["points"][0] += 5.0
        drawn.pop("id")
        drawn["points"] = [1.0, 2.0, 30.0, 40.0]
        for action, shape in (("update", moved), ("delete", gone), ("create", drawn)):
            body = {"tags": [], "shapes": [shape], "tracks": []}
            await world.annotate("bob", job, "PATCH", action, body)
            await world.clock.sleep(2)
    await world.clock.sleep(20)
    held = await world.ask("carol", "GET", f"/api/jobs/{first}/annotations")
    body = {
        many: [{k: v for k, v in item.items() if k != "id"} for item in held[many]]
        for many in ("tags", "shapes", "tracks")
    }
    order = [(kind, item["id"]) for many, kind in KINDS for item in held[many]]
    await world.annotate(
        "carol",
        first,
        "PUT",
        "",
        body,
        lambda answer: dict(
            zip(
                [(kind, it["id"]) for many, kind in KINDS for it in answer[many]],
                order,
                strict=True,
            )
        ),
    )


KINDS = (("tags", "tag"), ("shapes", "shape"))


def _made(world: World) -> Iterator[str]:
    """Tell what there is on the server beside the annotations: nothing may be there twice."""
    state = world.sandbox.state
    for table in (state.projects, state.tasks, state.jobs, state.webhooks):
        yield f"{len(table)}"
    yield from (f"{task.name} {task.subset!r}" for task in state.tasks.values())


def sweep(media: Path, step: Step) -> int:
    """Die at each step in turn; return how many there are."""
    expected, _ = live_through(media, None, step)
    for dies_at in count(1):
        end, died = live_through(media, dies_at, step)
        assert end == expected, f"died at {step} {dies_at}"
        if not died:
            return dies_at - 1
    raise AssertionError("the steps end")


@pytest.mark.parametrize("step", ["append", "appended"])
def test_a_process_that_dies_at_any_append_ends_where_one_that_lives_does(
    media: Path, step: Step
) -> None:
    """`kill -9` at any instant loses nothing, repeats nothing, and leaves no orphan behind."""
    deaths = sweep(media, step)

    assert deaths > 25


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_one_that_dies_at_any_request_of_its_own(media: Path) -> None:
    """Before the server did it, and when it was done and the answer never came."""
    deaths = sweep(media, "request")

    assert deaths > 100
