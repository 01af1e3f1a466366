"""The three-way merge: what CVAT changed comes home, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from events.annotations import AttributeSpec, Shape, Tag
from events.dataset import DatasetLabelsChanged, LabelChange
from events.job import JobDeleted, JobSchemaChanged
from events.run import (
    ConflictRaised,
    EditRejected,
    LabelEdit,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    MergeHeld,
    MergeReleased,
    QuarantineResolved,
    RunCleanedUp,
    Tripwire,
)
from projections import merge, outcome, runs
from projections.codec.fiftyone import UnexpectedValue
from projections.decision import Draft
from projections.pending import resolve
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
WEATHER = {"name": "weather", "embedded_doc_type": "fiftyone.core.labels.Classification"}


def told(*fields: FieldRequest, boxes: int = 1, **options: Any) -> Story:
    """Return a run over two samples; the first one has boxes 10, 11, …"""
    story = Story()
    labels = [box(10 + n, score=0.5, crowd=False, conf={"$number": "1.0"}) for n in range(boxes)]
    story.open(sample(0, *labels), sample(1))
    story.annotate(*(fields or (FieldRequest(name="gt", classes=CLASSES),)), **options)
    return story


def edits(drafts: list[Draft]) -> list[LabelEdit]:
    """Return the edits that were merged."""
    return [edit for fact in facts(drafts, LabelsMerged) for edit in fact.edits]


def relabelled(shape: Shape, label: str) -> Shape:
    return msgspec.structs.replace(shape, label=label)


# What comes home


def test_only_the_facet_that_changed_is_written_and_all_else_keeps_its_bytes() -> None:
    """Relative to pixel and back changes two boxes of three in the last bit."""
    story = told()
    before = story.document(10)
    story.put(relabelled(story.shape(1), "bus"))

    [draft] = story.merged()

    [edit] = facts([draft], LabelsMerged)[0].edits
    assert (edit.old, edit.new) == ({"label": "car"}, {"label": "bus"})
    assert (draft.actor, draft.evidence) == ("main/2", "webhook")
    assert before is not None
    assert story.document(10) == {**before, "label": "bus"}


def test_a_move_is_told_in_fractions_of_the_image() -> None:
    """Frame 200 × 100 pixels, 10 to the right and down."""
    story = told()
    story.put(moved(story.shape(1)))

    story.merged()

    document = story.document(10)
    assert document is not None
    assert document["bounding_box"] == pytest.approx([0.15, 0.3, 0.25, 0.5])
    assert document["conf"] == {"$number": "1.0"}


def test_two_people_who_edit_one_label_are_two_events() -> None:
    """Each with what is theirs."""
    story = told()
    story.put(moved(story.shape(1)), by=BOB)
    story.observed()
    story.put(relabelled(story.shape(1), "bus"), by=CAROL)

    drafts = story.merged()

    assert {draft.actor: list(draft.fact.edits[0].facets) for draft in drafts} == {  # type: ignore[attr-defined]
        "main/2": ["geometry"],
        "main/3": ["class"],
    }


def test_merging_again_brings_nothing() -> None:
    """Loading twice changes nothing."""
    story = told()
    story.put(moved(story.shape(1)), drawn(8), gone=[])
    story.merged()

    assert merge.decide(story.tables, "main", JOB).drafts == []


def test_what_cvat_trims_and_fills_in_is_no_edit() -> None:
    """Texts come back trimmed, absent values as the default: our base knows that."""
    story = Story()
    story.open(sample(0, box(10, note=" a "), box(11)))
    note = AttributeSpec(name="note", default_value="none")
    uploaded = story.annotate(FieldRequest(name="gt", classes=CLASSES, attributes=(note,)))

    assert [one.annotation.attributes["note"] for one in uploaded.labels] == ["a", "none"]
    assert story.merged() == []
    assert story.document(10) == box(10, note=" a ")


def test_a_geometry_within_the_tolerance_is_no_edit() -> None:
    """CVAT's clients round; a thousandth of a pixel is nobody's edit."""
    story = told()
    story.put(moved(story.shape(1), by_px=0.0005))

    assert story.merged() == []


def test_a_facet_that_the_field_does_not_hold_is_no_edit() -> None:
    """Occlusion has no member in a Detection; it is recorded, and changes no label."""
    story = told()
    story.put(msgspec.structs.replace(story.shape(1), occluded=True, z_order=3))

    assert story.merged() == []


def test_an_edit_that_is_taken_back_in_cvat_is_taken_back_here() -> None:
    """Moved, merged, moved back."""
    story = told()
    first = story.shape(1)
    story.put(moved(first))
    story.merged()
    story.put(first)

    [edit] = edits(story.merged())

    assert edit.facets.keys() == {"geometry"}
    document = story.document(10)
    assert document is not None
    assert document["bounding_box"] == pytest.approx([0.1, 0.2, 0.25, 0.5])


def test_attributes_keep_the_type_that_the_field_has() -> None:
    """CVAT knows text alone."""
    story = told()
    story.put(having(story.shape(1), score="0.75", crowd="true"))

    [edit] = edits(story.merged())

    assert edit.new == {"score": 0.75, "crowd": True}


def test_an_attribute_that_was_emptied_goes() -> None:
    """The empty text is no value."""
    story = told()
    story.put(having(story.shape(1), score=""))

    [edit] = edits(story.merged())

    assert (edit.old, edit.new) == ({"score": 0.5}, {})
    assert "score" not in (story.document(10) or {})


# Labels that come and go


def test_a_drawn_box_becomes_a_label_with_an_id_of_its_own() -> None:
    """The same annotation gives the same id, whoever asks."""
    story = told()
    story.put(drawn(8))

    drafts = story.merged()

    [edit] = edits(drafts)
    assert edit.operation == "added"
    assert edit.new is not None
    assert edit.new["_id"] == {"$oid": edit.label}
    assert edit.new["bounding_box"] == [0.005, 0.02, 0.15, 0.4]
    assert len(edit.label) == 24
    assert story.ids() == [oid(10), edit.label]


def test_a_box_drawn_by_one_and_moved_by_another_names_both() -> None:
    """Its values are of two hands."""
    story = told()
    story.put(drawn(8), by=BOB)
    story.observed()
    story.put(moved(drawn(8)), by=CAROL)

    [draft] = story.merged()

    assert (draft.actor, draft.evidence) == ("main/2,main/3", "several")


def test_a_deleted_box_is_removed_whole_and_named() -> None:
    """What goes can be put back."""
    story = told()
    document = story.document(10)
    story.put(gone=[story.shape(1)], by=CAROL)

    [draft] = story.merged()

    [edit] = facts([draft], LabelsMerged)[0].edits
    assert (edit.operation, edit.old, edit.new) == ("removed", document, None)
    assert draft.actor == "main/3"
    assert story.ids() == []


@pytest.mark.parametrize("number", [1, 55])
def test_an_undo_of_a_merged_deletion_brings_the_label_back_whole(number: int) -> None:
    """Under its own id, with members that CVAT never saw; by its CVAT id, or by its label_id."""
    story = told()
    document = story.document(10)
    shape = story.shape(1)
    story.put(gone=[shape])
    story.merged()
    story.put(renumbered(shape, number), by=CAROL)

    drafts = story.merged()

    [edit] = edits(drafts)
    assert edit.operation == "added"
    assert story.document(10) == document
    assert drafts[-1].actor == "main/3"


def test_a_box_that_was_drawn_and_deleted_comes_back_under_its_id() -> None:
    """Without a label_id its CVAT id leads back: CVAT never gives one twice."""
    story = told()
    story.put(drawn(8))
    [first] = edits(story.merged())
    story.put(gone=[drawn(8)])
    story.merged()
    story.put(drawn(8))

    [edit] = edits(story.merged())

    assert (edit.operation, edit.label) == ("added", first.label)


def test_what_comes_back_changed_comes_back_in_one_piece() -> None:
    """The deletion is undone and the box moved before anybody looks."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape])
    story.merged()
    story.put(having(moved(shape), score="abc"))

    drafts = story.merged()

    [edit] = edits(drafts)
    assert edit.operation == "added"
    assert edit.new is not None
    assert edit.new["bounding_box"] == pytest.approx([0.15, 0.3, 0.25, 0.5])
    [rejected] = facts(drafts, EditRejected)
    assert rejected.edits[0].facets == {"attribute:score": "abc"}


