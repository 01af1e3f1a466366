"""FiftyOne's labels to CVAT and back: what was not touched keeps its bytes, hostile values none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.annotations import AttributeSpec, Shape, Tag
from events.canonical import canonical
from events.run import FieldSchema, Frame
from projections.codec.fiftyone import (
    REST,
    UnexpectedValue,
    Unsendable,
    bounding_box_rel,
    digests_of,
    field_facets,
    merged_facets,
    new_document,
    number,
    text_of,
    to_annotation,
    to_members,
    watched_facets,
)

FRAME = Frame(sample="s", name="", width_px=1920, height_px=1080)
KINDS: dict[str, Any] = {"flag": "bool", "count": "int", "score": "float", "note": "str"}
FIELD = FieldSchema(
    name="gt",
    type="detections",
    existing=True,
    classes=("car",),
    attributes=tuple(AttributeSpec(name=name) for name in KINDS),
    value_types=KINDS,
)
TAGS = FieldSchema(name="w", type="classifications", classes=("sun",))
NAMES = {"car": "car_gt"}
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def label(**members: Any) -> dict[str, Any]:
    place = {"bounding_box": [0.1, 0.2, 0.3, 0.4]}
    return {"_id": {"$oid": "a" * 24}, "_cls": "Detection", "label": "car"} | place | members


def sent(**members: Any) -> Shape:
    annotation = to_annotation(label(**members), FIELD, NAMES, index=3, frame=FRAME)
    assert isinstance(annotation, Shape)
    return annotation


def test_a_box_is_sent_in_pixels_with_its_class_name_and_its_identity() -> None:
    """Sub-pixel coordinates are kept; CVAT stores doubles exactly."""
    shape = sent(rotation=370.0)

    assert (shape.frame, shape.label, shape.type) == (3, "car_gt", "rectangle")
    assert shape.points == pytest.approx((192.0, 216.0, 768.0, 648.0))
    assert shape.rotation == pytest.approx(10.0)
    assert shape.attributes == {"label_id": "a" * 24}


def test_a_classification_is_a_tag() -> None:
    """A class of the whole image; new fields carry no identity."""
    tag = to_annotation({"label": "sun"}, TAGS, {"sun": "sun"}, index=0, frame=FRAME)

    assert tag == Tag(id=0, frame=0, label="sun")


numbers = st.floats(0, 1, allow_nan=False)


@given(x=numbers, y=numbers, width=numbers, height=numbers)
def test_a_box_that_goes_there_and_back_is_the_same_within_the_tolerance(
    x: float, y: float, width: float, height: float
) -> None:
    """Not the same bytes, which is why only what changed is converted back."""
    shape = sent(bounding_box=[x, y, width, height])

    back = bounding_box_rel(list(shape.points), FRAME)

    assert back == pytest.approx([x, y, width, height], abs=1e-9)


@given(
    flag=st.booleans(),
    count=st.integers(-(2**80), 2**80),
    score=st.floats(allow_nan=False, allow_infinity=False),
    note=texts.filter(bool),
)
def test_every_attribute_value_comes_back_as_it_went(
    flag: bool, count: int, score: float, note: str
) -> None:
    """Of its own type, to the last digit."""
    members = {"flag": flag, "count": count, "score": score, "note": note}
    shape = sent(**members)

    facets = merged_facets(shape, FIELD)
    back = to_members(facets, FIELD, NAMES, frame=FRAME, document={})

    assert {name: back[name] for name in members} == members
    assert {name: type(back[name]) for name in members} == {
        "flag": bool, "count": int, "score": float, "note": str,
    }  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from((*KINDS, "label", "bounding_box", "rotation", "other", "mask")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | texts
            | st.sampled_from([{"$numberDouble": "NaN"}, {"$number": "1e999"}, {"$number": "x"}]),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=2),
            max_leaves=5,
        ),
    )
)  # fmt: skip
def test_whatever_stands_in_a_document_is_sent_or_refused_with_a_reason(
    members: dict[str, Any],
) -> None:
    """One bad value refuses a whole batch on the server, so none may reach it."""
    try:
        shape = sent(**members)
    except Unsendable:
        return

    assert all(abs(value) < float("inf") for value in shape.points)
    assert 0 <= shape.rotation <= 360
    assert all(isinstance(value, str) for value in shape.attributes.values())
    msgspec.json.encode(shape)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"label": "tree"}, "label schema"),
        ({"label": None}, "label schema"),
        ({"label": ["car"]}, "label schema"),
        ({"bounding_box": None}, "four finite"),
        ({"bounding_box": [0, 0, 1]}, "four finite"),
        ({"bounding_box": [0, 0, 1, True]}, "four finite"),
        ({"bounding_box": [0, 0, 1, {"$numberDouble": "Infinity"}]}, "four finite"),
        ({"bounding_box": [0, 0, 1, {"$number": "1e400"}]}, "four finite"),
        ({"rotation": {"$numberDouble": "NaN"}}, "rotation"),
        ({"mask": {"$binary": {}}}, "mask"),
        ({"mask_path": "/m.png"}, "mask"),
        ({"note": "x" * 4097}, "4096"),
        ({"note": "a\0b"}, "NUL"),
        ({"note": "\ud800"}, "surrogate"),
        ({"note": [1]}, "list"),
        ({"bounding_box": [0, 0, 10**400, 1]}, "four finite"),
        ({"bounding_box": [1e308, 0, 1e308, 1]}, "four finite"),
        ({"count": 10**5000}, "digits"),
    ],
)
def test_what_cvat_could_not_take_is_told(members: dict[str, Any], told: str) -> None:
    """It stays in the dataset alone, and is listed."""
    with pytest.raises(Unsendable, match=told):
        sent(**members)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), (True, "true"), (False, "false"), (3, "3"), (0.1, "0.1"), ("a", "a"),
        ({"$numberDouble": "NaN"}, "NaN"), ({"$number": "1.0"}, "1.0"),
    ],
)  # fmt: skip
def test_values_are_spelled_as_the_source_spells_them(value: Any, text: str | None) -> None:
    """A number that was kept as text stays that text."""
    assert text_of(value) == text


def test_a_bool_is_no_number() -> None:
    """Python thinks otherwise."""
    assert number(True) is None
    assert number("1") is None
    assert number({"$number": "x"}) is None


@pytest.mark.parametrize(
    ("facets", "told"),
    [
        ({"class": "nobody"}, "no class"),
        ({"geometry": [1.0]}, "four numbers"),
        ({"geometry": [1.0, 2.0, 3.0, float("inf")]}, "finite"),
        ({"attribute:flag": "maybe"}, "bool"),
        ({"attribute:count": "1.5"}, "int"),
        ({"attribute:count": "1" * 5000}, "int"),
        ({"attribute:score": "nan"}, "float"),
        ({"attribute:score": ["1", "2"]}, "two values"),
    ],
)
def test_what_the_field_cannot_hold_is_told(facets: dict[str, Any], told: str) -> None:
    """It is rejected or quarantined, never dropped."""
    with pytest.raises(UnexpectedValue, match=told):
        to_members(facets, FIELD, NAMES, frame=FRAME, document={})


def test_no_rotation_is_written_where_there_was_none() -> None:
    """CVAT answers 0 for everything."""
    assert to_members({"rotation": 0.0}, FIELD, NAMES, frame=FRAME, document={}) == {
        "rotation": None
    }
    turned = to_members({"rotation": 0.0}, FIELD, NAMES, frame=FRAME, document={"rotation": 5})
    assert turned == {"rotation": 0.0}


def test_an_image_without_a_size_is_told() -> None:
    """The server says what it likes."""
    nowhere = Frame(sample="s", name="", width_px=0, height_px=0)

    with pytest.raises(UnexpectedValue, match="no size"):
        bounding_box_rel([0.0, 0.0, 1.0, 1.0], nowhere)


def test_a_box_dragged_inside_out_is_put_right() -> None:
    """FiftyOne's boxes have positive sides."""
    assert bounding_box_rel([192.0, 108.0, 0.0, 0.0], FRAME) == [0.0, 0.0, 0.1, 0.1]


