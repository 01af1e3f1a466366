"""Who gave a value, although ids were renewed, things came back, and some look like others."""

from __future__ import annotations

import msgspec
import pytest

from events.annotations import Annotation
from events.run import LabelQuarantined
from projections import rivals
from projections.decision import Draft
from projections.runs import PARTS
from projections.upload import FieldRequest
from tests.projections.story import (
    BOB,
    CAROL,
    Story,
    box,
    drawn,
    having,
    moved,
    oid,
    renumbered,
    sample,
)
from tests.projections.test_merge import classified, edits, relabelled, tag, told


def renewed(story: Story, by: int, *also: Annotation) -> None:
    """Save the whole job without ids, and some more; look."""
    old = list(story.shown.values())
    new = [renumbered(one, one.id + 100) for one in [*old, *also]]
    story.put(*new, gone=old, by=by)
    story.observed()


def authors(drafts: list[Draft], operation: str) -> list[tuple[str | None, str]]:
    """Return actor and evidence of each merged edit of a kind."""
    return [
        (draft.actor, draft.evidence)
        for draft in drafts
        for edit in edits([draft])
        if edit.operation == operation
    ]


# What came back


def gone_and_back(number: int) -> Story:
    """Return a story in which Bob brought a label back that was merged away."""
    story = told()
    shape = story.shape(1)
    story.put(gone=[shape], by=CAROL)
    story.merged()
    story.put(renumbered(shape, number), by=BOB)
    story.observed()
    return story


@pytest.mark.parametrize("number", [1, 55])
def test_what_came_back_and_was_renumbered_was_brought_back_by_who_did_that(number: int) -> None:
    """Carol's save gave it another id, no more."""
    story = gone_and_back(number)
    renewed(story, CAROL)

    assert authors(story.merged(), "added") == [("main/2", "webhook")]


def test_what_came_back_in_pieces_was_brought_back_by_who_did_that() -> None:
    """Carol's redo takes it away in one look and puts it back in another."""
    story = gone_and_back(1)
    story.put(gone=[story.shape(1)], by=CAROL)
    story.observed()
    story.put(renumbered(told().shape(1), 60), by=CAROL)
    story.observed()

    assert authors(story.merged(), "added") == [("main/2", "webhook")]


def test_values_under_an_id_that_came_back_are_by_who_brought_it_back() -> None:
    """The link of the id names who moved it once; those points are gone."""
    story = told()
    shape = moved(story.shape(1))
    story.put(shape, by=BOB)
    story.observed()
    renewed(story, BOB)
    [now] = story.shown.values()
    story.put(gone=[now], by=BOB)
    story.observed()
    story.put(msgspec.structs.replace(moved(shape, 5.0), id=now.id), by=CAROL)

    drafts = story.merged()

    [edit] = edits(drafts)
    assert edit.facets.keys() == {"geometry"}
    assert authors(drafts, "changed") == [("main/3", "webhook")]


def test_what_is_back_and_not_merged_yet_is_known_by_its_place() -> None:
    """Told gone is not gone: it stands on the server again, and loses id and label_id there."""
    story = gone_and_back(1)
    shape = having(story.shape(1), label_id="")
    story.put(shape, by=BOB)
    story.observed()
    renewed(story, CAROL)

    [edit] = edits(story.merged())

    assert (edit.operation, edit.label) == ("added", told().ids()[0])


def test_a_rejected_deletion_that_is_undone_under_another_id_is_by_who_undid_it() -> None:
    """The dataset kept the label, and agrees again."""
    story = told(FieldRequest(name="gt", classes=("bus", "car"), allow_deletions=False))
    shape = story.shape(1)
    story.put(gone=[shape], by=CAROL)
    story.merged()
    story.put(renumbered(shape, 9), by=BOB)

    assert authors(story.merged(), "changed") == [("main/2", "webhook")]


# What looks like another


