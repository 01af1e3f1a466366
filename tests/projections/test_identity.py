"""A label keeps its address, whatever CVAT and people do to ids and attributes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from events.annotations import Shape
from events.run import LabelsLinked, LabelsMerged, Link
from projections import identity, merge, runs
from projections.matching import same_facet
from projections.rivals import RIVALS_MAX
from projections.upload import FieldRequest
from tests.projections.story import (
    BOB,
    CAROL,
    JOB,
    Story,
    box,
    drawn,
    facts,
    having,
    moved,
    oid,
    renumbered,
    sample,
)

CLASSES = ("bus", "car")


def told(*boxes: int) -> Story:
    """Return a run over two samples; the first has these boxes, all at one place."""
    story = Story()
    story.open(sample(0, *(box(number) for number in boxes or (10,))), sample(1, box(50)))
    story.annotate(FieldRequest(name="gt", classes=CLASSES))
    return story


def linked(story: Story) -> list[Link]:
    """Look, and return the links that were decided."""
    story.carry_out(story.look())
    drafts = story.carry_out(merge.identify(story.tables, "main", JOB))
    return [link for fact in facts(drafts, LabelsLinked) for link in fact.links]


def part_of(story: Story, number: int, *, sample: int = 0) -> list[int]:
    row = story.tables.get(runs.TRACKED, "d", "k", oid(sample), 0, "gt", oid(number))
    assert row is not None
    return [part.id for part in row.parts]


def test_renewed_ids_are_known_by_their_label_id() -> None:
    """PUT without ids: all get new ones, and none of them is a new label."""
    story = told(10, 11)
    old = [story.shape(1), story.shape(2)]
    story.put(*(renumbered(shape, shape.id + 20) for shape in old), gone=old)

    links = linked(story)

    assert [(link.label, link.method, link.confidence) for link in links] == [
        (oid(10), "label_id", 1.0),
        (oid(11), "label_id", 1.0),
    ]
    assert story.merged() == []


def test_a_cleared_label_id_is_known_by_the_cvat_id() -> None:
    """Somebody takes the attribute for clutter."""
    story = told()
    story.put(having(moved(story.shape(1)), label_id=""))

    assert linked(story) == []
    [edit] = facts(story.merged(), LabelsMerged)[0].edits
    assert (edit.label, edit.operation) == (oid(10), "changed")


def test_without_label_id_and_with_a_new_id_the_exact_place_decides() -> None:
    """Surely enough, and less surely than an id."""
    story = told()
    shape = moved(story.shape(1))
    story.put(shape)
    story.observed()
    story.put(renumbered(shape, 9, label_id=""), gone=[shape])

    [link] = linked(story)

    assert (link.label, link.method, link.confidence) == (oid(10), "exact geometry", 0.9)


def test_ids_renewed_and_label_ids_cleared_time_and_again_lead_back_all_the_same() -> None:
    """Each look knows what the one before it knew, though nothing was merged for days."""
    story = told()
    shape = having(story.shape(1), label_id="")
    story.put(shape)
    story.observed()
    for number in (21, 22, 23):
        shape = moved(shape, 1.0)
        story.put(shape)
        story.observed()
        story.put(renumbered(shape, number), gone=[shape])
        shape = renumbered(shape, number)
        story.observed()

    drafts = story.merged()

    assert part_of(story, 10) == [23]
    assert [edit.operation for fact in facts(drafts, LabelsMerged) for edit in fact.edits] == [
        "changed"
    ]


def test_a_copy_on_the_same_image_is_a_new_label_that_tells_where_it_comes_from() -> None:
    """CVAT pastes attributes too."""
    story = told()
    story.put(renumbered(moved(story.shape(1)), 8))

    [link] = linked(story)

    assert (link.method, link.copied_from) == ("new", oid(10))
    assert link.label != oid(10)
    assert part_of(story, 10) == [1]


def test_a_copy_on_another_image_is_a_new_label_there() -> None:
    """A label cannot move to another image."""
    story = told()
    copy = msgspec.structs.replace(renumbered(story.shape(1), 8), frame=1)
    story.put(copy)

    [link] = linked(story)

    assert (link.sample, link.method, link.copied_from) == (oid(1), "new", oid(10))


def test_a_box_that_was_put_on_another_image_left_its_own() -> None:
    """Only the API can do that: gone here, new there."""
    story = told()
    story.put(msgspec.structs.replace(story.shape(1), frame=1))

    drafts = story.merged()

    operations = [e.operation for fact in facts(drafts, LabelsMerged) for e in fact.edits]
    assert operations == ["removed", "added"]
    assert story.ids() == []
    assert len(story.ids(sample=1)) == 2


def test_of_original_and_copy_that_both_got_new_ids_each_is_known_by_its_looks() -> None:
    """Both carry one label_id; neither takes the other's place."""
    story = told()
    original, copy = story.shape(1), renumbered(moved(story.shape(1)), 8)
    story.put(copy)
    [first] = linked(story)
    story.put(renumbered(copy, 20), renumbered(original, 21), gone=[original, copy])

    links = {link.label: link.parts[0].id for link in linked(story)}

    assert links == {oid(10): 21, first.label: 20}


