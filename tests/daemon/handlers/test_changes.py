"""What moves on a server beside the labels: none of it looks like an edit, or deletes a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.handlers import tasks
from daemon.handlers.issues import IssueText, IssueWatch
from daemon.handlers.tasks import TaskWatch
from daemon.ports.cvat import Forbidden
from events.job import (
    AnnotationsObserved,
    FramesDeleted,
    IssueCommented,
    IssueOpened,
    IssueRemoved,
    IssueResolved,
    JobChanged,
    JobDeleted,
    JobReadable,
    JobReplaced,
    JobSchemaChanged,
    JobUnreachable,
    JobUnreadable,
    TaskChanged,
    TaskDeleted,
)
from events.run import LabelsMerged
from events.server import ServerChanged, ServerThawed
from projections.decision import Decision, Draft
from projections.jobs import JOBS, TASKS
from projections.label_fields import LABELS
from projections.observation import observe
from projections.tables import MemoryTables
from tests.daemon.handlers.edges import Edge, play


async def opened(edge: Edge) -> int:
    """Return a job of a run that was looked at, settled and loaded."""
    job = (await edge.annotate())[0]
    await edge.process.load()
    return job


async def opened_outside(edge: Edge) -> int:
    """Return a job of a run whose task is in no project."""
    job = (await edge.annotate_outside())[0]
    await edge.process.load()
    return job


async def look(edge: Edge, job: int) -> list[Any]:
    """Look at a job, load the run; return what that brought."""
    head = await edge.world.disk.head()
    await edge.process.watch.observe(job)
    await edge.process.load()
    return edge.facts(after=head)


async def label(edge: Edge, name: str) -> dict[str, Any]:
    """Return a class of the run's project."""
    found = await edge.ask("GET", "/api/labels?project_id=1&page_size=100")
    return next(one for one in found["results"] if one["name"] == name)


def labels(tables: MemoryTables) -> list[Any]:
    return [(row.sample, row.field, row.label, row.document) for row in tables.scan(LABELS)]


# The schema


async def rename_label(edge: Edge, job: int) -> None:
    car = await label(edge, "car")
    await edge.ask("PATCH", f"/api/labels/{car['id']}", {"name": "automobile"})


async def recolour_label(edge: Edge, job: int) -> None:
    car = await label(edge, "car")
    await edge.ask("PATCH", f"/api/labels/{car['id']}", {"color": "#123456"})


async def add_attribute(edge: Edge, job: int) -> None:
    car = await label(edge, "car")
    spec = {
        "name": "parked",
        "mutable": False,
        "input_type": "checkbox",
        "default_value": "false",
        "values": ["true", "false"],
    }
    body = {"attributes": [*car["attributes"], spec]}
    await edge.ask("PATCH", f"/api/labels/{car['id']}", body)


async def change_default(edge: Edge, job: int) -> None:
    """Of an attribute that the drawn box never got: it shows the new default from then on."""
    car = await label(edge, "car")
    for spec in car["attributes"]:
        if spec["name"] == "crowd":
            spec["default_value"] = "true"
    await edge.ask("PATCH", f"/api/labels/{car['id']}", {"attributes": car["attributes"]})


async def move_task(edge: Edge, job: int) -> None:
    """Into a project with classes of the same names: other ids for the same shapes."""
    task = edge.state.jobs[job].task
    held = await edge.ask("GET", f"/api/labels?task_id={task}&page_size=100")
    made = [
        {
            "name": one["name"],
            "type": one["type"],
            "attributes": [
                {key: value for key, value in spec.items() if key != "id"}
                for spec in one["attributes"]
            ],
        }
        for one in held["results"]
    ]
    project = await edge.ask("POST", "/api/projects", {"name": "other", "labels": made})
    await edge.ask("PATCH", f"/api/tasks/{task}", {"project_id": project["id"]})


