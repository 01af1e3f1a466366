"""FiftyOne's label documents ↔ CVAT annotations.

FiftyOne: `bounding_box` is [x, y, width, height] as fractions of the image, origin top left.
CVAT: a rectangle is x0, y0, x1, y1 in pixels, with `rotation` in degrees clockwise.
Sources: fiftyone.core.labels (Detection, Classification), CVAT `ShapeType`.

Conversion is for what changed. What did not change keeps its bytes: a box that goes to pixels and
back differs in the last bit in two of three cases.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from events.annotations import Annotation, AttributeValue, Shape, Tag
from events.canonical import canonical
from events.dataset import Document
from events.errors import SyncError
from events.run import FieldSchema, Frame, ValueType
from projections.facets import ATTRIBUTE, Facets, facets_of
from projections.label_schema import LABEL_ID, TEXT_CHARS_MAX

_DIGEST_CHARS = 16
# Stands for all members of a label that no facet stands for: CVAT never sees them.
REST = "rest"
# FiftyOne keeps these by itself; they say nothing of the label.
DATES = frozenset({"created_at", "last_modified_at"})


class Unsendable(SyncError):
    """A label that CVAT could not take as it is; it stays in the dataset alone."""


class UnexpectedValue(SyncError):
    """A value from CVAT that the field of the dataset cannot hold."""


def number(value: object) -> float | None:
    """Read a number of a document, also one that was kept as text; None where it is none."""
    with suppress(ValueError, OverflowError):
        match value:
            case bool():
                return None
            case int() | float():
                return float(value)
            case {"$numberDouble": str(text)} | {"$number": str(text)}:
                return float(text)
    return None


# Dataset → CVAT


def to_annotation(
    document: Mapping[str, Any],
    field: FieldSchema,
    names: Mapping[str, str],
    *,
    index: int,
    frame: Frame,
) -> Annotation:
    """Return what to send for one label; its id is 0 until the server gives one.

    index  the frame number in the task
    Raises Unsendable with the reason.
    """
    name = document.get("label")
    if not isinstance(name, str) or name not in names:
        raise Unsendable("the class is not in the label schema", label=repr(name)[:80])
    common: dict[str, Any] = {
        "id": 0,
        "frame": index,
        "label": names[name],
        "attributes": _attributes(document, field),
    }
    if field.type != "detections":
        return Tag(**common)
    if document.get("mask") or document.get("mask_path"):
        raise Unsendable("the label has a mask: it is an instance, and the field is sent as boxes")
    return Shape(
        **common,
        type="rectangle",
        points=_rectangle_px(document.get("bounding_box"), frame),
        rotation=_rotation(document.get("rotation")),
    )


def _rectangle_px(bounding_box: object, frame: Frame) -> tuple[float, ...]:
    given = bounding_box if isinstance(bounding_box, list) else []
    values = [value for one in given if (value := number(one)) is not None]
    if len(values) != 4 or len(given) != 4:
        raise Unsendable("the bounding box is not four finite numbers")
    x, y, width, height = values
    points = (
        x * frame.width_px,
        y * frame.height_px,
        (x + width) * frame.width_px,
        (y + height) * frame.height_px,
    )
    if not all(map(math.isfinite, points)):
        raise Unsendable("the bounding box is not four finite numbers")
    return points


def _rotation(value: object) -> float:
    degrees = number(value)
    if degrees is None:
        return 0.0
    if not math.isfinite(degrees):
        raise Unsendable("the rotation is not finite")
    return degrees if 0 <= degrees <= 360 else degrees % 360


def _attributes(document: Mapping[str, Any], field: FieldSchema) -> dict[str, AttributeValue]:
    values: dict[str, AttributeValue] = {}
    if field.existing:
        values[LABEL_ID] = document["_id"]["$oid"]
    for spec in field.attributes:
        text = text_of(document.get(spec.name))
        if text is not None:
            values[spec.name] = _checked_text(spec.name, text)
    return values


def _checked_text(name: str, text: str) -> str:
    if len(text) > TEXT_CHARS_MAX:
        raise Unsendable(f"CVAT takes at most {TEXT_CHARS_MAX} characters", attribute=name)
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise Unsendable("CVAT takes no NUL and no lone surrogate", attribute=name)
    return text


def text_of(value: object) -> str | None:
    """Spell an attribute value for CVAT, which knows text alone; None: there is no value."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            try:
                return repr(value)
            except ValueError as exc:
                raise Unsendable("the attribute has more digits than can be written") from exc
        case {"$numberDouble": str(text)} | {"$number": str(text)}:
            return text
        case _:
            raise Unsendable("the attribute is a list or an object")


# CVAT → dataset


def merged_facets(annotation: Annotation, field: FieldSchema) -> Facets:
    """Return the facets of an annotation that the field of the dataset can hold."""
    found = facets_of(annotation)
    return {name: found[name] for name in field_facets(field) if name in found} | {"exists": True}


