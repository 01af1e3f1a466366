"""What a look at a job tells: what is new, what changed by itself, and who did it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from events.annotations import AttributeSpec, Keyframe, LabelSpec, Shape, Tag, Track
from events.job import (
    ActorLearned,
    AnnotationsObserved,
    Change,
    JobChanged,
    JobDiscovered,
    JobReadable,
    JobSchemaChanged,
    JobUnreachable,
)
from events.server import ServerChanged
from projections import jobs, observation
from projections.observation import late_authors, observe
from tests.projections.story import BOB, CAROL, JOB, Story, date, drawn, facts, moved

TEXT = AttributeSpec(name="note", id=11, default_value="none")
CAR = LabelSpec(name="car", id=1, attributes=(TEXT,))
BUS = LabelSpec(name="bus", id=2)


def noted(number: int, note: str = "x", **members: Any) -> Shape:
    values = {"note": note}
    return Shape(id=number, frame=0, label="car", type="rectangle", attributes=values, **members)


@pytest.fixture
def story() -> Story:
    """A job that was looked at once, with one box in it."""
    told = Story()
    told.labels = (CAR, BUS)
    told.put(noted(1, points=(0.0, 0.0, 5.0, 5.0)), by=None)
    told.carry_out(told.look())
    return told


def test_the_first_look_is_one_baseline_and_names_nobody() -> None:
    """Not 100,000 additions by whoever saved last."""
    told = Story()
    told.labels = (CAR,)
    told.put(noted(1), noted(2))

    drafts = told.carry_out(told.look())

    [discovered, schema, baseline] = [draft.fact for draft in drafts]
    assert isinstance(discovered, JobDiscovered)
    assert schema == JobSchemaChanged(labels=(CAR,))
    assert isinstance(baseline, AnnotationsObserved)
    assert baseline.baseline
    assert [one.id for one in baseline.added] == [1, 2]
    assert drafts[-1].actor is None


def test_the_first_look_at_an_empty_job_is_recorded_too() -> None:
    """What comes later is an addition by somebody, not a baseline."""
    told = Story()
    told.carry_out(told.look())
    told.put(drawn(1))

    [draft] = told.carry_out(told.look())

    assert draft.fact == AnnotationsObserved(updated_date=date(1), since=date(0), added=(drawn(1),))
    assert (draft.actor, draft.evidence) == ("main/2", "webhook")


def test_a_look_that_shows_nothing_new_records_nothing(story: Story) -> None:
    """A save that changed nothing moves the date and nothing else."""
    story.second += 1

    assert story.look().drafts == []


def test_added_changed_and_removed_are_told_apart_facet_by_facet(story: Story) -> None:
    """Old and new value of what changed, the whole of what vanished."""
    story.put(noted(2))
    story.carry_out(story.look())
    story.put(moved(story.shape(1)), noted(3, note="new"), gone=[story.shape(2)])

    [draft] = story.carry_out(story.look())

    fact = draft.fact
    assert isinstance(fact, AnnotationsObserved)
    old, new = [0.0, 0.0, 5.0, 5.0], [10.0, 10.0, 15.0, 15.0]
    assert fact.changed == (
        Change(kind="shape", id=1, frame=0, old={"geometry": old}, new={"geometry": new}),
    )
    assert fact.removed == (noted(2),)
    assert fact.added == (noted(3, note="new"),)


def test_a_look_over_two_saves_names_both(story: Story) -> None:
    """The observation says since when; two people saved in between."""
    story.put(moved(story.shape(1)), by=BOB)
    story.put(moved(story.shape(1)), by=CAROL)

    [draft] = story.carry_out(story.look())

    assert (draft.actor, draft.evidence) == ("main/2,main/3", "several")


def test_a_large_observation_is_cut_by_frame(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event grows without bound; together they are one append."""
    monkeypatch.setattr(observation, "EVENT_ANNOTATIONS_MAX", 2)
    story.put(*(drawn(n, frame=9 - n) for n in range(2, 7)), gone=[story.shape(1)])

    drafts = story.carry_out(story.look())

    parts = facts(drafts, AnnotationsObserved)
    assert [(fact.part, fact.parts) for fact in parts] == [(1, 3), (2, 3), (3, 3)]
    frames = [one.frame for fact in parts for one in (*fact.removed, *fact.added)]
    assert frames == sorted(frames)
    assert story.job().annotations == 5


