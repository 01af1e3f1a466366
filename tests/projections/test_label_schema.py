"""From label fields to CVAT labels: names lead back, clashes are told before the first request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.annotations import AttributeSpec
from events.run import FieldSchema
from projections.label_schema import (
    BadLabelSchema,
    Inference,
    compile_labels,
    label_type_of,
    value_type_of,
)


def field(name: str, *classes: str, **members: Any) -> FieldSchema:
    return FieldSchema(
        name=name, type=members.pop("type", "detections"), classes=classes, **members
    )


def test_a_class_of_one_field_keeps_its_name_and_one_of_two_gets_its_fields() -> None:
    """As FiftyOne names them."""
    labels, names = compile_labels([field("gt", "car", "bus"), field("pred", "car")])

    assert names == {"gt": {"car": "car_gt", "bus": "bus"}, "pred": {"car": "car_pred"}}
    assert [label.name for label in labels] == ["car_gt", "bus", "car_pred"]


words = st.text("ab_", min_size=1, max_size=4)


@given(st.dictionaries(words, st.sets(words, min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_cvat_label_leads_back_to_one_class_of_one_field(
    classes: dict[str, set[str]],
) -> None:
    """Or the schema is refused: `a` of `b_c` and `a_b` of `c` would be one label."""
    fields = [field(name, *sorted(some)) for name, some in classes.items()]
    try:
        labels, names = compile_labels(fields)
    except BadLabelSchema:
        return

    back = [cvat for some in names.values() for cvat in some.values()]
    assert sorted(back) == sorted(label.name for label in labels)
    assert len(set(back)) == len(back)


def test_labels_of_existing_fields_carry_their_identity() -> None:
    """In an attribute that people may change, since CVAT pastes it with a copy."""
    note = AttributeSpec(name="note")
    labels, _ = compile_labels(
        [
            field("gt", "car", existing=True, attributes=(note,)),
            field("weather", "sun", type="classification"),
        ]
    )

    assert [spec.name for spec in labels[0].attributes] == ["label_id", "note"]
    assert (labels[0].type, labels[1].type) == ("rectangle", "tag")
    assert labels[1].attributes == ()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([field("gt")], "no classes"),
        ([field("gt", "x" * 65)], "64"),
        ([field("gt", "")], "64"),
        ([field("gt", "a", attributes=(AttributeSpec(name="x" * 65),))], "64"),
        ([field("gt", "a", attributes=(AttributeSpec(name="label_id"),))], "label_id"),
        ([field("a", "x", "x_b"), field("b", "x")], "same CVAT label name"),
        ([field("a", "x", "x")], "same CVAT label name"),
    ],
)
def test_a_schema_that_cvat_could_not_hold_is_refused(fields: list[FieldSchema], told: str) -> None:
    """Before the first request."""
    with pytest.raises(BadLabelSchema, match=told):
        compile_labels(fields)


def test_classes_and_attributes_follow_from_the_labels() -> None:
    """In one pass; lists, objects and FiftyOne's own members are no attributes."""
    found = Inference()
    found.add({"label": "car", "score": 1, "flag": True, "index": 4, "xs": [1], "mixed": 1})
    found.add({"label": "bus", "score": 0.5, "note": "n", "mixed": "x", "none": None})
    found.add({"label": None, "score": {"$number": "1.0"}})

    assert found.classes == {"bus", "car"}
    assert found.value_types == {"score": "float", "flag": "bool", "note": "str", "mixed": "str"}
    specs = {spec.name: (spec.input_type, spec.values) for spec in found.attributes()}
    assert specs["flag"] == ("checkbox", ("true", "false"))
    assert specs["score"] == ("text", ())
    assert list(specs) == sorted(specs)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"), (1, "int"), (1.5, "float"), ({"$numberDouble": "NaN"}, "float"),
        ({"$number": "1.0"}, "float"), ("a", "str"), (None, None), ([1], None), ({"a": 1}, None),
    ],
)  # fmt: skip
def test_a_value_has_the_type_that_it_shows(value: Any, kind: str | None) -> None:
    """What CVAT could not show as text has none."""
    assert value_type_of(value) == kind


def test_fields_that_are_not_supported_have_no_type() -> None:
    """Yet."""
    assert label_type_of("Detections") == "detections"
    assert label_type_of("Classification") == "classification"
    assert label_type_of("Heatmap") is None