def test_a_copy_on_another_image_is_known_by_the_label_id_it_carries() -> None:
    """It names another label; it is a sign all the same."""
    story = told()
    copy = msgspec.structs.replace(renumbered(story.shape(1), 8), frame=1)
    story.put(copy)
    [first] = linked(story)
    story.put(renumbered(moved(copy), 20), gone=[copy])

    [link] = linked(story)

    assert (link.label, link.method) == (first.label, "label_id")


def test_two_boxes_that_swapped_their_places_are_who_they_were() -> None:
    """Ids say so, geometry says otherwise."""
    story = told(10, 11)
    first, second = story.shape(1), moved(story.shape(2))
    story.put(second)
    story.merged()
    story.put(
        msgspec.structs.replace(first, points=second.points),
        msgspec.structs.replace(second, points=first.points),
    )

    drafts = story.merged()

    edits = {e.label: e.facets for fact in facts(drafts, LabelsMerged) for e in fact.edits}
    assert edits[oid(10)] == {"geometry": list(second.points)}
    assert edits[oid(11)] == {"geometry": list(first.points)}


def test_several_labels_at_one_place_are_paired_one_to_one() -> None:
    """Nobody can tell which is which; none is lost and none is new."""
    story = told(10, 11, 12)
    old = list(story.shown.values())[:3]
    story.put(*(renumbered(one, one.id + 20, label_id="") for one in old), gone=old)

    links = linked(story)

    assert sorted(link.label for link in links) == [oid(10), oid(11), oid(12)]
    assert len({link.parts[0].id for link in links}) == 3
    assert story.merged() == []


def test_one_more_box_at_the_place_of_another_is_new() -> None:
    """One label, one annotation."""
    story = told()
    story.put(renumbered(story.shape(1), 8, label_id=""))

    [link] = linked(story)

    assert (link.method, link.copied_from) == ("new", None)


def test_a_label_that_was_merged_away_is_not_taken_up_by_a_box_at_its_place() -> None:
    """Somebody drew there again: that is a new label, not the old one with its old values."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape])
    story.merged()
    story.put(renumbered(shape, 30, label_id=""))

    [link] = linked(story)

    assert link.method == "new"


def test_a_label_id_that_two_values_claim_is_no_sign() -> None:
    """CVAT stores two values for one attribute."""
    story = told()
    values = {**story.shape(1).attributes, "label_id": (oid(10), oid(50))}
    odd = msgspec.structs.replace(moved(story.shape(1)), id=8, attributes=values)
    story.put(odd)

    [link] = linked(story)

    assert (link.method, link.copied_from) == ("new", None)


def test_a_label_id_of_nobody_is_no_claim() -> None:
    """Anybody may type anything."""
    story = told()
    story.put(drawn(8, attributes={"label_id": "me"}))

    [link] = linked(story)

    assert (link.method, link.copied_from) == ("new", None)


def test_hostile_masses_of_copies_cost_no_more_than_their_number() -> None:
    """Thousands of boxes with one label_id: some are told apart, the rest is new."""
    story = told()
    shape = story.shape(1)
    copies = [renumbered(moved(shape, n / 100), 1_000 + n) for n in range(1, 3_000)]
    story.put(*copies, gone=[shape])

    links = linked(story)

    assert len(links) == len(copies)
    assert [link.label for link in links if link.method == "label_id"] == [oid(10)]
    assert len(copies) > RIVALS_MAX


def test_the_same_id_in_two_fields_leads_to_the_field_of_the_class() -> None:
    """FiftyOne copies label ids when it clones a field."""
    story = Story()
    twin = {"_cls": "Detections", "detections": [box(10, label="dog")]}
    other = {"name": "other", "embedded_doc_type": "fiftyone.core.labels.Detections"}
    story.open(sample(0, box(10), other=twin), fields=[other])
    story.annotate(FieldRequest(name="gt"), FieldRequest(name="other"))
    car = next(one for one in story.shown.values() if one.label == "car")
    dog = next(one for one in story.shown.values() if one.label == "dog")
    story.put(renumbered(car, 21), renumbered(dog, 22), gone=[car, dog])

    links = {link.field: link.parts[0].id for link in linked(story)}

    assert links == {"gt": 21, "other": 22}
    assert story.merged() == []


# Id, label_id and place lost at once


def redrawn(shape: Shape, number: int, by_px: float = 4.0, **members: Any) -> Shape:
    """Return a box as a tool saves it that knows neither ids nor `label_id`, a little off."""
    lost: Shape = renumbered(moved(shape, by_px), number, label_id="")
    return msgspec.structs.replace(lost, **members)


def test_what_lost_id_label_id_and_place_in_one_save_is_known_by_the_best_assignment() -> None:
    """The label keeps its address, and all that CVAT never saw of it."""
    story = told()
    shape = story.shape(1)
    before = story.document(10)
    story.put(redrawn(shape, 9), gone=[shape])

    [link] = linked(story)
    drafts = story.merged()

    assert (link.label, link.method) == (oid(10), "assignment")
    # Of 50 × 50 pixels 46 × 46 are in both.
    assert link.confidence == round(46**2 / (2 * 50**2 - 46**2), 3)
    [edit] = [edit for fact in facts(drafts, LabelsMerged) for edit in fact.edits]
    assert (edit.operation, list(edit.facets)) == ("changed", ["geometry"])
    assert drafts[0].actor == f"main/{BOB}"
    after = story.document(10)
    assert before is not None
    assert after is not None
    assert {**after, "bounding_box": None} == {**before, "bounding_box": None}


def test_a_save_that_a_look_splits_is_one_save() -> None:
    """Deleted at one look, there again at the next one."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape])
    story.observed()
    story.put(redrawn(shape, 9))

    assert [link.method for link in linked(story)] == ["assignment"]


