"""CVAT's JSON to annotations by name: ids lead to names, and a hostile body to one error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.annotations import AttributeSpec, Keyframe, LabelSpec, Shape, Tag, Track
from projections.codec.cvat import (
    Schema,
    UnknownLabel,
    UnreadableAnnotations,
    annotations_from_wire,
    annotations_to_wire,
    as_stored,
    labels_from_wire,
    labels_to_wire,
)

SCORE = AttributeSpec(name="score", id=11, default_value="1")
NOTE = AttributeSpec(name="note", id=12)
CAR = LabelSpec(name="car", id=1, attributes=(SCORE, NOTE))
JOINT = LabelSpec(name="joint", id=3)
MAN = LabelSpec(name="man", id=2, type="skeleton", sublabels=(JOINT,))
SCHEMA = Schema((CAR, MAN))


def read(**members: Any) -> list[Any]:
    return annotations_from_wire(json.dumps(members).encode(), SCHEMA)


def test_tags_shapes_and_tracks_are_read_by_name() -> None:
    """Ids of labels and specs change when a task moves; names do not."""
    tag = {"id": 1, "frame": 2, "label_id": 1, "group": None, "source": None, "attributes": []}
    shape = {
        "id": 1, "frame": 0, "label_id": 2, "type": "skeleton", "group": 3,
        "elements": [{"id": 2, "frame": 0, "label_id": 3, "type": "points", "points": [1, 2]}],
        "unheard_of": {"newer": "servers"},
    }  # fmt: skip
    later = {"frame": 4, "type": "rectangle", "points": [0, 0, 1, 1], "outside": True}
    first = {**later, "frame": 0, "outside": False, "attributes": [{"spec_id": 11, "value": 5}]}
    track = {"id": 1, "frame": 0, "label_id": 1, "shapes": [later, first], "elements": []}

    found = read(version=0, tags=[tag], shapes=[shape], tracks=[track])

    joint = Shape(id=2, frame=0, label="joint", type="points", points=(1.0, 2.0))
    keyframes = tuple(
        Keyframe(
            frame=frame, type="rectangle", points=(0.0, 0.0, 1.0, 1.0), outside=outside,
            attributes=values,
        )
        for frame, outside, values in ((0, False, {"score": "5"}), (4, True, {}))
    )  # fmt: skip
    assert found == [
        Tag(id=1, frame=2, label="car"),
        Shape(id=1, frame=0, label="man", type="skeleton", group=3, elements=(joint,)),
        Track(id=1, frame=0, label="car", keyframes=keyframes),
    ]


def test_two_values_for_one_attribute_are_both_kept() -> None:
    """CVAT stores and returns both, in no order."""
    values = [{"spec_id": 11, "value": text} for text in ("b", "a")]

    [tag] = read(tags=[{"id": 1, "frame": 0, "label_id": 1, "attributes": values}])

    assert tag.attributes == {"score": ("a", "b")}


@pytest.mark.parametrize(
    "item",
    [
        {"id": 1, "frame": 0, "label_id": 9},
        {"id": 1, "frame": 0, "label_id": 1, "attributes": [{"spec_id": 99, "value": ""}]},
    ],
)
def test_what_the_schema_does_not_know_asks_for_another_read(item: dict[str, Any]) -> None:
    """The schema moved on between two requests."""
    with pytest.raises(UnknownLabel):
        read(tags=[item])
    with pytest.raises(UnknownLabel):
        SCHEMA.spec("tree")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"tags": {}}', b'{"tags": [{"id": "x"}]}', b"\xff", b"[" * 100_000,
     b'{"shapes": [{"id": 1, "frame": 0, "label_id": 1, "points": [1e400]}]}',
     b'{"tags": [{"id": 9223372036854775808, "frame": 0, "label_id": 1}]}',
     b'{"tags": [{"id": -1, "frame": 0, "label_id": 1}]}',
     b'{"tags": [{"id": 1, "frame": 9223372036854775808, "label_id": 1}]}'],
    ids=range(11),
)  # fmt: skip
def test_a_body_that_is_not_cvats_is_one_error(body: bytes) -> None:
    """The last good state stands."""
    with pytest.raises(UnreadableAnnotations):
        annotations_from_wire(body, SCHEMA)


@given(st.binary(max_size=40) | st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("tags", "shapes", "id", "frame", "label_id")), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """Never another exception, whatever a proxy answers."""
    try:
        annotations_from_wire(body, SCHEMA)
    except (UnreadableAnnotations, UnknownLabel):
        return


def test_labels_are_read_sorted_with_what_is_missing_filled_in() -> None:
    """Servers list them in no promised order."""
    rows = [
        {"id": 2, "name": "man", "type": "skeleton", "sublabels": [{"id": 3, "name": "joint"}]},
        {
            "id": 1,
            "name": "car",
            "color": "#fff",
            "attributes": [
                {"id": 12, "name": "note", "values": [1], "default_value": None},
                {"id": 11, "name": "score", "input_type": "number", "mutable": True},
            ],
        },
    ]

    car, man = labels_from_wire(rows)

    assert [spec.name for spec in car.attributes] == ["score", "note"]
    assert car.attributes[1] == AttributeSpec(name="note", id=12, values=("1",), mutable=False)
    assert man.sublabels == (LabelSpec(name="joint", id=3),)


def test_what_is_written_is_read_back() -> None:
    """Without ids to create, with ids to update."""
    shape = Shape(
        id=7, frame=1, label="car", type="rectangle", points=(0.5, 1.0, 2.0, 3.0), rotation=3.0,
        attributes={"note": "n", "score": "2"},
    )  # fmt: skip
    tag = Tag(id=8, frame=1, label="car", attributes={"score": "2", "unknown": "x"})

    created = annotations_to_wire([shape, tag], SCHEMA, with_ids=False)
    updated = annotations_to_wire([shape, tag], SCHEMA, with_ids=True)

    assert "id" not in created["shapes"][0]
    assert read(**updated) == [Tag(id=8, frame=1, label="car", attributes={"score": "2"}), shape]


def test_labels_are_written_as_a_task_takes_them() -> None:
    """Without ids, which the server gives."""
    [written] = labels_to_wire([CAR])

    assert written["name"] == "car"
    assert [spec["name"] for spec in written["attributes"]] == ["score", "note"]
    assert "id" not in written


def test_the_model_of_what_the_server_stores_trims_and_fills_in() -> None:
    """Measured on 2.15 and 2.73."""
    sent = Tag(id=0, frame=0, label="car", attributes={"note": " a\n", "gone": "x"})

    stored = as_stored(sent, SCHEMA)

    assert stored.attributes == {"note": "a", "score": "1"}
    both = Tag(id=0, frame=0, label="car", attributes={"note": ("a", "b")})
    assert as_stored(both, SCHEMA).attributes["note"] == ("a", "b")
