"""Our process dies before and after each reply of the server; at the end nothing is there twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers.annotate import Annotate
from daemon.handlers.cleanup import Cleanup, CleanupPlan
from daemon.handlers.projects import install_hook
from daemon.ports.cvat import CvatError
from daemon.sandbox.faults import RequestFault
from events.run import Policy
from projections import runs
from projections.label_fields import LABELS
from projections.run_keys import RunExists
from projections.upload import AnnotateRequest, FieldRequest
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life, ProcessDied
from tests.simulation.process import HOOK, Process
from tests.simulation.world import CLASSES, World

DEATHS_MAX = 400
POLICY: Policy = "manual"


class Doomed(Process):
    """Dies at one of the moments before and after the server does its work."""

    def __init__(self, world: World, dies_at: int | None = None) -> None:
        super().__init__(world, Life(), latency=False)
        self.dies_at = dies_at
        self.moments = 0

    async def _pause(self) -> None:
        self.life.check()
        self.moments += 1
        if self.moments == self.dies_at:
            self.life.dead = True
            raise ProcessDied

    async def annotate_in_pieces(self) -> None:
        handler = Annotate(
            self.watch, self.watch.journal, lambda document: Path(document["filepath"]), HOOK
        )
        fields = (
            FieldRequest(name="gt", classes=CLASSES[:2]),
            FieldRequest(name="weather", classes=("rain", "sun")),
        )
        asked = AnnotateRequest(
            dataset="d", key="k", server="main", fields=fields, task_size=2, segment_size=1
        )
        with suppress(RunExists):
            await handler.request(asked)
        await handler.resume("d", "k")

    async def clean_up(self) -> CleanupPlan:
        return await Cleanup(self.watch, self.watch.journal).clean_up("d", "k")


class DiesWithoutMedia(Doomed):
    """Dies as soon as there is a task, which has no media yet."""

    async def _pause(self) -> None:
        await super()._pause()
        if self.world.sandbox.state.tasks:
            self.life.dead = True
            raise ProcessDied


Work = Callable[[Doomed], Awaitable[Any]]
Prepare = Callable[[World], Coroutine[Any, Any, None]]


async def survive(world: World, work: Work, dies_at: int | None) -> bool:
    """Do some work in a process that dies, then in one that does not; tell whether it died."""
    try:
        await work(Doomed(world, dies_at))
    except ProcessDied:
        await work(Doomed(world))
        return True
    return False


def sweep(folder: Path, prepare: Prepare, work: Work, look: Callable[[World], Any]) -> int:
    """Let the work die at each moment, each time in a world of its own; return how many."""

    def end(dies_at: int | None) -> tuple[Any, bool]:
        world = World(5, folder, faulty=False)

        async def main() -> tuple[Any, bool]:
            await world.open_dataset(4)
            await prepare(world)
            died = await survive(world, work, dies_at)
            return look(world), died

        return run_virtual(world.clock, main)

    expected, _ = end(None)
    for dies_at in range(1, DEATHS_MAX):
        found, died = end(dies_at)
        assert found == expected, f"died at moment {dies_at}"
        if not died:
            return dies_at - 1
    raise AssertionError("the work does not end")


# What there is at the end


def on_server(world: World) -> Any:
    """Tell what there is on the server, but for ids."""
    state = world.sandbox.state
    return {
        "projects": len(state.projects),
        "webhooks": [hook.target_url for hook in state.webhooks.values()],
        "tasks": sorted((t.name, t.subset, t.data.size) for t in state.tasks.values()),
        "shown": sorted(sorted(map(repr, world.shown(job).values())) for job in world.jobs()),
    }


def recorded(world: World) -> Any:
    """Tell what the log says, but for ids of the server, and how often it was looked at."""
    process = Process(world, Life(), latency=False)
    process.projections.fold(len(list(world.disk.reader().read())))
    tables = process.projections.shelf.tables
    (run,) = tables.scan(runs.RUNS)
    return {
        "run": (run.opened, run.cleaning, run.cleaned_up, run.project_created),
        "sent": sorted((row.sample, row.field, row.label) for row in tables.scan(runs.TRACKED)),
        "labels": sorted(
            (row.sample, row.field, row.label, repr(row.document)) for row in tables.scan(LABELS)
        ),
        "waiting": sorted(row.what for row in tables.scan(runs.WAITING)),
    }


def all_of_it(world: World) -> Any:
    return on_server(world), recorded(world)


async def nothing(world: World) -> None:
    """Begin with an empty server."""


async def annotated(world: World) -> None:
    """Begin with a run on the server."""
    await Doomed(world).annotate_in_pieces()


async def loaded(world: World) -> None:
    """Begin with a run that was brought home."""
    await annotated(world)
    await Doomed(world).load()


async def edited(world: World) -> None:
    """Begin with a run that somebody worked on."""
    await annotated(world)
    for job in world.jobs():
        held = await world.ask("bob", "GET", f"/api/jobs/{job}/annotations")
        shape, gone, drawn = held["shapes"][0], held["shapes"][1], dict(held["shapes"][2])
        shape["points"][0] += 5.0
        del drawn["id"]
        for action, one in (("update", shape), ("delete", gone), ("create", drawn)):
            body = {"tags": [], "shapes": [one], "tracks": []}
            await world.annotate("bob", job, "PATCH", action, body)


# Deaths


def test_annotate_dies_at_each_reply(tmp_path: Path):
    """0 orphans, 0 doubles, no nonce left, the same as without a death."""
    deaths = sweep(tmp_path, nothing, lambda process: process.annotate_in_pieces(), all_of_it)

    assert deaths > 60


def test_load_dies_at_each_reply(tmp_path: Path):
    """What was merged is merged once."""

    def ends(world: World) -> Any:
        # The id of a box that was drawn follows from the place in the log where it was first seen.
        found = recorded(world)
        found["labels"] = [(sample, field) for sample, field, *_ in found["labels"]]
        found["sent"] = len(found["sent"])
        return on_server(world), found

    deaths = sweep(tmp_path, edited, lambda process: process.load(), ends)

    assert deaths > 20


def test_cleanup_dies_at_each_reply(tmp_path: Path):
    """All that the run made is gone, and the log says so once."""
    deaths = sweep(tmp_path, loaded, lambda process: process.clean_up(), all_of_it)

    assert deaths > 20


def test_hook_install_dies_at_each_reply(tmp_path: Path):
    """One webhook, however often it is asked for."""

    async def with_project(world: World) -> None:
        await world.ask("admin", "POST", "/api/projects", "", {"name": "p", "labels": []})

    deaths = sweep(
        tmp_path,
        with_project,
        lambda process: install_hook(process.watch.cvat, 1, HOOK),
        lambda world: [hook.target_url for hook in world.sandbox.state.webhooks.values()],
    )

    assert deaths >= 4


# Requests that fail


@pytest.mark.parametrize("kind", ["before", "after", "reset", "reset-after"])
@pytest.mark.parametrize("stage", ["annotate", "cleanup"])
def test_each_write_fails_once(tmp_path: Path, kind: Any, stage: str):
    """A 500 may come before or after the work was done; whoever asks again ends at the same."""
    prepare = nothing if stage == "annotate" else loaded

    def work(process: Doomed) -> Awaitable[Any]:
        return process.annotate_in_pieces() if stage == "annotate" else process.clean_up()

    def end(skip: int | None) -> tuple[Any, bool]:
        world = World(5, tmp_path, faulty=False)
        fault = RequestFault(kind, skip=skip or 0)

        async def main() -> Any:
            await world.open_dataset(4)
            await prepare(world)
            for method in ("POST", "PATCH", "PUT", "DELETE") if skip is not None else ():
                world.faults.requests.append(Shared(fault, method))
            for _ in range(3):
                try:
                    await work(Doomed(world))
                except CvatError:
                    continue
                return all_of_it(world)
            raise AssertionError("it does not get through")

        return run_virtual(world.clock, main), fault.times < 1

    expected, _ = end(None)
    for skip in range(DEATHS_MAX):
        found, failed = end(skip)
        assert found == expected, f"write {skip} failed"
        if not failed:
            break

    assert skip >= 3


class Shared(RequestFault):
    """One fault that counts the requests of several methods together."""

    def __init__(self, fault: RequestFault, method: str) -> None:
        super().__init__(fault.kind, method=method)
        self.fault = fault

    def hits(self, method: str, path: str) -> bool:
        if method != self.method:
            return False
        return self.fault.hits(method, path)


def test_a_task_whose_media_never_arrived_is_made_anew(tmp_path: Path):
    """A task takes data once only, and is called "Finished" without any: it would wait for ever."""
    world = World(5, tmp_path, faulty=False)
    lost = RequestFault("reset", method="POST", path="/api/tasks/[0-9]+/data")
    world.faults.requests.append(lost)

    async def main() -> None:
        await world.open_dataset(4)
        await Doomed(world).annotate_in_pieces()

    run_virtual(world.clock, main)

    tasks = world.sandbox.state.tasks
    assert lost.times < 1
    assert [task.data.size for task in tasks.values() if task.data] == [2, 2]
    assert sorted(tasks) == [2, 3]


def test_a_request_that_was_given_up_and_carried_out_later_leaves_no_twin(tmp_path: Path):
    """The server made the task after we had looked for it in vain, and had asked again."""
    world = World(5, tmp_path, faulty=False)

    async def main() -> None:
        await world.open_dataset(4)
        with suppress(ProcessDied):
            await DiesWithoutMedia(world).annotate_in_pieces()
        (task,) = world.sandbox.state.tasks.values()
        twin = {"name": task.name, "subset": task.subset, "project_id": task.project}
        await world.ask("admin", "POST", "/api/tasks", "", twin)
        await Doomed(world).annotate_in_pieces()

    run_virtual(world.clock, main)

    tasks = world.sandbox.state.tasks.values()
    assert [(task.subset, task.data.size) for task in tasks if task.data] == [("", 2), ("", 2)]
    assert len(tasks) == 2