def test_what_was_refused_before_a_label_went_is_not_raised_when_it_is_back_as_agreed() -> None:
    """Found by fuzzing: each load recorded once more that the box is where it always was."""
    story = told()
    shape, document = story.shape(1), story.document(10)
    story.put(msgspec.structs.replace(shape, points=(*shape.points, 1.0, 2.0)))
    [refused] = facts(story.merged(), EditRejected)
    story.put(gone=[shape])
    story.merged()
    story.put(shape)

    [edit] = edits(story.merged())

    assert refused.edits[0].facets.keys() == {"geometry"}
    assert (edit.operation, edit.new) == ("added", document)
    assert story.merged() == []


def test_a_box_that_became_a_tag_is_refused_and_stays() -> None:
    """Found by fuzzing: whoever draws a tag with the box's `label_id` stopped every merge."""
    story = told()
    shape, document = story.shape(1), story.document(10)
    became = Tag(id=9, frame=0, label="car", attributes={"label_id": oid(10)})
    story.put(became, gone=[shape])

    rejected = facts(story.merged(), EditRejected)

    assert [one for one in rejected if "a tag has none" in one.restriction]
    assert story.document(10) == document
    assert story.merged() == []


def test_a_label_drawn_and_deleted_before_any_merge_was_never_there() -> None:
    """It is in the job's record; the dataset never heard of it."""
    story = told()
    story.put(drawn(8))
    story.observed()
    story.put(gone=[drawn(8)])

    assert story.merged() == []


