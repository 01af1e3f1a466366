"""Scans: only what the manifest itself changed enters, and never over somebody's edit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.dataset import LabelChange, SampleChange
from projections.documents import digest, split, with_labels, with_members
from projections.scan import (
    Changes,
    Current,
    changed_members,
    changes_of_sample,
    removal_conflict,
    seen_by,
)

S = f"{99:024x}"


def oid(number: int) -> str:
    return f"{number:024x}"


def label(number: int, cls: str = "Detection", **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": oid(number)}, "_cls": cls, **members}


def sample(*labels: dict[str, Any], **members: Any) -> dict[str, Any]:
    gt = {"_cls": "Detections", "detections": [*labels]}
    return {"_id": {"$oid": S}, "filepath": "data/1.jpg", "gt": gt, **members}


def now(document: dict[str, Any]) -> Current:
    return Current(*split(document))


def decided(base: Any, new: Any, current: Any) -> Changes:
    return changes_of_sample(S, base=base, new=new, current=now(current), scan="d")


def change(number: int, old: Any, new: Any, **more: Any) -> LabelChange:
    return LabelChange(sample=S, field="gt", label=oid(number), old=old, new=new, **more)


NOTHING = Changes(None, [], [])


def test_a_stale_manifest_with_one_new_tag_changes_one_tag():
    """A user who has not imported our merges must not revert them by re-exporting."""
    base = sample(label(1, label="cat"), label(2), tags=["a"])
    ours = sample(label(1, label="dog"), label(3), tags=["a"])
    new = sample(label(1, label="cat"), label(2), tags=["a", "b"])

    changes = decided(base, new, ours)

    members = SampleChange(sample=S, old={"tags": ["a"]}, new={"tags": ["a", "b"]})
    assert changes == Changes(members, [], [])


@pytest.mark.parametrize(
    ("base", "new", "current", "expected"),
    [
        ("cat", "cat", "dog", NOTHING),
        ("cat", "dog", "dog", NOTHING),
        (
            "cat",
            "dog",
            "cat",
            Changes(None, [change(1, {"label": "cat"}, {"label": "dog"})], []),
        ),
    ],
)
def test_a_member_is_taken_over_where_the_dataset_has_not_moved(
    base: str, new: str, current: str, expected: Changes
):
    """Unchanged by the manifest: nothing. Changed to what we have: nothing. Else it is applied."""
    changes = decided(*(sample(label(1, label=name)) for name in (base, new, current)))

    assert changes == expected


def test_two_values_for_one_member_are_a_conflict_and_the_other_members_are_not():
    """Promise 4: neither side wins in silence, and what is not disputed is not held up."""
    base = sample(label(1, label="cat", confidence=0.5))
    new = sample(label(1, label="dog", confidence=0.7))
    ours = sample(label(1, label="owl", confidence=0.5))

    changes = decided(base, new, ours)

    assert changes.labels == [change(1, {"confidence": 0.5}, {"confidence": 0.7})]
    (conflict,) = changes.conflicts
    assert conflict.label == change(1, {"label": "owl"}, {"label": "dog"})
    assert conflict.dataset == label(1, label="owl", confidence=0.5)


def test_half_a_geometry_is_not_taken_over():
    """A new mask in a box that an annotator moved would fit nothing."""
    base = sample(label(1, bounding_box=[0, 0, 1, 1], mask="m"))
    new = sample(label(1, bounding_box=[0, 0, 1, 1], mask="n"))
    ours = sample(label(1, bounding_box=[0, 0, 0.5, 1], mask="m"))

    changes = decided(base, new, ours)

    assert changes.labels == []
    assert [conflict.label for conflict in changes.conflicts] == [
        change(1, {"mask": "m"}, {"mask": "n"})
    ]


def test_labels_that_appear_and_go_are_whole():
    """Their old value is in the log, so that they can be put back."""
    changes = decided(sample(label(1)), sample(label(2)), sample(label(1), label(3)))

    assert changes == Changes(None, [change(1, label(1), None), change(2, None, label(2))], [])


def test_deleted_by_the_manifest_and_edited_by_a_merge_is_a_conflict():
    """An annotator's work does not go because a stale file lacks the label."""
    edited = label(1, label="edited")

    changes = decided(sample(label(1)), sample(), sample(edited))

    assert changes.labels == []
    (conflict,) = changes.conflicts
    assert (conflict.label, conflict.dataset) == (change(1, edited, None), edited)


def test_edited_by_the_manifest_and_deleted_by_a_merge_is_a_conflict():
    """Taking the manifest's side would have to bring the whole label back."""
    changes = decided(sample(label(1)), sample(label(1, label="x")), sample())

    assert changes.labels == []
    (conflict,) = changes.conflicts
    assert (conflict.label, conflict.dataset) == (change(1, None, label(1, label="x")), None)


