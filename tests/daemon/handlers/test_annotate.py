"""A selection goes to CVAT step by step; whatever breaks on the way, it is there once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.handlers.annotate import Annotate
from daemon.handlers.projects import ProjectUnfit
from daemon.handlers.run_tasks import plain_names
from daemon.ports.cvat import CvatError
from daemon.sandbox import RequestFault
from events.job import AnnotationsObserved
from events.run import LabelsUploaded
from projections.run_keys import UnknownRun
from projections.upload import AnnotateRequest, FieldRequest
from tests.daemon.handlers.playing import play, recorded
from tests.simulation.process import HOOK, Process
from tests.simulation.world import CLASSES, World


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures lie."""
    return tmp_path_factory.mktemp("media")


def handler(process: Process, **members: Any) -> Annotate:
    options = {"hook": HOOK} | members
    return Annotate(
        process.watch, process.watch.journal, lambda row: Path(row["filepath"]), **options
    )


def asked(**members: Any) -> AnnotateRequest:
    fields = (FieldRequest(name="gt", classes=CLASSES[:2]),)
    return AnnotateRequest(dataset="d", key="k", server="main", fields=fields, **members)


async def boxes(world: World) -> list[int]:
    """Return how many boxes each job holds."""
    return [len(world.shown(job)) for job in world.jobs()]


@pytest.mark.parametrize("kind", ["after", "reset-after", "before", "reset"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/tasks"),
        ("POST", "/api/tasks/1/data"),
        ("PATCH", "/api/jobs/1/annotations"),
        ("PATCH", "/api/jobs/2/annotations"),
        ("PATCH", "/api/tasks/1"),
    ],
)
def test_a_step_that_breaks_is_looked_up_before_it_is_repeated(
    media: Path, kind: Any, method: str, path: str
) -> None:
    """CVAT may have done it and answered 500, or not at all: one task, each label once."""

    async def scene(world: World, process: Process) -> None:
        world.faults.requests = [RequestFault(kind, method, path)]
        annotate = handler(process)
        await annotate.request(asked(segment_size=2))
        for _ in range(3):
            try:
                run = await annotate.resume("d", "k")
                break
            except CvatError:
                continue

        assert run.opened
        assert len(world.sandbox.state.tasks) == 1
        assert await boxes(world) == [6, 6]
        assert [task.subset for task in world.sandbox.state.tasks.values()] == [""]
        uploaded = await recorded(world, LabelsUploaded)
        assert [len(fact.labels) for fact in uploaded] == [6, 6]

    play(media, scene, annotated=False)


def test_what_we_wrote_is_recorded_as_our_own(media: Path) -> None:
    """Nobody else is named for it, and the next look finds nothing new."""

    async def scene(world: World, process: Process) -> None:
        for job in world.jobs():
            assert not (await process.watch.observe(job)).changed
        assert len(await recorded(world, AnnotationsObserved)) == 2

    play(media, scene)


def test_a_run_that_is_open_is_left_alone(media: Path) -> None:
    """Asking again does nothing."""

    async def scene(world: World, process: Process) -> None:
        before = await world.disk.head()

        await handler(process).resume("d", "k")

        assert await world.disk.head() == before

    play(media, scene)


def test_an_unknown_run_is_told(media: Path) -> None:
    """With a hint where to look."""

    async def scene(world: World, process: Process) -> None:
        with pytest.raises(UnknownRun):
            await handler(process).resume("d", "nobody")

    play(media, scene, annotated=False)


def test_a_project_that_exists_gets_what_it_lacks_and_keeps_its_hook(media: Path) -> None:
    """Labels are added, attributes are added; a second run uses the same hook."""

    async def scene(world: World, process: Process) -> None:
        own = {"name": "team", "labels": [{"name": "car", "attributes": []}]}
        await world.ask("admin", "POST", "/api/projects", "", own)
        annotate = handler(process)
        await annotate.request(asked(project="team"))
        await annotate.resume("d", "k")
        second = AnnotateRequest(
            dataset="d",
            key="again",
            server="main",
            project="team",
            fields=(FieldRequest(name="gt", classes=CLASSES),),
        )
        await annotate.request(second)
        await annotate.resume("d", "again")

        labels = {label.name: label for label in world.sandbox.state.labels.values()}
        assert set(labels) == set(CLASSES)
        names = {spec.name for spec in labels["car"].specs.values()}
        assert names == {"label_id", "score", "crowd"}
        assert len(world.sandbox.state.webhooks) == 1

    play(media, scene, annotated=False)


def test_two_projects_of_one_name_are_a_question_for_a_person(media: Path) -> None:
    """No task is made in the wrong one."""

    async def scene(world: World, process: Process) -> None:
        for _ in range(2):
            own = {"name": "team", "labels": []}
            await world.ask("admin", "POST", "/api/projects", "", own)
        annotate = handler(process)
        await annotate.request(asked(project="team"))

        with pytest.raises(ProjectUnfit):
            await annotate.resume("d", "k")

        assert world.sandbox.state.tasks == {}

    play(media, scene, annotated=False)


def test_without_a_project_the_task_has_its_own_labels_and_no_hook(media: Path) -> None:
    """Edits are found by polling then."""

    async def scene(world: World, process: Process) -> None:
        told: list[str] = []
        annotate = handler(process, progress=lambda what, done, total: told.append(what))
        await annotate.request(asked(hooked=False, task_size=3))
        run = await annotate.resume("d", "k")

        assert run.project is None
        assert world.sandbox.state.webhooks == {}
        assert [task.name for task in world.sandbox.state.tasks.values()] == [
            "FiftyOne_d_1",
            "FiftyOne_d_2",
        ]
        assert await boxes(world) == [9, 3]
        assert set(told) == {"tasks", "jobs"}

    play(media, scene, annotated=False)


def test_a_project_without_a_hook_of_ours_is_made_where_none_is_wanted(media: Path) -> None:
    """`hook=None`: the address of this machine is not known."""

    async def scene(world: World, process: Process) -> None:
        annotate = handler(process, hook=None)
        await annotate.request(asked())
        run = await annotate.resume("d", "k")

        assert run.webhook is None
        assert run.project is not None

    play(media, scene, annotated=False)


def test_files_of_one_name_get_numbers() -> None:
    """CVAT shows base names, and takes each one once."""
    paths = [Path("a/x.jpg"), Path("b/x.jpg"), Path("x-2.jpg"), Path("c/x.jpg")]

    assert plain_names(paths) == ["x.jpg", "x-2.jpg", "x-2-2.jpg", "x-3.jpg"]