# Who did what, although ids were renewed


def test_renewing_ids_makes_nobody_the_author_of_what_others_did() -> None:
    """Bob moved it; Carol saved the whole job without ids."""
    story = told()
    shape = moved(story.shape(1))
    story.put(shape, by=BOB)
    story.observed()
    story.put(renumbered(shape, 9), gone=[shape], by=CAROL)

    drafts = story.merged()

    assert [draft.actor for draft in drafts] == ["main/2"]
    assert edits(drafts)[0].facets.keys() == {"geometry"}


def test_renewing_twice_between_two_merges_loses_no_author() -> None:
    """Neither of what was moved nor of what was drawn."""
    story = told()
    shape = moved(story.shape(1))
    story.put(shape, drawn(8), by=BOB)
    story.observed()
    for step in (20, 40):
        old, new = dict(story.shown), [renumbered(a, a.id + step) for a in story.shown.values()]
        story.put(*new, gone=old.values(), by=CAROL)
        story.observed()

    drafts = story.merged()

    assert {draft.actor for draft in drafts} == {"main/2"}
    assert {edit.operation for edit in edits(drafts)} == {"added", "changed"}


def test_renewing_and_moving_in_one_save_is_by_who_saved() -> None:
    """Both happened between two looks, by the one who saved."""
    story = told()
    shape = story.shape(1)
    story.put(renumbered(moved(shape), 9), gone=[shape], by=CAROL)

    drafts = story.merged()

    assert [draft.actor for draft in drafts] == ["main/3"] * len(drafts)