def test_a_drawn_box_becomes_a_whole_detection() -> None:
    """With what FiftyOne gives every one of them."""
    shape = Shape(id=5, frame=0, label="car_gt", type="rectangle", points=(0.0, 0.0, 192.0, 108.0))

    document = new_document("b" * 24, shape, FIELD, NAMES, FRAME)

    assert document == {
        "_id": {"$oid": "b" * 24}, "_cls": "Detection", "tags": [], "attributes": {},
        "label": "car", "bounding_box": [0.0, 0.0, 0.1, 0.1],
    }  # fmt: skip


def test_a_tag_becomes_a_classification() -> None:
    """Without geometry, and without a detection's members."""
    tag = Tag(id=5, frame=0, label="sun")

    document = new_document("b" * 24, tag, TAGS, {"sun": "sun"}, FRAME)

    assert document["_cls"] == "Classification"
    assert "attributes" not in document


def test_digests_tell_which_facet_changed_and_whether_anything_else_did() -> None:
    """Absent and null are the same; FiftyOne's own dates say nothing."""
    before = label(note="a", tags=["x"], score=None)
    after = label(note="a", tags=["y"], created_at={"$date": "2026"})
    watched = watched_facets(FIELD)

    first, second = digests_of(before, watched), digests_of(after, watched)

    assert set(first) == {*field_facets(FIELD), REST}
    assert {name for name in first if first[name] != second[name]} == {REST}
    assert "exists" not in digests_of(before, ["exists", "class"])
    assert canonical(before)
