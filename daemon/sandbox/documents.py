"""The check of an annotation document, `LabeledData` in CVAT's schema."""

from __future__ import annotations

from typing import Any

from daemon.sandbox.errors import bad_request
from daemon.sandbox.fields import (
    Absent,
    Check,
    FieldInvalid,
    Missing,
    TakesNull,
    boolean,
    choice,
    clean,
    integer,
    listed,
    number,
    optional,
    record,
    text,
)
from daemon.sandbox.model import KINDS

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


def _score(value: Any) -> float:
    number(lowest=0, highest=1)(value)
    return float(value) if isinstance(value, str) else value


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
OLD_DOCUMENT: Check = record(
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


SOURCES = ("auto", "semi-auto", "manual", "file", "consensus")
# The number of coordinates that 2.73 wants, where it is fixed.
POINTS = {"rectangle": 4, "ellipse": 4, "cuboid": 16}
NEW_HEAD: dict[str, tuple[Check, object]] = HEAD | {
    "group": (TakesNull(lambda value: 0 if value is None else integer(lowest=0)(value)), 0),
    "source": (choice(SOURCES), "manual"),
}
SCORE: dict[str, tuple[Check, object]] = {"score": (_score, 1)}


NEW_SHAPE = SHAPE | {"rotation": (SHAPE["rotation"][0], 0)}


def _new_shape(**more: tuple[Check, object]) -> Check:
    checked = record(**NEW_HEAD, **NEW_SHAPE, **SCORE, attributes=ATTRIBUTES, **more)

    def check(value: Any) -> Any:
        made = checked(value)
        wanted = POINTS.get(made["type"])
        if wanted is not None and len(made.get("points", ())) != wanted:
            raise FieldInvalid({"points": [f"expected {wanted} coordinates"]})
        return made

    return check


_ELEMENT_TRACK = record(**NEW_HEAD, shapes=KEYFRAMES, attributes=ATTRIBUTES)
NEW_DOCUMENT: Check = record(
    version=(integer(), 0),
    tags=(listed(record(**NEW_HEAD, attributes=ATTRIBUTES)), list),
    shapes=(listed(_new_shape(elements=(listed(_new_shape()), list))), list),
    tracks=(
        listed(
            record(
                **NEW_HEAD,
                shapes=KEYFRAMES,
                attributes=ATTRIBUTES,
                elements=(listed(_ELEMENT_TRACK), list),
            )
        ),
        list,
    ),
)


def checked_document(value: Any, *, action: str, is_new: bool) -> Any:
    """Check a document for a write; raises Refused (400).

    2.73 takes no ids where rows are made, and wants them where rows are deleted.
    """
    if not is_new:
        return clean(OLD_DOCUMENT, value)
    document = clean(NEW_DOCUMENT, value)
    absent, present = action in {"create", "replace"}, action == "delete"
    problems = {
        kind: [_id_problem(row, absent=absent, present=present) for row in document[kind]]
        for kind in KINDS
    }
    problems = {kind: each for kind, each in problems.items() if any(each)}
    if problems:
        raise bad_request(problems)
    return document


def _id_problem(row: Any, *, absent: bool, present: bool) -> dict[str, list[str]]:
    if absent and row["id"] is not None:
        return {"id": ["must be absent"]}
    return {"id": ["must be present"]} if present and row["id"] is None else {}