def test_deleted_on_both_sides_or_on_ours_alone_is_nothing():
    """The manifest has not seen our deletion, or agrees with it."""
    assert decided(sample(label(1)), sample(), sample()) == NOTHING
    assert decided(sample(label(1)), sample(label(1)), sample()) == NOTHING


def test_a_field_of_one_label_never_holds_two():
    """FiftyOne gives a classification that was set anew a new id."""
    base, new, ours = (
        {"_id": {"$oid": S}, "weather": label(number, "Classification", label=name)}
        for number, name in ((1, "rain"), (2, "sun"), (1, "snow"))
    )

    plain = decided(base, new, base)
    both = decided(base, new, ours)

    assert [(one.new is None, one.alone) for one in plain.labels] == [(True, False), (False, True)]
    assert both.labels == []
    assert [conflict.dataset for conflict in both.conflicts] == [ours["weather"]] * 2
    assert len({conflict.id for conflict in both.conflicts}) == 2


def test_a_sample_the_manifest_brings_and_the_dataset_kept_is_merged_without_a_base():
    """It left the manifest while its labels were edited; now it is back."""
    kept = sample(label(1, label="edited"), label(2), tags=[])

    changes = decided(None, sample(label(1, label="cat"), label(3), tags=[]), kept)

    assert changes.labels == [change(3, None, label(3))]
    assert [one.label for one in changes.conflicts] == [
        change(1, {"label": "edited"}, {"label": "cat"})
    ]


def test_a_sample_with_edited_labels_does_not_just_go():
    """Work would go with it: a person decides."""
    base = sample(label(1))
    ours = sample(label(1, label="edited"))

    assert removal_conflict(S, base=base, current=now(base), scan="d") is None
    conflict = removal_conflict(S, base=base, current=now(ours), scan="d")
    assert conflict is not None
    assert (conflict.label, conflict.members, conflict.dataset) == (None, None, ours)


def test_numbers_of_different_type_are_different_values():
    """FiftyOne's fields are typed: 1 is no valid value of a float field."""
    assert changed_members({"x": 1, "_rand": 1}, {"x": 1.0, "_rand": 2}) == ["x"]
    assert changed_members({"x": None}, {}) == []


VALUES = st.sampled_from(["a", "b", None])
LABELS = st.builds(
    lambda number, name, box: label(number, label=name, bounding_box=box),
    st.integers(1, 4),
    VALUES,
    VALUES,
)
SAMPLES = st.builds(
    lambda labels, tags, alone: sample(
        *{one["_id"]["$oid"]: one for one in labels}.values(), tags=tags, weather=alone
    ),
    st.lists(LABELS, max_size=4),
    VALUES,
    st.none() | st.builds(lambda n: label(n, "Classification"), st.integers(5, 6)),
)


def applied(current: dict[str, Any], changes: Changes) -> dict[str, Any]:
    if changes.members is not None:
        current = with_members(current, changes.members.old, changes.members.new)
    return with_labels(current, changes.labels)


@given(SAMPLES, SAMPLES)
def test_without_our_edits_the_dataset_becomes_what_the_manifest_says(base: Any, new: Any):
    """Then a scan is a plain difference: nothing disputed, nothing left out."""
    changes = decided(base, new, base)

    assert changes.conflicts == []
    assert digest(applied(base, changes)) == digest(new)
    assert digest(seen_by(base, changes) or {}) == digest(new)


@given(SAMPLES, SAMPLES)
def test_an_unchanged_manifest_changes_nothing(base: Any, current: Any):
    """Whatever runs did meanwhile."""
    assert decided(base, base, current) == NOTHING


@given(SAMPLES, SAMPLES, SAMPLES)
def test_nothing_of_ours_is_overwritten(base: Any, new: Any, current: Any):
    """Every member that runs changed is still there after any scan."""
    changes = decided(base, new, current)

    after = applied(current, changes)

    was, ours, then = (
        {(one.field, one.label): one.document for one in split(document)[1]}
        for document in (base, current, after)
    )
    for key, document in ours.items():
        for member in changed_members(was.get(key, {}), document):
            assert then[key].get(member) == document.get(member)
    assert set(was) - set(ours) - set(then) == set(was) - set(ours)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_a_second_look_at_the_same_manifest_finds_nothing_new(base: Any, new: Any, current: Any):
    """A scan that died half-way is healed by the next: what was taken is not taken again."""
    first = decided(base, new, current)

    again = decided(base, new, applied(current, first))

    assert (again.members, again.labels) == (None, [])
    assert {one.id for one in again.conflicts} == {one.id for one in first.conflicts}