def test_changed_members_of_the_job_are_told(story: Story) -> None:
    """A stage that changes is no edit, and moves the date."""
    job = JobDiscovered(
        task=5, start_frame=0, stop_frame=9, created_date=date(0), state="completed"
    )

    [draft] = story.carry_out(story.look(job=job))

    assert isinstance(draft.fact, JobChanged)
    assert (draft.fact.old, draft.fact.new) == ({"state": ""}, {"state": "completed"})


def test_a_job_that_can_be_read_again_says_so(story: Story) -> None:
    """Its condition ends with the first good look."""
    story.tell(f"job/main/{JOB}", JobUnreachable(status=403))

    drafts = story.carry_out(story.look())

    assert facts(drafts, JobReadable) == [JobReadable()]
    assert story.job().condition == ""


# The schema changes by itself


def test_a_renamed_class_is_carried_and_is_no_edit(story: Story) -> None:
    """CVAT renames the class of every annotation at once; nobody touched one."""
    story.labels = (msgspec.structs.replace(CAR, name="auto"), BUS)
    story.shown["shape", 1] = msgspec.structs.replace(story.shape(1), label="auto")

    [draft] = story.carry_out(story.look())

    change = Change(kind="shape", id=1, frame=0, old={"class": "car"}, new={"class": "auto"})
    assert draft.fact == JobSchemaChanged(labels=story.labels, carried=(change,))


def test_what_a_person_edited_beside_a_schema_change_is_still_an_edit(story: Story) -> None:
    """Renamed and moved between two looks: two facts."""
    story.labels = (msgspec.structs.replace(CAR, name="auto"), BUS)
    story.put(msgspec.structs.replace(moved(story.shape(1)), label="auto"))

    drafts = story.carry_out(story.look())

    [schema] = facts(drafts, JobSchemaChanged)
    [seen] = facts(drafts, AnnotationsObserved)
    assert schema.carried[0].new == {"class": "auto"}
    assert seen.changed[0].new.keys() == {"geometry"}


def test_a_class_that_a_person_changed_is_not_carried(story: Story) -> None:
    """Relabelled to another class while an attribute was added: an edit."""
    extra = AttributeSpec(name="extra", id=12)
    story.labels = (msgspec.structs.replace(CAR, attributes=(TEXT, extra)), BUS)
    story.put(Shape(id=1, frame=0, label="bus", type="rectangle", points=(0.0, 0.0, 5.0, 5.0)))

    drafts = story.carry_out(story.look())

    assert facts(drafts, JobSchemaChanged)[0].carried == ()
    [seen] = facts(drafts, AnnotationsObserved)
    assert seen.changed[0].old == {"attribute:note": "x", "class": "car"}


def test_annotations_of_a_deleted_class_went_with_it(story: Story) -> None:
    """Nobody deleted them one by one, so nobody is named for it."""
    story.labels = (BUS,)
    gone = story.shape(1)
    story.shown.clear()

    [draft] = story.carry_out(story.look())

    assert draft.fact == JobSchemaChanged(labels=(BUS,), removed=(gone,))
    row = story.tables.get(jobs.REMOVED, "main", JOB, "shape", 1)
    assert row is not None
    assert row.by_schema


def test_a_new_default_carries_those_who_had_the_old_one(story: Story) -> None:
    """CVAT fills defaults in when it is asked: untouched shapes read differently."""
    story.put(noted(2, note="none"))
    story.carry_out(story.look())
    other = msgspec.structs.replace(TEXT, default_value="later")
    story.labels = (msgspec.structs.replace(CAR, attributes=(other,)), BUS)
    story.shown["shape", 2] = noted(2, note="later")

    [draft] = story.carry_out(story.look())

    [change] = facts([draft], JobSchemaChanged)[0].carried
    assert (change.id, change.new) == (2, {"attribute:note": "later"})