@pytest.mark.parametrize(
    "change", [rename_label, recolour_label, add_attribute, change_default, move_task]
)
def test_a_changed_schema_is_no_edit(tmp_path: Path, change: Any):
    """Shapes read differently by it alone; nobody drew, and the dataset keeps what it has."""

    async def scene(edge: Edge) -> None:
        job = await (opened_outside if change is move_task else opened)(edge)
        before = labels(await edge.tables())
        await change(edge, job)

        facts = await look(edge, job)

        assert not [fact for fact in facts if isinstance(fact, AnnotationsObserved | LabelsMerged)]
        assert [fact for fact in facts if isinstance(fact, JobSchemaChanged)] or (
            change is recolour_label
        )
        assert labels(await edge.tables()) == before

    play(tmp_path, scene)


def test_a_changed_default_of_an_untouched_attribute_is_no_edit(tmp_path: Path):
    """A box that was drawn without the attribute shows today's default in each read."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        shape = (await edge.shapes(job))[0]
        drawn = {key: value for key, value in shape.items() if key != "id"} | {"attributes": []}
        drawn["label_id"] = (await label(edge, "car"))["id"]
        body = {"tags": [], "shapes": [drawn], "tracks": []}
        await edge.ask("PATCH", f"/api/jobs/{job}/annotations?action=create", body)
        await look(edge, job)
        before = labels(await edge.tables())
        await change_default(edge, job)

        facts = await look(edge, job)

        (changed,) = [fact for fact in facts if isinstance(fact, JobSchemaChanged)]
        assert [change.new for change in changed.carried] == [{"attribute:crowd": "true"}]
        assert not [fact for fact in facts if isinstance(fact, AnnotationsObserved | LabelsMerged)]
        assert labels(await edge.tables()) == before

    play(tmp_path, scene)


def test_a_deleted_label_takes_its_shapes_and_none_of_the_datasets(tmp_path: Path):
    """CVAT deletes all shapes of the class; that was somebody's decision on the schema."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        before = labels(await edge.tables())
        car = await label(edge, "car")
        await edge.ask("DELETE", f"/api/labels/{car['id']}")

        facts = await look(edge, job)

        (changed,) = [fact for fact in facts if isinstance(fact, JobSchemaChanged)]
        assert {annotation.label for annotation in changed.removed} == {"car"}
        assert not [fact for fact in facts if isinstance(fact, AnnotationsObserved | LabelsMerged)]
        assert labels(await edge.tables()) == before

    play(tmp_path, scene)


# Jobs


def test_who_set_the_state_is_told_by_the_deliveries(tmp_path: Path):
    """A save and a change of state by two people: each is named for what they did."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        edge.world.receive = edge.process._receive
        await edge.move(job, user="bob")
        await edge.ask("PATCH", f"/api/jobs/{job}", {"state": "in progress"}, user="carol")
        await edge.delivered()

        await edge.process.watch.observe(job)

        changed = [
            (row.actor, row.evidence)
            for row in edge.world.disk.reader().read()
            if row.type in ("JobChanged", "AnnotationsObserved")
        ][-2:]
        carol, bob = edge.world.user("carol"), edge.world.user("bob")
        assert changed == [(f"main/{carol}", "webhook"), (f"main/{bob}", "webhook")]
        assert edge.facts(JobChanged)[-1].new == {"state": "in progress"}

    play(tmp_path, scene)


def test_a_change_of_state_without_deliveries_names_nobody(tmp_path: Path):
    """Polling sees what changed, never who did it."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        await edge.ask("PATCH", f"/api/jobs/{job}", {"stage": "validation"}, user="carol")

        await edge.process.watch.observe(job)

        (row,) = [row for row in edge.world.disk.reader().read() if row.type == "JobChanged"]
        assert (row.actor, row.evidence) == (None, "unknown")

    play(tmp_path, scene)


