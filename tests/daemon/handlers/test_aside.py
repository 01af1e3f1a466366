"""One row of a list that is not what CVAT documents is set aside by itself, and told of."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from daemon.cli.status import shows_status
from daemon.handlers.backfill import Backfill
from daemon.handlers.carry_out import Journal
from daemon.handlers.issues import IssueWatch
from daemon.handlers.observe import JobWatch
from daemon.handlers.tasks import TaskWatch
from daemon.observer import Observer
from daemon.operations.status import _servers
from daemon.operations.status import _unreadable as told_in_status
from daemon.pool import Pool
from daemon.sandbox import RequestFault
from daemon.store.memory import MemoryStore
from events.job import (
    AnnotationsObserved,
    IssueCommented,
    IssueOpened,
    IssueRemoved,
    JobReadable,
    JobUnreadable,
    TaskChanged,
    TaskDeleted,
)
from events.server import DeliveryReceived, RowReadable, RowUnreadable
from projections.folds import FOLDS
from projections.jobs import JOBS
from projections.unreadable import NO_ID, observe_rows, unreadable_rows
from tests.daemon.handlers.edges import Edge, play
from tests.fakes.projections import InlineProjections
from tests.simulation.process import HOOK
from tests.simulation.world import Disk

POLL_S = 30.0
BAD = {"task_id": "3"}


@asynccontextmanager
async def watched(edge: Edge, *, sweep_s: float = 1e6) -> AsyncIterator[Observer]:
    """Watch the jobs until the block ends: by polling alone, after one sweep at the start."""
    observer = Observer(
        edge.process.watch, clock=edge.world.clock, poll_s=POLL_S, sweep_s=sweep_s, settle_s=1.0
    )
    running = asyncio.create_task(observer.run())
    await edge.world.clock.sleep(2 * POLL_S)
    yield observer
    assert not running.done()
    running.cancel()


def spoil(edge: Edge, path: str, number: int, **members: Any) -> None:
    edge.world.faults.spoiled[path, number] = members


def test_status_says_which_row_what_is_wrong_and_what_to_do() -> None:
    """Whoever looks at night sees which object on which server to open."""
    rows = [{"list": "jobs", "id": 7, "reason": "no task", "since": 9}]
    found = {
        "kind": "server",
        "name": "main",
        "jobs": 2,
        "conditions": {"settled": 2},
        "deliveries": 0,
        "refused": 0,
        "frozen": "",
        "declared": True,
        "unreadable_rows": 2,
        "unreadable": [*rows, {**rows[0], "id": None}],
    }
    console = Console(record=True, width=200, file=io.StringIO())

    shows_status(iter([found]), console)

    assert console.export_text().splitlines() == [
        "server main: 2 jobs (2 settled), 0 deliveries, 0 refused, 2 rows cannot be read",
        "  cannot be read in the list of jobs: 7: no task "
        "(the others were taken; look at it on the server)",
        "  cannot be read in the list of jobs: without an id: no task "
        "(the others were taken; look at it on the server)",
    ]


async def test_the_sandbox_shows_an_object_wrongly_where_it_is_told_to(tmp_path: Path) -> None:
    """What the tests below stand on: one row of one list, and nothing else."""
    edge = Edge(tmp_path)
    first, second = await edge.annotate(4)
    spoil(edge, "/api/jobs", first, task_id="3", state=...)

    rows = {row["id"]: row for row in (await edge.ask("GET", "/api/jobs"))["results"]}
    alone = await edge.ask("GET", f"/api/jobs/{first}")

    assert (rows[first]["task_id"], "state" in rows[first]) == ("3", False)
    assert (rows[second]["task_id"], alone["task_id"], alone["state"]) == (1, 1, "new")


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"task_id": "3"}, "task_id"),
        ({"updated_date": ...}, "updated_date"),
        ({"updated_date": "2026-99-99T00:00:00Z"}, "month must be in 1..12"),
        # One that has no earlier one: the cursor goes back by its overlap.
        ({"updated_date": "0001-01-01T00:05:00Z"}, "before 1970"),
        ({"assignee": {"id": 2**63}}, "assignee"),
    ],
)
def test_a_bad_job_in_a_poll_hides_no_other(tmp_path: Path, members: Any, member: str) -> None:
    """It did: the whole poll failed, each time, for as long as the row was there."""

    async def scene(edge: Edge) -> None:
        bad, good = await edge.annotate(4)
        async with watched(edge):
            spoil(edge, "/api/jobs", bad, **members)
            head = await edge.world.disk.head()
            await edge.move(bad, user="bob")
            await edge.move(good, user="bob")
            await edge.world.clock.sleep(4 * POLL_S)

            tables = await edge.tables()
            (fact,) = edge.facts(RowUnreadable)
            assert (fact.list, fact.id) == ("jobs", bad)
            assert member in fact.reason
            # By its own URL the job is what CVAT documents, so that nothing of it is missed either.
            assert (
                len([f for f in edge.facts(after=head) if isinstance(f, AnnotationsObserved)]) == 2
            )
            assert [row.condition for row in tables.scan(JOBS)] == ["", ""]
            assert told_in_status(tables, "main")["unreadable"] == [
                {"list": "jobs", "id": bad, "reason": fact.reason, "since": fact_position(edge)}
            ]

    play(tmp_path, scene)


def fact_position(edge: Edge) -> int:
    """Return where the row was called unreadable."""
    reader = edge.world.disk.reader()
    (position,) = (at.position for at in reader.read() if at.type == "RowUnreadable")
    return position


def test_a_job_that_is_bad_by_its_own_url_too_is_unreadable_until_it_is_sound(
    tmp_path: Path,
) -> None:
    """Its last good state stands; it was asked for again and again, as if the server were down."""

    async def scene(edge: Edge) -> None:
        bad, good = await edge.annotate(4)
        async with watched(edge, sweep_s=10 * POLL_S):
            for path in ("/api/jobs", f"/api/jobs/{bad}"):
                spoil(edge, path, bad, **BAD)
            await edge.move(bad, user="bob")
            await edge.move(good, user="bob")
            await edge.world.clock.sleep(3 * POLL_S)
            during = {row.job: row.condition for row in (await edge.tables()).scan(JOBS)}
            edge.world.faults.spoiled.clear()
            await edge.world.clock.sleep(20 * POLL_S)

            after = await edge.tables()
            assert during == {bad: "unreadable", good: ""}
            (unreadable,) = edge.facts(JobUnreadable)
            assert (unreadable.status, "task_id" in unreadable.reason) == (200, True)
            assert len(edge.facts(JobReadable)) == 1
            assert edge.facts(RowReadable) == [RowReadable(list="jobs", id=bad)]
            assert list(unreadable_rows(after, "main")) == []
            assert {row.condition for row in after.scan(JOBS)} == {""}

    play(tmp_path, scene)


def test_a_job_whose_annotations_never_could_be_read_shows_until_they_can(tmp_path: Path) -> None:
    """It stood nowhere: its row in the list was sound, and nothing else had spoken of the job."""

    async def scene(edge: Edge) -> None:
        [job] = await edge.annotate_outside()
        edge.world.disk = Disk(edge.world.clock)
        edge.new_process()
        path = f"/api/jobs/{job}/annotations"
        edge.world.faults.requests = [RequestFault("before", "GET", path, times=99, status=500)]
        async with watched(edge, sweep_s=10 * POLL_S):
            await edge.world.clock.sleep(3 * POLL_S)
            (during,) = _servers(await edge.tables())
            edge.world.faults.requests.clear()
            await edge.world.clock.sleep(2 * POLL_S)

            assert (during["jobs"], during["conditions"]) == (1, {"unreadable": 1})
            assert [fact.status for fact in edge.facts(JobUnreadable)] == [500]
            assert len(edge.facts(JobReadable)) == 1
            (baseline,) = edge.facts(AnnotationsObserved)
            assert (baseline.baseline, len(baseline.added)) == (True, len(await edge.shapes(job)))
            (after,) = _servers(await edge.tables())
            assert after["conditions"] == {"settled": 1}

    play(tmp_path, scene)


def test_a_date_far_ahead_moves_no_cursor(tmp_path: Path) -> None:
    """Nothing would be found behind it until the next sweep, an hour later."""

    async def scene(edge: Edge) -> None:
        ahead, good = await edge.annotate(4)
        async with watched(edge):
            spoil(edge, "/api/jobs", ahead, updated_date="9999-12-31T23:59:59Z")
            await edge.world.clock.sleep(2 * POLL_S)
            # Behind what an honest cursor would look back over.
            await edge.world.clock.sleep(3_600)
            head = await edge.world.disk.head()
            await edge.move(good, user="bob")
            await edge.world.clock.sleep(2 * POLL_S)

            facts = edge.facts(after=head)
            assert [type(fact) for fact in facts if isinstance(fact, AnnotationsObserved)]

    play(tmp_path, scene)


class Asking(Observer):
    """Notes which jobs it would ask for."""

    def __init__(self, watch: JobWatch, **options: Any) -> None:
        super().__init__(watch, **options)
        self.asked: set[int] = set()

    def hint(self, job: int) -> None:
        self.asked.add(job)


@pytest.mark.parametrize(("projects", "asked"), [((), {1, 2}), ((1,), {1})])
def test_a_bad_row_of_a_job_that_is_not_recorded_brings_in_nobody_elses(
    tmp_path: Path, projects: tuple[int, ...], asked: set[int]
) -> None:
    """Of a row that cannot be read not even the project is believed: ours are known by the log."""

    async def scene(edge: Edge) -> None:
        known, other = await edge.annotate(4)
        store = MemoryStore(edge.world.clock)
        journal = Journal(store, InlineProjections(store, FOLDS), edge.world.clock)
        watch = JobWatch(edge.cvat, journal, Pool())
        await watch.observe(known)
        for job in (known, other):
            spoil(edge, "/api/jobs", job, **BAD)

        asking = Asking(watch, clock=edge.world.clock, projects=projects)
        await asking.sweep()
        found = await journal.projections.ask(lambda tables: list(unreadable_rows(tables, "main")))

        assert {row.id for row in found} == {known, other}
        assert asking.asked == asked

    play(tmp_path, scene)


def test_a_bad_task_hides_no_other_and_is_not_called_deleted(tmp_path: Path) -> None:
    """Names and projects of the others are recorded; of this one what its own URL shows."""

    async def scene(edge: Edge) -> None:
        await edge.annotate(2)
        other = await edge.ask("POST", "/api/tasks", {"name": "b", "labels": [{"name": "x"}]})
        watch = TaskWatch(edge.cvat, edge.process.watch.journal)
        await edge.process.load()
        await watch.look()
        spoil(edge, "/api/tasks", other["id"], project_id="nobody's")
        await edge.ask("PATCH", "/api/tasks/1", {"name": "renamed"})
        await watch.look()
        spoil(edge, "/api/tasks", 1, status=7)
        await edge.ask("PATCH", "/api/tasks/1", {"name": "again"})
        await watch.look()
        spoil(edge, "/api/tasks/1", 1, status=7)
        for _ in range(60):
            await watch.look()

        assert [fact.new.get("name") for fact in edge.facts(TaskChanged)][1:] == [
            "renamed",
            "again",
        ]
        assert {fact.id for fact in edge.facts(RowUnreadable)} == {1, other["id"]}
        assert edge.facts(TaskDeleted) == []

    play(tmp_path, scene)


@pytest.mark.parametrize("hidden", [{"position": ["x"]}, {"id": "1"}], ids=["member", "no id"])
def test_a_bad_issue_hides_no_other_and_is_not_called_gone(tmp_path: Path, hidden: Any) -> None:
    """Nor are its comments: they are there, and their issue is."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        watch = IssueWatch(edge.cvat, edge.process.watch.journal)
        sent = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "a"}
        for _ in range(2):
            await edge.ask("POST", "/api/issues", sent)
        await edge.process.watch.observe(job)
        await watch.look()
        spoil(edge, "/api/issues", 1, **hidden)
        spoil(edge, "/api/comments", 2, issue=None)
        await edge.ask("POST", "/api/issues", sent)

        await watch.look_at(job)
        await watch.look()

        assert len(edge.facts(IssueOpened)) == len(edge.facts(IssueCommented)) == 3
        assert edge.facts(IssueRemoved) == []
        numbers = {(fact.list, fact.id) for fact in edge.facts(RowUnreadable)}
        assert numbers == {("issues", None if "id" in hidden else 1), ("comments", 2)}

    play(tmp_path, scene)


