"""The facets of an annotation: what of it can change by itself, by name.

class, frame, group, source, attribute:<name>, and of a shape: type, geometry, rotation, occluded,
outside, z_order, score, elements; of a track: keyframes, elements.
"""

from __future__ import annotations

from typing import Any

import msgspec

from events.annotations import Annotation, AttributeValue, Keyframe, Shape, Tag, Track, kind_of
from events.job import Change

Facets = dict[str, Any]
ATTRIBUTE = "attribute:"
_MEMBER = {"class": "label", "geometry": "points"}
_COMMON = ("class", "frame", "group", "source")
_OF = {
    Tag: _COMMON,
    Shape: (
        *_COMMON, "type", "geometry", "rotation", "occluded", "outside", "z_order", "score",
        "elements",
    ),
    Track: (*_COMMON, "keyframes", "elements"),
}  # fmt: skip
_NESTED: dict[tuple[type, str], Any] = {
    (Shape, "elements"): tuple[Shape, ...],
    (Track, "elements"): tuple[Track, ...],
    (Track, "keyframes"): tuple[Keyframe, ...],
}


def facets_of(annotation: Annotation) -> Facets:
    """Return every facet with its value, as plain JSON values."""
    found: Facets = {}
    for name in _OF[type(annotation)]:
        value = getattr(annotation, _MEMBER.get(name, name))
        found[name] = list(msgspec.to_builtins(value)) if isinstance(value, tuple) else value
    for name, value in annotation.attributes.items():
        found[ATTRIBUTE + name] = list(value) if isinstance(value, tuple) else value
    return found


def with_facets(annotation: Annotation, old: Facets, new: Facets) -> Annotation:
    """Return the annotation with `new` facets; those in `old` alone are taken away."""
    kind = type(annotation)
    members: dict[str, Any] = {}
    attributes: dict[str, AttributeValue] | None = None
    for name, value in new.items():
        if type(value) is list:
            value = _value(kind, name, value)
        if not name.startswith(ATTRIBUTE):
            members[_MEMBER.get(name, name)] = value
            continue
        if attributes is None:
            attributes = dict(annotation.attributes)
        attributes[name.removeprefix(ATTRIBUTE)] = value
    if old.keys() != new.keys():
        for name in old:
            if name not in new and name.startswith(ATTRIBUTE):
                if attributes is None:
                    attributes = dict(annotation.attributes)
                attributes.pop(name.removeprefix(ATTRIBUTE), None)
    if attributes is not None:
        members["attributes"] = dict(sorted(attributes.items()))
    return msgspec.structs.replace(annotation, **members)


def _value(kind: type, name: str, value: list[Any]) -> Any:
    nested = _NESTED.get((kind, name))
    return tuple(value) if nested is None else msgspec.convert(value, nested)


def change_between(old: Annotation, new: Annotation) -> Change | None:
    """Return the facets in which two states of one annotation differ, None where in none."""
    if old == new:
        return None
    before, after = facets_of(old), facets_of(new)
    changed = {name for name in before.keys() | after.keys() if _differs(before, after, name)}
    return Change(
        kind=kind_of(new),
        id=new.id,
        frame=old.frame,
        old={name: before[name] for name in sorted(changed & before.keys())},
        new={name: after[name] for name in sorted(changed & after.keys())},
    )


_ABSENT = object()


def _differs(before: Facets, after: Facets, name: str) -> bool:
    return bool(before.get(name, _ABSENT) != after.get(name, _ABSENT))