def test_a_value_that_came_between_two_looks_at_old_and_new_id_has_no_known_author() -> None:
    """Deleted in one look, back in another one with another value: anybody may have set it."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape], by=BOB)
    story.observed()
    story.put(renumbered(moved(shape), 9), by=CAROL)

    drafts = story.merged()

    assert edits(drafts)[0].facets.keys() == {"geometry"}
    assert drafts[-1].actor is None


def test_an_author_who_is_learned_late_is_named_in_the_merge() -> None:
    """The delivery came between the look and the merge."""
    from projections.observation import late_authors

    story = told()
    story.put(moved(story.shape(1)), by=None)
    story.observed()
    story.deliver(story.second - 1, story.second, BOB)
    story.carry_out(late_authors(story.tables, "main", JOB))

    [draft] = story.merged()

    assert (draft.actor, draft.evidence) == ("main/2", "webhook")


# Both sides


def test_what_both_sides_changed_is_a_conflict_and_the_datasets_value_stays() -> None:
    """No silent overwrite."""
    story = told()
    story.change(10, label="bus")
    story.put(relabelled(moved(story.shape(1)), "bus"))
    story.change(10, bounding_box=[0.5, 0.5, 0.1, 0.1])

    drafts = story.merged()

    [raised] = facts(drafts, ConflictRaised)
    [conflict] = raised.conflicts
    assert conflict.edit.facets.keys() >= {"geometry"}
    assert conflict.dataset == story.document(10)
    document = story.document(10)
    assert document is not None
    assert document["bounding_box"] == [0.5, 0.5, 0.1, 0.1]


def test_both_sides_the_same_value_is_no_conflict() -> None:
    """They agree."""
    story = told()
    story.change(10, label="bus")
    story.put(relabelled(story.shape(1), "bus"))

    drafts = story.merged()

    assert facts(drafts, ConflictRaised) == []
    assert story.waiting("conflict") == []
    row = story.tables.get(runs.TRACKED, "d", "k", oid(0), 0, "gt", oid(10))
    assert row is not None
    assert row.agreed["class"] == "bus"


def test_of_one_edit_only_the_facet_that_clashes_waits() -> None:
    """Bob moved a car and made it a bus: the dataset moved it, too, but nobody disputes the bus."""
    story = told()
    story.change(10, bounding_box=[0.5, 0.5, 0.1, 0.1])
    story.put(relabelled(moved(story.shape(1)), "bus"), by=BOB)

    drafts = story.merged()

    [edit] = edits(drafts)
    assert (edit.facets, edit.new) == ({"class": "bus"}, {"label": "bus"})
    [waiting] = story.waiting("conflict")
    assert waiting.edit is not None
    assert waiting.edit.facets.keys() == {"geometry"}
    document = story.document(10)
    assert document is not None
    assert (document["label"], document["bounding_box"]) == ("bus", [0.5, 0.5, 0.1, 0.1])
    story.carry_out(resolve(story.tables, waiting.id, "cvat"))
    document = story.document(10)
    assert document is not None
    assert (document["label"], document["bounding_box"][0]) == (
        "bus",
        waiting.edit.new["bounding_box"][0],
    )
    assert merge.decide(story.tables, "main", JOB).drafts == []


def test_different_facets_on_both_sides_meet() -> None:
    """The dataset's class, CVAT's place."""
    story = told()
    story.change(10, label="bus")
    story.put(moved(story.shape(1)))

    drafts = story.merged()

    assert facts(drafts, ConflictRaised) == []
    document = story.document(10)
    assert document is not None
    assert document["label"] == "bus"
    assert document["bounding_box"] != box(10)["bounding_box"]


@pytest.mark.parametrize("new", [{"label": "bus"}, {"tags": ["checked"]}])
def test_deleted_in_cvat_and_changed_in_the_dataset_is_a_conflict(new: dict[str, Any]) -> None:
    """Whatever was changed, also what CVAT never saw."""
    story = told()
    story.change(10, **new)
    story.put(gone=[story.shape(1)])

    drafts = story.merged()

    assert facts(drafts, LabelsMerged) == []
    assert story.waiting("conflict")[0].edit is not None
    assert story.ids() == [oid(10)]


def test_dates_that_fiftyone_keeps_are_no_change_of_the_dataset() -> None:
    """`last_modified_at` moves by itself."""
    story = told()
    story.change(10, last_modified_at={"$date": "2026-01-02T00:00:00Z"})
    story.put(gone=[story.shape(1)])

    assert [edit.operation for edit in edits(story.merged())] == ["removed"]


def test_changed_in_cvat_and_deleted_in_the_dataset_is_a_conflict() -> None:
    """The other way round."""
    story = told()
    story.remove(10)
    story.put(moved(story.shape(1)))

    drafts = story.merged()

    assert len(facts(drafts, ConflictRaised)) == 1
    assert story.ids() == []


def test_deleted_on_both_sides_is_agreed() -> None:
    """Nothing is left to say."""
    story = told()
    story.remove(10)
    story.put(gone=[story.shape(1)])

    drafts = story.merged()

    assert facts(drafts, ConflictRaised) == []
    assert merge.decide(story.tables, "main", JOB).drafts == []


def test_a_conflict_is_raised_once_and_closed_when_cvat_takes_its_edit_back() -> None:
    """`seen` moves on, `agreed` stays."""
    story = told()
    shape = story.shape(1)
    story.change(10, bounding_box=[0.5, 0.5, 0.1, 0.1])
    story.put(moved(shape))
    story.merged()
    story.put(having(story.shape(1), score="0.75"))
    second = story.merged()
    story.put(having(shape, score="0.75"))
    third = story.merged()

    assert facts(second, ConflictRaised) == []
    assert facts(third, ConflictRaised) == []
    assert story.waiting("conflict") == []
    document = story.document(10)
    assert document is not None
    assert (document["bounding_box"], document["score"]) == ([0.5, 0.5, 0.1, 0.1], 0.75)


def test_a_further_edit_of_what_is_in_conflict_replaces_what_waits() -> None:
    """One facet waits for one decision."""
    story = told()
    story.change(10, bounding_box=[0.5, 0.5, 0.1, 0.1])
    story.put(moved(story.shape(1)))
    story.merged()
    story.put(moved(story.shape(1), 20))

    [raised] = facts(story.merged(), ConflictRaised)

    [waiting] = story.waiting("conflict")
    assert waiting.id == raised.conflicts[0].id


def test_a_further_edit_of_part_of_what_is_in_conflict_replaces_that_part() -> None:
    """Carol moved on what Bob had moved and turned: his turn waits on, his place does not."""
    story = told()
    story.change(10, bounding_box=[0.5, 0.5, 0.1, 0.1], rotation=5.0)
    story.put(msgspec.structs.replace(moved(story.shape(1)), rotation=90.0), by=BOB)
    story.merged()
    latest = moved(story.shape(1), 20)
    story.put(latest, by=CAROL)
    story.merged()

    waiting = {tuple(row.edit.facets): row for row in story.waiting("conflict") if row.edit}
    assert waiting.keys() == {("geometry",), ("rotation",)}
    turned = waiting["rotation",].edit
    assert turned is not None
    assert (turned.old, turned.new) == ({"rotation": 5.0}, {"rotation": 90.0})
    for row in waiting.values():
        story.carry_out(resolve(story.tables, row.id, "cvat"))
    document = story.document(10)
    assert document is not None
    assert document["rotation"] == 90.0
    assert document["bounding_box"][:2] == pytest.approx([latest.points[0] / 200, 0.5])


def test_what_both_sides_brought_back_is_agreed_and_edits_of_it_clash_as_ever() -> None:
    """The dataset has it again under its id, at another place, and CVAT too."""
    story = told()
    shape, document = story.shape(1), story.document(10)
    assert document is not None
    story.put(gone=[shape])
    story.merged()
    again = document | {"bounding_box": [0.5, 0.5, 0.1, 0.1]}
    back = LabelChange(sample=oid(0), field="gt", label=oid(10), old=None, new=again)
    story.tell("dataset/d", DatasetLabelsChanged(changes=(back,)))
    story.put(shape)

    drafts = story.merged()
    story.put(moved(shape))
    story.merged()

    assert [(edit.operation, edit.facets) for edit in edits(drafts)] == [
        ("changed", {"exists": True})
    ]
    [waiting] = story.waiting("conflict")
    assert waiting.edit is not None
    assert waiting.edit.facets.keys() == {"geometry"}
    assert story.document(10) == again


# Restrictions


@pytest.mark.parametrize(
    ("restriction", "facet"),
    [
        ("allow_label_edits", "class"),
        ("allow_spatial_edits", "geometry"),
        ("allow_deletions", "exists"),
    ],
)
def test_what_a_restriction_forbids_is_recorded_as_rejected(restriction: str, facet: str) -> None:
    """Not taken over, not dropped, and raised once."""
    field = FieldRequest(name="gt", classes=CLASSES, **{restriction: False})
    story = told(field)
    before = story.document(10)
    shape = story.shape(1)
    if facet == "exists":
        story.put(gone=[shape])
    else:
        story.put(relabelled(shape, "bus") if facet == "class" else moved(shape))

    drafts = story.merged()

    [rejected] = facts(drafts, EditRejected)
    assert rejected.restriction == restriction
    assert list(rejected.edits[0].facets) == [facet]
    assert story.document(10) == before
    assert len(story.waiting("rejected")) == 1
    assert merge.decide(story.tables, "main", JOB).drafts == []


def test_additions_that_are_forbidden_are_recorded_as_rejected() -> None:
    """The box stays in CVAT, and in `pending`."""
    story = told(FieldRequest(name="gt", classes=CLASSES, allow_additions=False))
    story.put(drawn(8))

    drafts = story.merged()

    [rejected] = facts(drafts, EditRejected)
    assert rejected.restriction == "allow_additions"
    assert rejected.edits[0].new is not None
    assert story.ids() == [oid(10)]
    assert merge.decide(story.tables, "main", JOB).drafts == []


def test_a_rejected_addition_that_is_moved_waits_once_as_it_is_now() -> None:
    """It is not changed: for the dataset it is still to come."""
    story = told(FieldRequest(name="gt", classes=CLASSES, allow_additions=False))
    story.put(drawn(8))
    story.merged()
    story.put(moved(drawn(8)))
    story.merged()

    [waiting] = story.waiting("rejected")
    assert story.waiting("conflict") == []
    assert waiting.edit is not None
    assert waiting.edit.operation == "added"
    assert waiting.edit.facets["geometry"] == list(moved(drawn(8)).points)
    story.carry_out(resolve(story.tables, waiting.id, "cvat"))
    assert len(story.ids()) == 2
    assert story.merged() == []


def test_a_rejected_deletion_that_is_undone_waits_no_more() -> None:
    """Both sides have it again."""
    story = told(FieldRequest(name="gt", classes=CLASSES, allow_deletions=False))
    shape = story.shape(1)
    story.put(gone=[shape])
    story.merged()
    story.put(shape)

    story.merged()

    assert story.waiting("rejected") == []
    assert story.ids() == [oid(10)]


def test_edits_of_read_only_attributes_are_rejected_and_others_taken() -> None:
    """Attribute by attribute."""
    story = told()
    run = story.tables.get(runs.RUNS, "d", "k")
    assert run is not None
    [field] = run.request.fields
    request = msgspec.structs.replace(
        run.request, fields=(msgspec.structs.replace(field, read_only=("score",)),)
    )
    story.tables.put(runs.RUNS, msgspec.structs.replace(run, request=request))
    story.put(having(story.shape(1), score="0.75", crowd="true"))

    drafts = story.merged()

    assert facts(drafts, EditRejected)[0].restriction == "read_only"
    assert edits(drafts)[0].new == {"crowd": True}


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1,5"])
def test_a_value_that_the_field_cannot_hold_is_rejected_and_holds_up_no_other(text: str) -> None:
    """CVAT takes any text for a number."""
    story = told()
    story.put(having(moved(story.shape(1)), score=text))

    drafts = story.merged()

    [rejected] = facts(drafts, EditRejected)
    assert "float" in rejected.restriction
    assert rejected.edits[0].facets == {"attribute:score": text}
    assert [list(edit.facets) for edit in edits(drafts)] == [["geometry"]]


def test_two_values_for_one_attribute_are_rejected() -> None:
    """CVAT stores both and returns both."""
    story = told()
    values = {**story.shape(1).attributes, "score": ("0.1", "0.2")}
    story.put(msgspec.structs.replace(story.shape(1), attributes=values))

    [rejected] = facts(story.merged(), EditRejected)

    assert "two values" in rejected.restriction


# Quarantine


def test_an_annotation_that_fits_no_field_waits_in_quarantine_and_leaves_when_it_is_mended() -> (
    None
):
    """None is dropped; nothing is raised twice."""
    story = told()
    polygon = msgspec.structs.replace(drawn(8), type="polygon")
    story.put(polygon)
    first = story.merged()
    again = merge.decide(story.tables, "main", JOB).drafts
    story.put(drawn(9), gone=[polygon])
    last = story.merged()

    assert "polygon" in facts(first, LabelQuarantined)[0].reason
    assert again == []
    assert len(facts(last, QuarantineResolved)) == 1
    assert story.waiting("quarantine") == []
    assert len(story.ids()) == 2


def test_a_class_of_no_field_is_quarantined_and_mended_by_relabelling() -> None:
    """Somebody added a class to the project by hand."""
    story = told()
    story.put(drawn(8, label="tree"))
    story.merged()
    story.put(drawn(8))

    drafts = story.merged()

    assert len(facts(drafts, QuarantineResolved)) == 1
    assert [edit.operation for edit in edits(drafts)] == ["added"]


def test_a_known_label_given_a_class_of_no_field_is_quarantined_and_stays() -> None:
    """It is neither deleted nor changed."""
    story = told()
    before = story.document(10)
    story.put(relabelled(story.shape(1), "tree"))
    first = story.merged()
    story.put(relabelled(story.shape(1), "bus"))
    second = story.merged()

    assert len(facts(first, LabelQuarantined)) == 1
    assert edits(first) == []
    assert before is not None
    assert story.document(10) == {**before, "label": "bus"}
    assert len(facts(second, QuarantineResolved)) == 1


def test_a_drawn_box_with_a_value_that_cannot_be_held_is_quarantined() -> None:
    """Without it there would be no whole label."""
    story = told()
    story.put(drawn(8, attributes={"score": "abc"}))

    drafts = story.merged()

    assert "float" in facts(drafts, LabelQuarantined)[0].reason
    assert story.ids() == [oid(10)]


def test_a_rectangle_without_four_numbers_is_quarantined() -> None:
    """2.15 takes any number of points."""
    story = told()
    story.put(msgspec.structs.replace(drawn(8), points=(1.0, 2.0)))

    assert "four numbers" in facts(story.merged(), LabelQuarantined)[0].reason


def test_an_annotation_on_a_frame_outside_the_task_is_recorded_and_is_no_label() -> None:
    """2.15 stores it."""
    story = told()
    story.put(drawn(8, frame=77))

    assert story.merged() == []


# Classifications


def classified() -> Story:
    story = Story()
    sun = {"_id": {"$oid": oid(30)}, "_cls": "Classification", "label": "sun"}
    story.open(sample(0, weather=sun), sample(1), fields=[WEATHER])
    story.annotate(FieldRequest(name="weather", classes=("rain", "sun")))
    return story


def tag(number: int, label: str, frame: int = 0) -> Tag:
    return Tag(id=number, frame=frame, label=label, attributes={"label_id": ""})


def test_a_classification_field_holds_one_and_quarantines_the_second() -> None:
    """FiftyOne's field is the label itself."""
    story = classified()
    story.put(tag(8, "rain"))

    drafts = story.merged()

    assert "one label a sample" in facts(drafts, LabelQuarantined)[0].reason
    assert story.ids(field="weather") == [oid(30)]