def test_of_two_tags_alike_that_got_new_ids_nobody_knows_who_gave_which() -> None:
    """Bob gave one, and Carol another one, in the save that renewed all ids."""
    story = classified()
    story.put(tag(8, "rain", frame=1), by=BOB)
    story.observed()
    renewed(story, CAROL, tag(9, "rain", frame=1))

    drafts = story.merged()

    assert authors(drafts, "added") == [("main/2,main/3", "several")]
    [quarantined] = [draft for draft in drafts if isinstance(draft.fact, LabelQuarantined)]
    assert quarantined.actor == "main/2,main/3"


def test_a_doubt_outlives_the_next_renewal() -> None:
    """What could not be told apart once cannot be told apart later."""
    story = classified()
    story.put(tag(8, "rain", frame=1), by=BOB)
    story.observed()
    renewed(story, CAROL, tag(9, "rain", frame=1))
    renewed(story, BOB)

    assert authors(story.merged(), "added") == [("main/2,main/3", "several")]


def test_of_two_boxes_alike_by_one_person_the_person_is_known() -> None:
    """Which is which does not matter then."""
    story = told()
    story.put(drawn(8), drawn(9), by=BOB)
    story.observed()
    renewed(story, CAROL)

    assert authors(story.merged(), "added") == [("main/2", "webhook")] * 2


def test_boxes_at_one_place_that_differ_otherwise_are_told_apart() -> None:
    """One was drawn by Bob, the other one by Carol."""
    story = told()
    story.put(drawn(8, attributes={"score": "1"}), by=BOB)
    story.observed()
    story.put(drawn(9, attributes={"score": "0.5"}), by=CAROL)
    story.observed()
    renewed(story, CAROL)

    drafts = story.merged()

    found = {edit.facets["attribute:score"]: d.actor for d in drafts for edit in edits([d])}
    assert found == {"1": "main/2", "0.5": "main/3"}


def test_a_tag_in_the_place_of_another_one_may_be_by_either() -> None:
    """Bob gave it; Carol took it away and gave one like it, or did it again: it looks the same."""
    story = classified()
    story.put(tag(8, "rain", frame=1), by=BOB)
    story.observed()
    story.put(tag(9, "rain", frame=1), gone=[tag(8, "rain", frame=1)], by=CAROL)

    assert authors(story.merged(), "added") == [("main/2,main/3", "several")]


def test_of_more_doubles_than_are_compared_nobody_is_named_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are linked one to one, block after block."""
    monkeypatch.setattr(rivals, "RIVALS_MAX", 3)
    story = told()
    story.put(*(drawn(number) for number in range(10, 17)), by=BOB)
    story.observed()
    before = story.tables.dump()["tracked"]
    renewed(story, CAROL)

    drafts = story.merged()

    assert len(story.tables.dump()["tracked"]) == len(before)
    assert authors(drafts, "added") == [(None, "unknown")] * 7


def test_a_label_is_linked_with_what_looks_most_like_it() -> None:
    """Two copies with one label_id, both with new ids; the box that moved most is the copy."""
    story = Story()
    story.open(sample(0, box(10, score=0.5)))
    story.annotate(FieldRequest(name="gt", classes=("bus", "car")))
    shape = story.shape(1)
    unlike = having(moved(renumbered(shape, 20)), score="1")
    story.put(unlike, renumbered(shape, 21), gone=[shape])
    story.observed()

    parts = {row.label: row.id for row in story.tables.scan(PARTS, "main")}

    assert parts[oid(10)] == 21


# What is quarantined


def test_a_quarantined_box_is_by_who_drew_it() -> None:
    """Carol's save gave it another id, no more."""
    story = told()
    story.put(drawn(9, attributes={"score": "abc"}), by=BOB)
    story.observed()
    renewed(story, CAROL)

    [draft] = [d for d in story.merged() if isinstance(d.fact, LabelQuarantined)]

    assert draft.actor == "main/2"


def test_a_class_of_no_field_is_by_who_gave_it() -> None:
    """A known label, drawn by nobody of them."""
    story = told()
    story.put(relabelled(story.shape(1), "dog"), by=CAROL)

    [draft] = [d for d in story.merged() if isinstance(d.fact, LabelQuarantined)]

    assert draft.actor == "main/3"
