"""What waits for a person, and what the person's choice does."""

from __future__ import annotations

import pytest

from events.dataset import SampleChange, ScanConflict, ScanConflictRaised
from projections.pending import NothingWaits, NotThatChoice, resolve, waiting
from projections.upload import FieldRequest
from tests.projections.story import Story, box, moved, oid, sample

AT_FIRST = [0.1, {"$number": "0.20"}, 0.25, 0.5]
IN_THE_DATASET = [0.3, 0.3, 0.1, 0.1]


@pytest.fixture
def clash() -> Story:
    """Bob moved box 1 in CVAT while the dataset moved it elsewhere."""
    story = Story()
    story.open(sample(0, box(1)))
    story.annotate()
    story.change(1, bounding_box=IN_THE_DATASET)
    story.put(moved(story.shape(1)))
    story.merged()
    return story


def only_id(story: Story) -> str:
    (row,) = waiting(story.tables)
    return row.id


def test_cvats_side_of_a_conflict_is_taken_over(clash: Story):
    """The edit that waited is applied as it was seen, and nothing waits any more."""
    clash.carry_out(resolve(clash.tables, only_id(clash), "cvat"))

    document = clash.document(1)
    assert document is not None
    assert document["bounding_box"] == pytest.approx([0.15, 0.3, 0.25, 0.5])
    assert list(waiting(clash.tables)) == []


def test_the_datasets_side_stays_and_is_not_asked_about_again(clash: Story):
    """A decision is a decision: the next look at the same edit raises nothing."""
    clash.carry_out(resolve(clash.tables, only_id(clash), "dataset"))

    document = clash.document(1)
    assert document is not None
    assert document["bounding_box"] == IN_THE_DATASET
    assert clash.merged() == []


def test_after_a_decision_the_next_edit_is_merged(clash: Story):
    """What was decided on is the base of the next merge."""
    clash.carry_out(resolve(clash.tables, only_id(clash), "dataset"))
    clash.put(moved(clash.shape(1)))

    clash.merged()

    document = clash.document(1)
    assert document is not None
    assert document["bounding_box"] == pytest.approx([0.2, 0.4, 0.25, 0.5])
    assert list(waiting(clash.tables)) == []


def test_a_refused_deletion_can_be_taken_over_after_all():
    """A restriction is a rule for annotators, not for the owner of the dataset."""
    story = Story()
    story.open(sample(0, box(1)))
    story.annotate(FieldRequest(name="gt", allow_deletions=False))
    story.put(gone=[story.shape(1)])
    story.merged()

    story.carry_out(resolve(story.tables, only_id(story), "cvat"))

    assert story.document(1) is None
    assert list(waiting(story.tables)) == []


def test_a_label_that_was_kept_is_asked_about_again_only_when_it_changes():
    """Bob deleted what the dataset had changed; it stays, and comes back in CVAT as it is now."""
    story = Story()
    story.open(sample(0, box(1)))
    story.annotate()
    shape = story.shape(1)
    story.change(1, tags=["checked"])
    story.put(gone=[shape])
    story.merged()

    story.carry_out(resolve(story.tables, only_id(story), "dataset"))
    story.put(shape)
    story.merged()
    story.put(gone=[shape])
    story.merged()

    assert story.document(1) is None
    assert list(waiting(story.tables)) == []


def test_a_label_that_the_dataset_deleted_cannot_be_changed(clash: Story):
    """There is nothing left to change; the other side is still open."""
    clash.remove(1)

    with pytest.raises(NotThatChoice, match="deleted the label"):
        resolve(clash.tables, only_id(clash), "cvat")

    clash.carry_out(resolve(clash.tables, only_id(clash), "dataset"))
    assert list(waiting(clash.tables)) == []


def test_a_conflict_of_a_run_has_no_manifests_side(clash: Story):
    """A slip of the keyboard must not decide anything."""
    with pytest.raises(NotThatChoice, match="no manifest"):
        resolve(clash.tables, only_id(clash), "manifest")


def test_a_conflict_of_a_scan_is_decided_here_too():
    """A person has one list and one command, whoever the two sides are."""
    story = Story()
    story.open(sample(0, tags=["ours"]))
    change = SampleChange(sample=oid(0), old={"tags": []}, new={"tags": ["theirs"]})
    conflict = ScanConflict(id="s1", sample=oid(0), members=change, dataset={"tags": ["ours"]})
    story.tell("dataset/d", ScanConflictRaised(conflicts=(conflict,)))

    with pytest.raises(NotThatChoice, match="CVAT has no side"):
        resolve(story.tables, "s1", "cvat")
    story.carry_out(resolve(story.tables, "s1", "manifest"))

    with pytest.raises(NothingWaits):
        resolve(story.tables, "s1", "manifest")


def test_an_unknown_id_is_an_error():
    """It may have been decided a moment ago by somebody else."""
    with pytest.raises(NothingWaits):
        resolve(Story().tables, "c0ffee", "dataset")