def test_of_two_new_tags_the_field_takes_one() -> None:
    """Which of them is decided once, and recorded."""
    story = classified()
    story.put(tag(8, "rain", frame=1), tag(9, "sun", frame=1))

    drafts = story.merged()

    assert len(edits(drafts)) == 1
    assert len(facts(drafts, LabelQuarantined)) == 1
    assert len(story.ids(sample=1, field="weather")) == 1


def test_a_deleted_tag_makes_room_for_another_one() -> None:
    """In one save: the old one goes, the new one comes."""
    story = classified()
    story.put(tag(8, "rain"), gone=[story.shown["tag", 1]])

    drafts = story.merged()

    assert [edit.operation for edit in edits(drafts)] == ["removed", "added"]
    assert facts(drafts, LabelQuarantined) == []


def test_a_box_in_a_field_of_tags_is_quarantined() -> None:
    """The class belongs to tags."""
    story = classified()
    story.put(drawn(8, label="sun"))

    assert "holds no rectangle" in facts(story.merged(), LabelQuarantined)[0].reason


# The tripwire


def wired() -> Story:
    return told(boxes=5, tripwire=Tripwire(share=0.2, labels_min=2))


def test_a_save_that_deletes_too_much_is_held_once() -> None:
    """Somebody pressed "remove annotations"; nothing is taken over unasked."""
    story = wired()
    story.put(gone=[story.shape(1)])
    assert [edit.operation for edit in edits(story.merged())] == ["removed"]
    story.put(gone=[story.shape(n) for n in (2, 3)])
    story.put(relabelled(story.shape(4), "bus"))

    [draft] = story.merged()

    assert isinstance(draft.fact, MergeHeld)
    assert (draft.fact.labels, draft.fact.deleted, draft.fact.relabelled) == (4, 2, 1)
    assert merge.decide(story.tables, "main", JOB).drafts == []
    assert len(story.ids()) == 4
    assert len(story.waiting("held")) == 1