def test_a_job_that_we_may_not_see_is_not_deleted_and_comes_back(tmp_path: Path):
    """Un-assigned: it leaves our lists, and its own URL says 403."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        admin = edge.state.users[edge.world.user("admin")]
        owner = edge.world.user("bob")
        edge.state.jobs[job].assignee = None
        task = edge.state.tasks[edge.state.jobs[job].task]
        task.owner, edge.state.projects[task.project].owner = owner, owner
        admin.is_admin = False
        hidden = await edge.process.watch.observe(job)
        await edge.process.observer.sweep()
        again = await edge.process.watch.observe(job)

        admin.is_admin = True
        await edge.process.observer.sweep()

        assert (hidden.outcome, again.outcome, again.changed) == ("unreachable",) * 2 + (False,)
        assert edge.facts(JobUnreachable) == [JobUnreachable(status=403)]
        assert edge.facts(JobDeleted) == []
        assert job in edge.process.observer._waiting
        back = await edge.process.watch.observe(job)
        assert back.outcome == "observed"
        assert edge.facts(JobReadable) == [JobReadable()]

    play(tmp_path, scene)


def test_a_deleted_job_is_called_so_and_its_labels_stay(tmp_path: Path):
    """404 by its own URL, while the server knows us."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        before = labels(await edge.tables())
        await edge.ask("DELETE", f"/api/tasks/{edge.state.jobs[job].task}")

        seen = await edge.process.watch.observe(job)

        assert seen.outcome == "deleted"
        assert edge.facts(JobDeleted) == [JobDeleted()]
        assert labels(await edge.tables()) == before

    play(tmp_path, scene)


def test_a_poisoned_job_holds_up_no_other_and_is_read_again_when_it_is_mended(tmp_path: Path):
    """One value of 1e400 makes GET of the job 500 for everybody, until somebody empties it."""

    async def scene(edge: Edge) -> None:
        jobs = await edge.annotate(4)
        await edge.process.load()
        shape = (await edge.shapes(jobs[0]))[0]
        state = next(one for one in edge.state.users.values() if one.username == "bob")
        body = b'{"tags":[],"tracks":[],"shapes":[' + _poisoned(shape) + b"]}"
        headers = {"Authorization": f"Token {state.key}", "Content-Type": "application/json"}
        path = f"/api/jobs/{jobs[0]}/annotations"
        await edge.world.sandbox.dispatch("PATCH", path, "action=update", headers, body)
        await edge.move(jobs[1], user="bob")

        outcomes = [(await edge.process.watch.observe(job)).outcome for job in jobs]
        await edge.ask("DELETE", path)
        mended = await edge.process.watch.observe(jobs[0])

        assert outcomes == ["unreadable", "observed"]
        assert [fact.status for fact in edge.facts(JobUnreadable)] == [500]
        assert mended.outcome == "observed"

    play(tmp_path, scene)


def _poisoned(shape: dict[str, Any]) -> bytes:
    import json

    return json.dumps(shape).replace(str(shape["points"][0]), "1e400", 1).encode()


# A server that is not what it was


def _restored(edge: Edge, job: int) -> None:
    """Let the job be what it was before its last save, as after a restore from a backup."""
    edge.state.jobs[job].updated -= 3_600_000_000


def test_a_date_that_went_back_freezes_the_server_and_nothing_is_recorded(tmp_path: Path):
    """Ids may belong to other work now: until a person decides nothing is believed."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        _restored(edge, job)

        first = await edge.process.watch.observe(job)
        head = await edge.world.disk.head()
        edge.state.jobs[job].updated += 7_200_000_000
        again = await edge.process.watch.observe(job)

        assert (first.outcome, again.outcome) == ("frozen", "frozen")
        assert len(edge.facts(ServerChanged)) == 1
        assert await edge.world.disk.head() == head

    play(tmp_path, scene)


def test_a_date_that_went_back_a_little_is_another_clock_of_the_server(tmp_path: Path):
    """Several machines, several clocks: milliseconds apart, and nothing was restored."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        await edge.move(job, user="bob")
        await edge.process.watch.observe(job)
        known = edge.state.jobs[job].updated
        await edge.move(job, user="carol")
        edge.state.jobs[job].updated = known - 5_000
        await edge.process.observer.sweep()

        seen = await edge.process.watch.observe(job)

        assert job in edge.process.observer._waiting
        assert (seen.outcome, seen.changed) == ("observed", True)
        assert edge.facts(ServerChanged) == []

    play(tmp_path, scene)