def test_attributes_that_come_rename_and_go_are_carried(story: Story) -> None:
    """The three ways in which a schema alone changes what an annotation says."""
    renamed = msgspec.structs.replace(TEXT, name="remark")
    extra = AttributeSpec(name="extra", id=12, default_value="e")
    story.labels = (msgspec.structs.replace(CAR, attributes=(renamed, extra)), BUS)
    told = {"remark": "x", "extra": "e"}
    story.shown["shape", 1] = msgspec.structs.replace(story.shape(1), attributes=told)
    first = story.carry_out(story.look())
    story.labels = (msgspec.structs.replace(CAR, attributes=(extra,)), BUS)
    story.shown["shape", 1] = msgspec.structs.replace(story.shape(1), attributes={"extra": "e"})
    second = story.carry_out(story.look())

    assert [type(draft.fact) for draft in (*first, *second)] == [JobSchemaChanged] * 2
    assert facts(second, JobSchemaChanged)[0].carried[0].old == {"attribute:remark": "x"}


def test_other_ids_for_the_same_names_are_a_schema_change_without_effect(story: Story) -> None:
    """A task that moved into a project: no annotation reads differently."""
    story.labels = (msgspec.structs.replace(CAR, id=51), msgspec.structs.replace(BUS, id=52))

    [draft] = story.carry_out(story.look())

    assert draft.fact == JobSchemaChanged(labels=story.labels)


def test_keyframes_of_a_track_are_carried_one_by_one() -> None:
    """Mutable attributes stand at keyframes."""
    told = Story()
    told.labels = (CAR,)
    keys = tuple(Keyframe(frame=n, type="rectangle", attributes={"note": "none"}) for n in (0, 4))
    track = Track(id=1, frame=0, label="car", keyframes=keys)
    told.put(track, Tag(id=2, frame=0, label="car", attributes={"note": "x"}), by=None)
    told.carry_out(told.look())
    told.labels = (
        msgspec.structs.replace(
            CAR, attributes=(msgspec.structs.replace(TEXT, default_value="later"),)
        ),
    )
    later = tuple(msgspec.structs.replace(key, attributes={"note": "later"}) for key in keys[:1])
    told.put(msgspec.structs.replace(track, keyframes=later))

    drafts = told.carry_out(told.look())

    [schema] = facts(drafts, JobSchemaChanged)
    [seen] = facts(drafts, AnnotationsObserved)
    assert schema.carried[0].new["keyframes"][0]["attributes"] == {"note": "later"}  # type: ignore[index]
    assert seen.changed[0].new["keyframes"] != seen.changed[0].old["keyframes"]


# The server was restored, readings cross


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"updated_date": date(-500)}, "went back"),
        (
            {"job": JobDiscovered(task=5, start_frame=0, stop_frame=9, created_date=date(3))},
            "created_date",
        ),
    ],
)
def test_a_server_that_was_restored_freezes_and_deletes_nothing(
    story: Story, members: dict[str, Any], told: str
) -> None:
    """Ids may belong to other work now; a person decides."""
    story.shown.clear()

    [draft] = story.carry_out(story.look(**members))

    assert isinstance(draft.fact, ServerChanged)
    assert told in draft.fact.reason
    assert story.job().condition == "frozen"
    assert story.look().drafts == ()


def test_a_reading_that_was_overtaken_freezes_nothing(story: Story) -> None:
    """Two looks at one job crossed; the older one has nothing to say any more."""
    stale = story.reading(version=1)
    story.put(drawn(2))
    story.carry_out(story.look())

    decision = observe(story.tables, "main", JOB, stale)

    assert decision.drafts == ()


# Authors that come late


def test_a_late_delivery_names_the_author_and_changes_no_event(story: Story) -> None:
    """Newer servers repeat a delivery for days."""
    story.put(moved(story.shape(1)), by=None)
    [draft] = story.carry_out(story.look())
    position = len(story.log)
    story.deliver(1, 2, BOB)

    learned = story.carry_out(late_authors(story.tables, "main", JOB))

    assert draft.evidence == "unknown"
    assert [one.fact for one in learned] == [ActorLearned(position=position, actors=("main/2",))]
    assert late_authors(story.tables, "main", JOB).drafts == []


def test_a_late_delivery_that_leaves_a_gap_names_nobody(story: Story) -> None:
    """One of two came late, the other never."""
    story.put(moved(story.shape(1)), by=None)
    story.put(moved(story.shape(1)), by=None)
    story.carry_out(story.look())
    story.deliver(2, 3, BOB)

    assert late_authors(story.tables, "main", JOB).drafts == []