def test_ids_are_known_again_while_a_merge_is_held() -> None:
    """Renewing them must not make a stranger of each label meanwhile."""
    story = wired()
    story.put(gone=[story.shape(n) for n in (1, 2, 3)])
    story.merged()
    shape = story.shape(4)
    story.put(renumbered(shape, 44), gone=[shape])

    drafts = story.observed()

    assert story.tables.get(runs.PARTS, "main", JOB, "shape", 44) is not None
    assert drafts


@pytest.mark.parametrize(("choice", "left"), [("cvat", 2), ("dataset", 5)])
def test_a_held_merge_is_taken_or_kept_off_as_a_person_decides(choice: Any, left: int) -> None:
    """Refused: the labels stay, and each deletion is on record."""
    story = wired()
    story.put(gone=[story.shape(n) for n in (1, 2, 3)])
    [held] = facts(story.merged(), MergeHeld)
    released = MergeReleased(job=JOB, id=held.id, updated_date=held.updated_date, choice=choice)
    story.tell("run/d/k", released)

    drafts = story.carry_out(merge.decide(story.tables, "main", JOB))

    assert len(story.ids()) == left
    assert (facts(drafts, EditRejected) == []) is (choice == "cvat")
    assert all(fact.restriction == "tripwire" for fact in facts(drafts, EditRejected))
    assert merge.decide(story.tables, "main", JOB).drafts == []