def test_an_issue_that_is_gone_beside_a_bad_one_is_called_gone(tmp_path: Path) -> None:
    """Only what cannot be read is unsure."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        watch = IssueWatch(edge.cvat, edge.process.watch.journal)
        sent = {"job": job, "frame": 0, "position": [1.0, 2.0], "message": "a"}
        for _ in range(2):
            await edge.ask("POST", "/api/issues", sent)
        await edge.process.watch.observe(job)
        await watch.look()
        spoil(edge, "/api/issues", 1, position=["x"])
        await edge.ask("DELETE", "/api/issues/2")

        await watch.look()

        assert {fact.issue for fact in edge.facts(IssueRemoved)} == {2}

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("hidden", "number"),
    [({"request": None}, True), ({"request": {"event": 7}}, True), ({"id": None}, False)],
)
def test_a_bad_delivery_hides_no_other(tmp_path: Path, hidden: Any, number: bool) -> None:
    """The others are recorded with their authors, and how far the list was read moves on."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        for _ in range(3):
            await edge.move(job, user="bob")
        await edge.delivered()
        (hook,) = edge.state.webhooks
        bad = sorted(edge.state.deliveries)[1]
        spoil(edge, f"/api/webhooks/{hook}/deliveries", bad, **hidden)
        handler = Backfill(edge.cvat, edge.process.watch.journal, HOOK.target_url)

        (filled,) = [found async for found in handler.fill()]
        (again,) = [found async for found in handler.fill()]

        sent = len(edge.state.deliveries)
        assert (filled.read, filled.unreadable, len(filled.new)) == (sent, 1, sent - 1)
        assert (len(edge.facts(DeliveryReceived)), again.new) == (sent - 1, ())
        (fact,) = edge.facts(RowUnreadable)
        assert (fact.list, fact.id) == ("deliveries", bad if number else None)

    play(tmp_path, scene)