def test_what_is_drawn_long_after_something_was_deleted_there_is_new() -> None:
    """Nothing was loaded meanwhile, so the dataset holds the old one still."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape])
    story.observed()
    story.second += 100
    story.put(redrawn(shape, 9))

    assert [link.method for link in linked(story)] == ["new"]


def test_another_class_in_the_place_of_a_deleted_box_is_another_object() -> None:
    """An edit would hand all that the dataset knows of the car on to the bus."""
    story = told()
    shape = story.shape(1)
    story.put(redrawn(shape, 9, label="bus"), gone=[shape])

    drafts = story.merged()

    edits = [edit for fact in facts(drafts, LabelsMerged) for edit in fact.edits]
    assert [edit.operation for edit in edits] == ["removed", "added"]


def test_a_copy_that_is_pasted_near_a_deleted_box_stays_a_copy() -> None:
    """Its `label_id` says whose."""
    story = told(10, 11)
    first, second = story.shape(1), moved(story.shape(2), 6.0)
    story.put(second)
    story.merged()
    story.put(renumbered(moved(first, 5.0), 9), gone=[second])

    [link] = linked(story)

    assert (link.method, link.copied_from) == ("new", oid(10))


def test_an_ellipse_near_a_deleted_box_is_none() -> None:
    """It has four numbers, too: a centre and two radii."""
    story = told()
    shape = story.shape(1)
    story.put(redrawn(shape, 9, type="ellipse"), gone=[shape])

    assert linked(story) == []


def test_who_drew_a_box_that_may_be_another_one_is_told_with_whoever_may_have() -> None:
    """Bob drew it; Carol redrew it, or deleted it and drew one of her own there."""
    story = told()
    story.put(drawn(8), by=BOB)
    story.observed()
    story.put(redrawn(drawn(8), 9, by_px=2.0), gone=[drawn(8)], by=CAROL)

    [draft] = story.merged()

    assert (draft.actor, draft.evidence) == (f"main/{BOB},main/{CAROL}", "several")


def test_of_two_boxes_near_a_deleted_one_the_nearer_one_is_it_and_the_other_one_is_new() -> None:
    """Which of them Bob's was nobody can tell for sure: both may be by him, or by Carol."""
    story = told()
    story.put(drawn(8), by=BOB)
    story.observed()
    near, far = redrawn(drawn(8), 9, by_px=1.0), redrawn(drawn(8), 10, by_px=2.0)
    story.put(far, near, gone=[drawn(8)], by=CAROL)

    links = {link.parts[0].id: link.method for link in linked(story)}
    drafts = story.merged()

    assert links == {9: "assignment", 10: "new"}
    assert [draft.actor for draft in drafts] == [f"main/{BOB},main/{CAROL}"]


def test_more_pairs_than_can_be_weighed_are_deleted_and_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is past the limit is in the log as what it looks like; what fits is known again."""
    monkeypatch.setattr(identity, "PAIRS_MAX", 5)
    story = told(10, 11, 12)
    old = list(story.shown.values())
    new = [redrawn(story.shape(one.id), one.id + 20) for one in old]
    story.put(*new, gone=old)

    methods = Counter(link.method for link in linked(story))

    assert methods == {"new": 3, "assignment": 1}


def test_geometry_of_another_length_is_another_geometry() -> None:
    """A polygon may gain a corner."""
    assert not same_facet("geometry", [1.0, 2.0], [1.0, 2.0, 3.0])
    assert not same_facet("geometry", None, [1.0])
    assert same_facet("geometry", [1.0], [1.0005])
    assert not same_facet("rotation", 1.0, 1.0005)