# When nothing may be decided


def test_nothing_unsettled_is_merged() -> None:
    """A half of a save may be hanging."""
    story = told()
    story.put(gone=[story.shape(1)])
    story.observed()

    assert merge.decide(story.tables, "main", JOB).drafts == ()


def test_what_went_with_a_deleted_class_was_deleted_by_nobody() -> None:
    """The labels stay in the dataset."""
    story = told()
    gone = story.shape(1)
    story.shown.clear()
    story.tell(f"job/main/{JOB}", JobSchemaChanged(labels=story.labels[:1], removed=(gone,)))

    assert edits(story.merged()) == []
    assert story.ids() == [oid(10)]


def test_the_end_of_a_job_or_of_the_run_deletes_no_label() -> None:
    """What is gone with its job was not deleted."""
    story = told()
    story.put(gone=[story.shape(1)])
    story.observed()
    story.settle()
    story.tell(f"job/main/{JOB}", JobDeleted())
    after_job = merge.decide(story.tables, "main", JOB).drafts
    story = told()
    story.put(gone=[story.shape(1)])
    story.observed()
    story.settle()
    story.tell("run/d/k", RunCleanedUp(tasks=(5,)))

    assert after_job == ()
    assert merge.decide(story.tables, "main", JOB).drafts == ()
    assert merge.identify(story.tables, "main", JOB).drafts == ()


