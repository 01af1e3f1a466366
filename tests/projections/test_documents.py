"""Documents: what is taken apart comes together again, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.canonical import canonical
from events.dataset import LabelChange
from projections.documents import (
    LABELS,
    LISTS,
    content,
    digest,
    join,
    split,
    unaddressable,
    with_labels,
    with_members,
)

OIDS = st.integers(0, 5).map(lambda n: f"{n:024x}")
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
LABEL_DOCUMENTS = st.builds(
    lambda cls, oid, more: {**more, "_cls": cls, "_id": oid},
    st.sampled_from([*sorted(LABELS), "Else"]),
    OIDS.map(lambda oid: {"$oid": oid}) | SCALARS,
    st.dictionaries(st.sampled_from(["label", "bounding_box", "tags"]), SCALARS),
)
CONTAINERS = st.builds(
    lambda cls, listed, more: {**more, "_cls": cls, LISTS[cls][0]: listed},
    st.sampled_from(sorted(LISTS)),
    st.lists(LABEL_DOCUMENTS | SCALARS, max_size=4) | SCALARS,
    st.dictionaries(st.sampled_from(["logits", "tags"]), SCALARS),
)
ODD = st.dictionaries(st.sampled_from(["_cls", "_id", "detections", "x"]), SCALARS, max_size=3)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["_id", "filepath", "gt", "pred", "tags", "seg"]),
    SCALARS | LABEL_DOCUMENTS | CONTAINERS | ODD | st.lists(SCALARS, max_size=3),
)


def label(oid: int, cls: str = "Detection", **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": f"{oid:024x}"}, "_cls": cls, **members}


def detections(*labels: dict[str, Any]) -> dict[str, Any]:
    return {"_cls": "Detections", "detections": [*labels]}


@given(DOCUMENTS)
def test_what_was_split_joins_to_the_same_document(document: dict[str, Any]):
    """Promise 6 stands on it: an export writes what was read, for whatever was read."""
    before = canonical(document)

    members, labels = split(document)

    assert canonical(join(members, labels)) == before
    assert canonical(document) == before  # what was given is not changed


def test_labels_leave_their_containers_and_keep_their_order():
    """A run reads labels one by one; the emptied container says that the field exists."""
    document = {
        "gt": detections(label(2), label(1)),
        "seg": label(3, "Segmentation"),
        "none": detections(),
    }

    members, labels = split(document)

    assert members == {"gt": detections(), "none": detections()}
    assert [(one.field, int(one.label, 16), one.order) for one in labels] == [
        ("gt", 2, 0),
        ("gt", 1, 1),
        ("seg", 3, -1),
    ]


@pytest.mark.parametrize(
    "listed",
    [
        [label(1), label(1)],
        [label(1), {"_cls": "Detection", "label": "no id"}],
        [label(1), label(2, "Polyline")],
        [label(1), 7],
    ],
)
def test_labels_without_an_address_of_their_own_are_named(listed: list[Any]):
    """Two labels under one address would become one: the field is reported instead."""
    members, labels = split({"gt": {"_cls": "Detections", "detections": listed}})

    assert labels == []
    assert list(unaddressable(members)) == ["gt"]


def test_a_label_of_a_new_field_brings_its_container():
    """A run's new field exists in no sample document yet."""
    members, (one,) = split({"gt": detections(label(1))})

    joined = join({}, [one._replace(field="new")])

    assert members == {"gt": detections()}
    assert joined == {"new": detections(label(1))}


def test_dates_and_random_numbers_are_no_content():
    """FiftyOne writes them anew on each export: they would make every re-export a change."""
    document = {"_rand": 0.5, "last_modified_at": {"$date": "x"}, "x": None, "tags": []}

    assert content(document) == {"tags": []}
    assert digest(document) == digest({"tags": []})


def test_the_digest_tells_numbers_of_different_type_apart():
    """1, 1.0 and true are equal to Python and not to FiftyOne's typed fields."""
    digests = {digest({"x": value}) for value in (1, 1.0, True)}

    assert len(digests) == 3


def test_the_digest_does_not_care_for_the_order_in_a_list():
    """Order is no content: labels are addressed by id."""
    there = digest({"gt": detections(label(1), label(2))})

    back = digest({"gt": detections(label(2), label(1))})

    assert there == back


def test_a_member_that_is_null_or_not_named_again_goes():
    """Absent and null are the same in FiftyOne's documents."""
    document = {"a": 1, "b": 2, "c": 3, "kept": None}

    changed = with_members(document, {"a": 1, "b": 2}, {"b": None, "c": 4, "d": 5})

    assert changed == {"c": 4, "d": 5, "kept": None}


def test_label_changes_touch_no_other_label():
    """What was not touched is not touched."""
    document = {"gt": detections(label(1, label="a"), label(2, label="b"), label(3))}
    changes = [
        LabelChange(
            sample="s", field="gt", label=f"{1:024x}", old={"label": "a"}, new={"label": "z"}
        ),
        LabelChange(sample="s", field="gt", label=f"{3:024x}", old=label(3)),
        LabelChange(sample="s", field="gt", label=f"{4:024x}", new=label(4)),
    ]

    changed = with_labels(document, changes)

    assert changed == {
        "gt": detections(label(1, label="z"), label(2, label="b"), label(4)),
    }