def test_a_reading_that_was_overtaken_freezes_nothing(tmp_path: Path):
    """Two commands read one job; what was read first is recorded last."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        overtaken = await edge.process.watch.read(job)
        await edge.move(job, user="bob")
        edge.state.jobs[job].updated += 3_600_000_000
        await edge.process.watch.observe(job)
        head = await edge.world.disk.head()

        await edge.process.watch.journal.carry_out(
            lambda tables: observe(tables, "main", job, overtaken)
        )

        assert await edge.world.disk.head() == head

    play(tmp_path, scene)


async def thaw(edge: Edge) -> None:
    await edge.process.watch.journal.carry_out(
        lambda tables: Decision([Draft("server/main", ServerThawed(reason="restored"))])
    )


def test_a_thawed_server_goes_on_from_what_it_shows_now(tmp_path: Path):
    """It was restored from a backup: what is gone with it is recorded as gone, by nobody known."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        await edge.move(job, user="bob")
        await edge.process.watch.observe(job)
        await edge.move(job, user="bob", by=-1.0)
        _restored(edge, job)
        await edge.process.watch.observe(job)
        await thaw(edge)
        head = await edge.world.disk.head()

        back = await edge.process.watch.observe(job)
        again = await edge.process.watch.observe(job)

        assert (back.outcome, back.changed) == ("observed", True)
        assert (again.outcome, again.changed) == ("observed", False)
        (readable, observed) = edge.facts(after=head)[:2]
        assert readable == JobReadable()
        assert len(observed.changed) == 1
        (row,) = (await edge.tables()).scan(JOBS)
        assert row.condition == ""

    play(tmp_path, scene)


def test_another_job_under_the_same_id_never_continues_the_old_one(tmp_path: Path):
    """After a restore new work gets ids that were given before."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        before = labels(await edge.tables())
        edge.state.jobs[job].created += 1_000_000
        await edge.process.watch.observe(job)
        await thaw(edge)

        await edge.process.watch.observe(job)
        again = await edge.process.watch.observe(job)

        assert len(edge.facts(ServerChanged)) == 1
        assert len(edge.facts(JobReplaced)) == 1
        assert again.outcome == "frozen"
        assert labels(await edge.tables()) == before

    play(tmp_path, scene)


# Tasks


def test_frames_deleted_on_the_task_are_found_though_no_date_moves(tmp_path: Path):
    """Measured: neither job nor task date moves, and nobody is told."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        task = edge.state.jobs[job].task
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)
        await watch.look()
        head = await edge.world.disk.head()
        await edge.ask("PATCH", f"/api/tasks/{task}/data/meta", {"deleted_frames": [1]})

        await watch.look()
        await watch.look()

        assert edge.facts(after=head) == [FramesDeleted(old=(), new=(1,))]
        assert await look(edge, job) == []
        await edge.ask("PATCH", f"/api/tasks/{task}/data/meta", {"deleted_frames": []})
        await watch.look()
        assert edge.facts(FramesDeleted)[-1] == FramesDeleted(old=(1,), new=())

    play(tmp_path, scene)


def test_an_assignee_sees_deleted_frames_by_his_jobs(tmp_path: Path):
    """He gets 403 on the task and its meta."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        await edge.ask("PATCH", f"/api/jobs/{job}/data/meta", {"deleted_frames": [0]})
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)

        async def forbidden(task: int) -> Any:
            raise Forbidden("no")

        edge.cvat.task_meta = forbidden  # type: ignore[method-assign]
        await watch.look()

        assert edge.facts(FramesDeleted) == [FramesDeleted(old=(), new=(0,))]

    play(tmp_path, scene)


def test_a_renamed_assigned_task_is_a_fact_of_the_task(tmp_path: Path):
    """The first look is all of it, each next one what changed."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        task, bob = edge.state.jobs[job].task, edge.world.user("bob")
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)
        await watch.look()
        await edge.ask("PATCH", f"/api/tasks/{task}", {"name": "new", "assignee_id": bob})

        await watch.look()
        await watch.look()

        first, then = edge.facts(TaskChanged)
        assert set(first.new) == {"name", "project", "status", "assignee", "created_date"}
        assert then.new == {"name": "new", "assignee": bob}

    play(tmp_path, scene)