def test_a_job_of_no_run_merges_nothing() -> None:
    """Recorded, and that is all."""
    story = Story()
    story.put(drawn(1))
    story.observed()
    story.settle()

    assert merge.decide(story.tables, "main", JOB).drafts == ()
    assert not merge.merges_by_itself(story.tables, "main", JOB)


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ("manual", "completed", False),
        ("on-save", "new", True),
        ("on-job-completed", "new", False),
        ("on-job-completed", "completed", True),
    ],
)
def test_a_run_takes_over_by_itself_as_its_policy_says(
    policy: Any, state: str, expected: bool
) -> None:
    """FiftyOne loads by hand; the other two are ours."""
    story = told(policy=policy)
    job = msgspec.structs.replace(story.reading().job, state=state)
    story.carry_out(story.look(job=job))

    assert merge.merges_by_itself(story.tables, "main", JOB) is expected


def test_large_merges_are_several_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event grows without bound; together they are one append."""
    monkeypatch.setattr(outcome, "EVENT_LABELS_MAX", 2)
    story = told()
    story.put(*(drawn(n) for n in range(20, 25)))
    story.carry_out(story.look())
    story.settle()

    drafts = story.carry_out(merge.decide(story.tables, "main", JOB))

    assert [len(fact.links) for fact in facts(drafts, LabelsLinked)] == [2, 2, 1]
    assert [len(fact.edits) for fact in facts(drafts, LabelsMerged)] == [2, 2, 1]


def test_an_unexpected_value_says_what_it_is() -> None:
    """Errors tell what and why."""
    assert "two values" in str(UnexpectedValue("the attribute has two values at once"))
