"""What the jobs fold makes of observations: which annotations there are, and who touched them."""

from __future__ import annotations

import msgspec
import pytest

from events.annotations import Annotation, Kind, Shape, Tag, Track
from events.job import AnnotationsObserved, Change, JobSchemaChanged
from events.registry import Fact
from events.server import DeliveriesFilled
from projections.facets import with_facets
from projections.jobs import ANNOTATIONS, HOOKS, JOBS, REMOVED
from tests.projections.story import JOB, Story, box, drawn, moved, sample

STREAM = f"job/main/{JOB}"
PLACE = ("main", JOB, "shape")


@pytest.fixture
def story() -> Story:
    """A job that two people may have drawn in."""
    story = Story()
    story.open(sample(1, box(1)))
    story.annotate()
    return story


def observed(**members: object) -> AnnotationsObserved:
    """Return what one look at the job found."""
    return msgspec.convert({"updated_date": "2026-01-01T00:00:09Z"} | members, AnnotationsObserved)


def test_what_an_undo_brings_back_is_not_among_the_removed(story: Story) -> None:
    """It keeps its old id; a row that calls it removed would name a remover of what is there."""
    low, high = drawn(60), drawn(70)
    story.tell(STREAM, observed(added=(low, high)))
    story.tell(STREAM, observed(removed=(high,)))
    story.tell(STREAM, observed(removed=(low,)))

    story.tell(STREAM, observed(added=(low,)))

    assert story.tables.get(REMOVED, *PLACE, 60) is None
    assert story.tables.get(REMOVED, *PLACE, 70) is not None
    assert story.tables.get(ANNOTATIONS, *PLACE, 60) is not None
    assert story.job().removed_id == 70


def test_annotations_of_several_kinds_go_by_the_same_id(story: Story) -> None:
    """CVAT numbers tags, shapes and tracks each by themselves."""
    kinds: dict[Kind, Annotation] = {
        "shape": drawn(60),
        "tag": Tag(id=60, frame=0, label="car"),
        "track": Track(id=60, frame=0, label="car"),
    }
    story.tell(STREAM, observed(added=tuple(kinds.values())))
    changes = [{"kind": kind, "id": 60, "frame": 0, "new": {"class": kind}} for kind in kinds]
    story.tell(STREAM, observed(changed=tuple(changes)))

    story.tell(STREAM, observed(removed=(kinds["shape"], kinds["track"])))

    for kind, annotation in kinds.items():
        place = ("main", JOB, kind, 60)
        there, gone = story.tables.get(ANNOTATIONS, *place), story.tables.get(REMOVED, *place)
        assert (there is None) == (kind != "tag")
        found = there or gone
        assert found is not None
        assert found.annotation == msgspec.structs.replace(annotation, label=kind)


def test_a_facet_is_dated_by_the_last_event_that_set_it_or_took_it_away(story: Story) -> None:
    """A merge asks at which position a value came to be, facet by facet."""
    drawn_at = story.tell(STREAM, observed(added=(drawn(60, attributes={"note": "x"}),)))
    points = list(moved(drawn(60)).points)
    changes: list[dict[str, object]] = [
        {"old": {"geometry": [1, 2, 31, 42]}, "new": {"geometry": points}},
        {"old": {"attribute:note": "x", "class": "car"}, "new": {"class": "bus"}},
    ]

    first, second = (
        story.tell(STREAM, observed(changed=({"kind": "shape", "id": 60, "frame": 0} | change,)))
        for change in changes
    )

    row = story.tables.get(ANNOTATIONS, *PLACE, 60)
    assert row is not None
    assert (row.added, row.touched) == (
        drawn_at,
        {"geometry": first, "class": second, "attribute:note": second},
    )
    assert row.annotation == msgspec.structs.replace(moved(drawn(60)), label="bus")


MOVED = {"old": {"geometry": [1]}, "new": {"geometry": [2]}}


@pytest.mark.parametrize(("facts", "why"), [
    ({"changed": ({"kind": "shape", "id": 99, "frame": 0},)}, "has no shape 99"),
    ({"changed": ({"kind": "shape", "id": 1, "frame": 0},)}, "changes nothing of shape 1"),
    ({"changed": ({"kind": "shape", "id": 1, "frame": 0, "new": {"group": 2}},) * 2}, "twice"),
    ({"changed": ({"kind": "shape", "id": 1, "frame": 0, **MOVED},) * 2}, "twice"),
    ({"removed": (drawn(99),)}, "has no shape 99"),
])  # fmt: skip
def test_an_observation_that_does_not_fit_what_was_there_is_our_own_mistake(
    story: Story, facts: dict[str, object], why: str
) -> None:
    """To skip it would leave a state that no longer follows from the log."""
    with pytest.raises(AssertionError, match=why):
        story.tell(STREAM, observed(**facts))


def test_a_schema_changes_an_annotation_once(story: Story) -> None:
    """It cannot look two ways by the names of today."""
    renamed = Change(kind="shape", id=1, frame=0, old={"class": "car"}, new={"class": "van"})
    with pytest.raises(AssertionError, match="carries one twice"):
        story.tell(STREAM, JobSchemaChanged(labels=(), carried=(renamed, renamed)))


def test_changed_facets_come_in_as_the_types_that_the_annotation_has() -> None:
    """Facts hold plain JSON; a list in place of a tuple would make equal annotations differ."""
    track = Track(id=1, frame=0, label="car", attributes={"a": "1", "c": "3"})
    keyframe = {"frame": 2, "type": "rectangle", "points": [1.0, 2.0, 3.0, 4.0]}

    found = with_facets(
        track, {"attribute:a": "1"}, {"keyframes": [keyframe], "attribute:b": ["x", "y"]}
    )
    box = with_facets(drawn(1), {"geometry": []}, {"geometry": [0.0, 1.0]})

    assert isinstance(found, Track)
    assert found.keyframes[0].points == (1.0, 2.0, 3.0, 4.0)
    assert list(found.attributes.items()) == [("b", ("x", "y")), ("c", "3")]
    assert isinstance(box, Shape)
    assert box.points == (0.0, 1.0)


def test_a_job_knows_how_many_annotations_it_holds(story: Story) -> None:
    """Pages count jobs of 100,000 shapes without reading them."""
    facts: list[Fact] = [observed(added=(drawn(60), drawn(61))), observed(removed=(drawn(60),))]
    before = story.job().annotations

    for fact in facts:
        story.tell(STREAM, fact)

    row = story.tables.get(JOBS, "main", JOB)
    assert row is not None
    assert row.annotations == before + 1


def test_a_row_keeps_nothing_of_the_event_it_appeared_with(story: Story) -> None:
    """One box of a thousand may stay: it must not keep the others' bytes."""
    story.tell(STREAM, observed(added=[drawn(number) for number in range(60, 1_060)]))

    row = story.tables.get(ANNOTATIONS, *PLACE, 60)

    assert row is not None
    assert row.spelled.copy() is row.spelled


def test_the_furthest_reader_of_a_list_of_deliveries_is_kept(story: Story) -> None:
    """A round and `hook backfill` may read one list at once, and end in any order."""
    for upto in (40, 90, 60):
        filled = DeliveriesFilled(webhook=3, upto=upto, read=upto, new=0, complete=True)
        story.tell("server/main", filled)

    row = story.tables.get(HOOKS, "main", 3)
    assert row is not None
    assert row.upto == 90
