"""The check of an annotation document, `LabeledData` in CVAT's schema."""

from __future__ import annotations

from typing import Any

from daemon.sandbox.fields import (
    Absent,
    Check,
    FieldInvalid,
    Missing,
    TakesNull,
    boolean,
    choice,
    integer,
    listed,
    number,
    optional,
    record,
    text,
)

TEXT_LONGEST = 4096
FULL_TURN_DEGREES = 360
SHAPE_TYPES = (
    "rectangle",
    "polygon",
    "polyline",
    "points",
    "ellipse",
    "cuboid",
    "mask",
    "skeleton",
)


def _points(value: Any) -> list[float]:
    if not isinstance(value, list):
        kind = type(value).__name__
        raise FieldInvalid([f'Expected a list of items but got type "{kind}".'])
    problems = {
        str(place): ["Value must be a float or an integer"]
        for place, item in enumerate(value)
        if type(item) not in (int, float)
    }
    if problems:
        raise FieldInvalid(problems)
    return value


def _attribute_text(value: Any) -> str:
    # Numbers, true and null become text before the check, as Python writes them.
    return str(text(longest=TEXT_LONGEST, blank=True)(str(value)))


ATTRIBUTES: tuple[Check, object] = (
    listed(record(spec_id=(integer(), Missing), value=(TakesNull(_attribute_text), Missing))),
    list,
)
HEAD: dict[str, tuple[Check, object]] = {
    "id": (optional(integer()), None),
    "frame": (integer(lowest=0), Missing),
    "label_id": (integer(lowest=0), Missing),
    "group": (optional(integer(lowest=0)), None),
    "source": (text(), "manual"),
}
SHAPE: dict[str, tuple[Check, object]] = {
    "type": (choice(SHAPE_TYPES), Missing),
    "occluded": (boolean, False),
    "outside": (boolean, False),
    "z_order": (integer(), 0),
    "rotation": (number(lowest=0, highest=FULL_TURN_DEGREES), 0.0),
    "points": (_points, Absent),
}
KEYFRAMES: tuple[Check, object] = (
    listed(
        record(**SHAPE, id=(optional(integer()), None), frame=HEAD["frame"], attributes=ATTRIBUTES)
    ),
    Missing,
)
DOCUMENT: Check = record(
    version=(integer(), 0),
    tags=(listed(record(**HEAD, attributes=ATTRIBUTES)), list),
    shapes=(
        listed(
            record(
                **HEAD,
                **SHAPE,
                attributes=ATTRIBUTES,
                elements=(listed(record(**HEAD, **SHAPE, attributes=ATTRIBUTES)), list),
            )
        ),
        list,
    ),
    tracks=(
        listed(
            record(
                **HEAD,
                shapes=KEYFRAMES,
                attributes=ATTRIBUTES,
                elements=(listed(record(**HEAD, shapes=KEYFRAMES, attributes=ATTRIBUTES)), list),
            )
        ),
        list,
    ),
)