def test_a_bad_webhook_in_the_list_hides_no_other(tmp_path: Path) -> None:
    """Ours are known from the log as well."""

    async def scene(edge: Edge) -> None:
        job = (await edge.annotate())[0]
        await edge.move(job, user="bob")
        await edge.delivered()
        (hook,) = edge.state.webhooks
        spoil(edge, "/api/webhooks", hook, id="x")
        handler = Backfill(edge.cvat, edge.process.watch.journal, HOOK.target_url)

        (filled,) = [found async for found in handler.fill()]

        assert filled.webhook == hook
        assert filled.new
        assert [(f.list, f.id) for f in edge.facts(RowUnreadable)] == [("webhooks", None)]

    play(tmp_path, scene)


def test_rows_are_told_of_once_and_taken_back_once(tmp_path: Path) -> None:
    """A server that makes up another reason each minute must not write the log full."""

    async def scene(edge: Edge) -> None:
        tables = await edge.tables()

        def observe(unreadable: Any, sound: Any = (), *, whole: bool = False) -> list[Any]:
            decision = observe_rows(tables, "main", "jobs", unreadable, sound, whole=whole)
            return [draft.fact for draft in decision.drafts]

        async def record(unreadable: Any, sound: Any = (), *, whole: bool = False) -> None:
            await edge.process.watch.journal.carry_out(
                lambda now: observe_rows(now, "main", "jobs", unreadable, sound, whole=whole)
            )

        await record({7: "a", None: "b"})
        tables = await edge.tables()

        assert {row.number for row in unreadable_rows(tables, "main")} == {7, NO_ID}
        assert observe({7: "another", None: "another"}) == []
        assert observe({}, {8}) == []
        assert observe({None: "b"}, {7}) == [RowReadable(list="jobs", id=7)]
        assert observe({7: "a"}, whole=True) == [RowReadable(list="jobs")]
        assert observe({9: "c", 7: "a"}) == [RowUnreadable(list="jobs", id=9, reason="c")]

    play(tmp_path, scene)