def test_a_deleted_task_is_called_so_once(tmp_path: Path):
    """And a list that leaves it out says nothing by itself."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)
        await watch.look()
        await edge.ask("DELETE", f"/api/tasks/{edge.state.jobs[job].task}")

        for _ in range(2 * tasks.WHOLE_EVERY):
            await watch.look()

        assert edge.facts(TaskDeleted) == [TaskDeleted()]
        (row,) = (await edge.tables()).scan(TASKS)
        assert row.gone

    play(tmp_path, scene)


def test_another_task_under_the_same_id_freezes_the_server(tmp_path: Path):
    """Its jobs would be somebody else's work."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)
        await watch.look()
        task = edge.state.jobs[job].task
        edge.state.tasks[task].created += 1_000_000
        await edge.ask("PATCH", f"/api/tasks/{task}", {"name": "somebody else's"})

        await watch.look()
        await watch.look()

        assert len(edge.facts(ServerChanged)) == 1

    play(tmp_path, scene)


# Issues


def test_issues_are_recorded_and_their_texts_are_not(tmp_path: Path):
    """A text names people; it is kept where it can be erased, under a name that tells nothing."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        kept: list[IssueText] = []

        async def keep(text: IssueText) -> None:
            kept.append(text)

        edge.world.receive = edge.process._receive
        watch = IssueWatch(edge.cvat, edge.process.watch.journal, keep)
        head = await edge.world.disk.head()
        issue = await edge.ask(
            "POST",
            "/api/issues",
            {"job": job, "frame": 0, "position": [1.5, 2.0], "message": "ask Dr Miller"},
            user="bob",
        )
        await watch.look_at(job)
        await edge.ask(
            "POST", "/api/comments", {"issue": issue["id"], "message": "done"}, user="carol"
        )
        await edge.ask("PATCH", f"/api/issues/{issue['id']}", {"resolved": True}, user="carol")
        await edge.delivered()
        await watch.look()
        await watch.look()

        facts = [f for f in edge.facts(after=head) if type(f).__name__.startswith("Issue")]
        kinds = [IssueOpened, IssueCommented, IssueResolved, IssueCommented]
        assert [type(fact) for fact in facts] == kinds
        rows = [row for row in edge.world.disk.reader().read() if row.type.startswith("Issue")]
        bob, carol = (f"main/{edge.world.user(name)}" for name in ("bob", "carol"))
        assert [(row.actor, row.evidence) for row in rows] == [
            (bob, "owner"),
            (bob, "owner"),
            (carol, "webhook"),
            (carol, "owner"),
        ]
        assert [text.text for text in kept] == ["ask Dr Miller", "done"]
        assert facts[1].text == kept[0].name
        reader = edge.world.disk.reader()
        assert not [row for row in reader.read() if b"Miller" in bytes(row.payload)]

    play(tmp_path, scene)


def test_an_edited_and_a_removed_comment_are_facts(tmp_path: Path):
    """What somebody took back was said all the same."""

    async def scene(edge: Edge) -> None:
        job = await opened(edge)
        watch = IssueWatch(edge.cvat, edge.process.watch.journal)
        sent = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "a"}
        issue = await edge.ask("POST", "/api/issues", sent)
        await watch.look()
        comment = next(iter(edge.state.comments))
        await edge.ask("PATCH", f"/api/comments/{comment}", {"message": "b"})
        await watch.look()
        await edge.ask("DELETE", f"/api/comments/{comment}")
        await watch.look()
        await edge.ask("DELETE", f"/api/issues/{issue['id']}")
        await watch.look()

        assert [fact.edited for fact in edge.facts(IssueCommented)] == [False, True]
        assert edge.facts(IssueRemoved) == [
            IssueRemoved(issue=issue["id"], comment=comment),
            IssueRemoved(issue=issue["id"]),
        ]

    play(tmp_path, scene)
