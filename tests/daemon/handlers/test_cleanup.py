"""A run leaves a server as it was before the run, but for what others made there."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.handlers.annotate import CleanedUp
from daemon.handlers.cleanup import Cleanup, CleanupPlan, NotLoaded, ServerFrozen
from events.job import JobDeleted, TaskDeleted
from events.run import CleanupIntended, LabelsMerged, RunCleanedUp
from projections import merge, run_keys
from projections.label_fields import LABELS
from projections.run_keys import BadKey, RunExists, UnknownRun, find_run, known_run
from tests.daemon.handlers.edges import Edge, play


def cleanup(edge: Edge) -> Cleanup:
    return Cleanup(edge.process.watch, edge.process.watch.journal)


async def loaded(edge: Edge) -> int:
    job = (await edge.annotate())[0]
    await edge.process.load()
    return job


def test_tasks_project_and_webhook_go_and_labels_stay(tmp_path: Path):
    """The dataset keeps what it has; the log says what went."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        before = len(list((await edge.tables()).scan(LABELS)))

        await cleanup(edge).clean_up("d", "k")
        again = await cleanup(edge).clean_up("d", "k")

        state = edge.state
        assert (state.tasks, state.projects, state.webhooks) == ({}, {}, {})
        assert len(list((await edge.tables()).scan(LABELS))) == before
        assert edge.facts(CleanupIntended, RunCleanedUp) == [
            CleanupIntended(tasks=(1,), project=1),
            RunCleanedUp(tasks=(1,), project=1),
        ]
        assert (len(edge.facts(TaskDeleted)), len(edge.facts(JobDeleted))) == (1, 1)
        assert again == CleanupPlan()

    play(tmp_path, scene)


def test_a_project_that_others_work_in_stays(tmp_path: Path):
    """Somebody put a task of his own there: with the project it would go."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        await edge.ask("POST", "/api/tasks", {"name": "mine", "project_id": 1}, user="bob")
        plan = await cleanup(edge).plan("d", "k")

        done = await cleanup(edge).clean_up("d", "k")

        assert (plan.tasks, plan.others) == ((1,), (2,))
        assert (done.project, sorted(edge.state.tasks), sorted(edge.state.projects)) == (
            None,
            [2],
            [1],
        )

    play(tmp_path, scene)


def test_a_task_that_is_another_one_today_stays(tmp_path: Path):
    """The server was made anew under us, and the id was given to somebody else's work."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        edge.state.tasks[1].created += 1_000_000

        done = await cleanup(edge).clean_up("d", "k")

        assert (done.tasks, done.foreign) == ((), (1,))
        assert sorted(edge.state.tasks) == [1]

    play(tmp_path, scene)


def test_edits_that_were_not_loaded_keep_it_from_deleting(tmp_path: Path):
    """They would be gone from everywhere but the log."""

    async def scene(edge: Edge) -> None:
        job = await loaded(edge)
        await edge.move(job, user="bob")

        with pytest.raises(NotLoaded) as refused:
            await cleanup(edge).clean_up("d", "k")

        assert refused.value.facts["jobs"] == [job]
        assert sorted(edge.state.tasks) == [1]
        await edge.process.load()
        assert len(edge.facts(LabelsMerged)) == 1
        await cleanup(edge).clean_up("d", "k")
        assert edge.state.tasks == {}

    play(tmp_path, scene)


def test_edits_may_be_discarded_and_the_log_saw_them(tmp_path: Path):
    """One last look before it goes: nothing is invisible."""

    async def scene(edge: Edge) -> None:
        job = await loaded(edge)
        await edge.move(job, user="bob")
        head = await edge.world.disk.head()

        await cleanup(edge).clean_up("d", "k", discard=True)

        assert edge.names(after=head)[0] == "AnnotationsObserved"
        assert edge.state.tasks == {}

    play(tmp_path, scene)


def test_a_frozen_server_is_left_alone(tmp_path: Path):
    """Ids may belong to other work: nothing is deleted by them."""

    async def scene(edge: Edge) -> None:
        job = await loaded(edge)
        edge.state.jobs[job].updated -= 3_600_000_000
        await edge.process.watch.observe(job)

        with pytest.raises(ServerFrozen):
            await cleanup(edge).clean_up("d", "k")

        assert sorted(edge.state.tasks) == [1]

    play(tmp_path, scene)


def test_a_run_that_was_taken_off_is_not_carried_on(tmp_path: Path):
    """Asking for it again would make its tasks anew."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        await cleanup(edge).clean_up("d", "k")

        with pytest.raises(CleanedUp):
            await edge.process.annotate("manual")

        assert edge.state.tasks == {}

    play(tmp_path, scene)


# Keys


def test_a_renamed_run_goes_by_its_new_key_alone(tmp_path: Path):
    """Its stream keeps the old one, which no other run may take."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        journal = edge.process.watch.journal
        await journal.carry_out(lambda tables: run_keys.rename(tables, "d", "k", "first"))
        tables = await edge.tables()

        assert find_run(tables, "d", "first").key == "k"
        assert known_run(tables, "d", "k") is None
        for taken in ("k", "first"):
            with pytest.raises(RunExists):
                run_keys.check_free(tables, "d", taken)
        await journal.carry_out(lambda tables: run_keys.rename(tables, "d", "first", "k"))
        assert find_run(await edge.tables(), "d", "k").title == "k"

    play(tmp_path, scene)


def test_a_deleted_run_is_unknown_and_its_tasks_stay(tmp_path: Path):
    """FiftyOne's `delete_annotation_run` closes the record, no more."""

    async def scene(edge: Edge) -> None:
        await loaded(edge)
        journal = edge.process.watch.journal
        await journal.carry_out(lambda tables: run_keys.delete(tables, "d", "k"))

        with pytest.raises(UnknownRun):
            find_run(await edge.tables(), "d", "k")

        assert sorted(edge.state.tasks) == [1]

    play(tmp_path, scene)


def test_a_deleted_run_is_not_merged_by_itself_any_more(tmp_path: Path):
    """Its record is closed: what annotators do there later is recorded, and stays in CVAT."""

    async def scene(edge: Edge) -> None:
        await edge.world.open_dataset(2)
        await edge.process.annotate("on-save")
        (job,) = edge.world.jobs()
        assert merge.merges_by_itself(await edge.tables(), "main", job)
        journal = edge.process.watch.journal

        await journal.carry_out(lambda tables: run_keys.delete(tables, "d", "k"))

        assert not merge.merges_by_itself(await edge.tables(), "main", job)

    play(tmp_path, scene)


def test_a_key_with_a_slash_is_refused(tmp_path: Path):
    """It would be cut elsewhere when the stream's name is read back."""

    async def scene(edge: Edge) -> None:
        tables = await edge.tables()
        for key in ("a/b", "", " a", "k" * 64, "ü"):
            with pytest.raises(BadKey):
                run_keys.check_free(tables, "d", key)

    play(tmp_path, scene)