def field_facets(field: FieldSchema) -> tuple[str, ...]:
    """Name the facets that labels of a field can have."""
    spatial = ("geometry", "rotation") if field.type == "detections" else ()
    return ("class", *spatial, *(ATTRIBUTE + spec.name for spec in field.attributes))


def members_of(facet: str) -> tuple[str, ...]:
    """Name the members of a FiftyOne label that a facet stands for."""
    match facet:
        case "class":
            return ("label",)
        case "geometry":
            return ("bounding_box",)
        case "rotation":
            return ("rotation",)
        case _ if facet.startswith(ATTRIBUTE):
            return (facet.removeprefix(ATTRIBUTE),)
        case _:
            return ()


def watched_facets(field: FieldSchema) -> tuple[str, ...]:
    """Name what is watched of a label on the dataset's side: its facets, and all else of it."""
    return (*field_facets(field), REST)


def digests_of(document: Mapping[str, Any], facets: Iterable[str]) -> dict[str, str]:
    """Return facet → digest of the members it stands for, to see later whether they changed."""
    named = {facet: members_of(facet) for facet in facets}
    digests = {
        facet: _digest({member: document.get(member) for member in members})
        for facet, members in named.items()
        if members
    }
    if REST in named:
        taken = {member for members in named.values() for member in members} | DATES
        digests[REST] = _digest({k: v for k, v in document.items() if k not in taken})
    return digests


def _digest(members: dict[str, Any]) -> str:
    present = {name: value for name, value in members.items() if value is not None}
    return hashlib.sha256(canonical(present)).hexdigest()[:_DIGEST_CHARS]


def to_members(
    facets: Mapping[str, Any],
    field: FieldSchema,
    names: Mapping[str, str],
    *,
    frame: Frame,
    document: Mapping[str, Any],
) -> Document:
    """Return the members that facets from CVAT give a label; None: the member goes.

    document  the label as it is: an attribute keeps the type it has there
    Raises UnexpectedValue.
    """
    members: Document = {}
    for facet, value in facets.items():
        match facet:
            case "class":
                members["label"] = _class_of(value, names)
            case "geometry":
                members["bounding_box"] = bounding_box_rel(value, frame)
            case "rotation":
                members["rotation"] = value if value or "rotation" in document else None
            case _ if facet.startswith(ATTRIBUTE):
                name = facet.removeprefix(ATTRIBUTE)
                kind = field.value_types.get(name, "str")
                members[name] = _typed(name, value, kind)
    return members


def _class_of(label: str, names: Mapping[str, str]) -> str:
    for name, cvat_name in names.items():
        if cvat_name == label:
            return name
    raise UnexpectedValue("the class belongs to no class of the field", label=label)


def bounding_box_rel(points_px: list[float] | None, frame: Frame) -> list[float]:
    """Turn a rectangle x0, y0, x1, y1 in pixels into [x, y, width, height] as fractions.

    Raises UnexpectedValue, also for None: a box may have become a tag.
    """
    if points_px is None:
        raise UnexpectedValue("a box has a place, and a tag has none")
    if len(points_px) != 4:
        raise UnexpectedValue("a rectangle has four numbers", points=len(points_px))
    if not (frame.width_px > 0 and frame.height_px > 0):
        raise UnexpectedValue("the server tells no size of the image", frame=frame.name)
    left, right = sorted((points_px[0], points_px[2]))
    top, bottom = sorted((points_px[1], points_px[3]))
    box = [
        left / frame.width_px,
        top / frame.height_px,
        (right - left) / frame.width_px,
        (bottom - top) / frame.height_px,
    ]
    if not all(map(math.isfinite, box)):
        raise UnexpectedValue("a number of the rectangle is not finite")
    return box


def _typed(name: str, value: object, kind: ValueType) -> object:
    """Read attribute text back; the empty text is no value."""
    if not isinstance(value, str):
        raise UnexpectedValue("the attribute has two values at once", attribute=name)
    if value == "":
        return None
    try:
        match kind:
            case "bool":
                return {"true": True, "false": False}[value.lower()]
            case "int":
                return int(value)
            case "float":
                return _finite(float(value))
            case "str":
                return value
    except (ValueError, KeyError) as exc:
        raise UnexpectedValue(
            f"the attribute holds {kind} values in the dataset", attribute=name, value=value[:80]
        ) from exc


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def new_document(
    label: str, annotation: Annotation, field: FieldSchema, names: Mapping[str, str], frame: Frame
) -> Document:
    """Return the FiftyOne label for an annotation that was drawn in CVAT.

    label  its id, 24 hex digits
    Raises UnexpectedValue.
    """
    is_box = field.type == "detections"
    document: Document = {
        "_id": {"$oid": label},
        "_cls": "Detection" if is_box else "Classification",
        "tags": [],
    }
    if is_box:
        document["attributes"] = {}
    facets = merged_facets(annotation, field)
    members = to_members(facets, field, names, frame=frame, document={})
    return document | {name: value for name, value in members.items() if value is not None}
