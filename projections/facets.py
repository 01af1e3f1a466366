"""The facets of an annotation: what of it can change by itself, by name.

class, frame, group, source, attribute:<name>, and of a shape: type, geometry, rotation, occluded,
outside, z_order, score, elements; of a track: keyframes, elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from events.annotations import Annotation, AttributeValue, Keyframe, Shape, Tag, Track, kind_of
from events.canonical import canonical, is_marked, parse
from events.job import Change, ChangeOutline

Facets = dict[str, Any]
Edit = tuple[int, str, msgspec.Raw]
"""The last change of a facet: the position of its event, the facet, and its spelled value, null
where it has none any more. `UNTOUCHED`: a changed schema shows it so, and nobody ever changed it.
"""
UNTOUCHED = 0
GONE = msgspec.Raw(b"null")
NO_EDIT: Edit = (UNTOUCHED, "", GONE)
ATTRIBUTE = "attribute:"
_COMMON = ("class", "frame", "group", "source")
_OF = {
    Tag: _COMMON,
    Shape: (
        *_COMMON, "type", "geometry", "rotation", "occluded", "outside", "z_order", "score",
        "elements",
    ),
    Track: (*_COMMON, "keyframes", "elements"),
}  # fmt: skip
_MEMBER = {name: name for names in _OF.values() for name in names} | {
    "class": "label",
    "geometry": "points",
}
_NESTED: dict[str, dict[type, Any]] = {
    "elements": {Shape: tuple[Shape, ...], Track: tuple[Track, ...]},
    "keyframes": {Track: tuple[Keyframe, ...]},
}
_decode: Callable[[bytes], Annotation] = msgspec.json.Decoder(Annotation).decode


def facets_of(annotation: Annotation) -> Facets:
    """Return every facet with its value, as plain JSON values."""
    found: Facets = {}
    for name in _OF[type(annotation)]:
        value = getattr(annotation, _MEMBER[name])
        found[name] = list(msgspec.to_builtins(value)) if isinstance(value, tuple) else value
    for name, value in annotation.attributes.items():
        found[ATTRIBUTE + name] = list(value) if isinstance(value, tuple) else value
    return found


def annotation_of(held: msgspec.Raw, edits: Iterable[Edit]) -> Annotation:
    """Return an annotation from canonical bytes, with what changed since."""
    annotation = _read(bytes(held))
    facets = {name: parse(bytes(value)) for _, name, value in edits}
    if not facets:
        return annotation
    new = {name: value for name, value in facets.items() if value is not None}
    return with_facets(annotation, facets, new)


def _read(held: bytes) -> Annotation:
    return msgspec.convert(parse(held), Annotation) if is_marked(held) else _decode(held)


def edited(edits: tuple[Edit, ...], change: ChangeOutline, position: int) -> tuple[Edit, ...]:
    """Return the edits of an annotation after one more change, which the event there tells of."""
    given = dict.fromkeys(change.old, GONE) | change.new
    left = [edit for edit in edits if edit[1] not in given]
    return (*left, *[(position, name, value.copy()) for name, value in given.items()])


def carried(edits: tuple[Edit, ...], change: ChangeOutline) -> tuple[Edit, ...]:
    """Return the edits after a change that nobody made: whoever touched a facet last still did."""
    touched = {name: position for position, name, _ in edits}
    now = edited(edits, change, UNTOUCHED)
    return tuple(
        (position or touched.get(name, UNTOUCHED), name, value) for position, name, value in now
    )


def spelled(value: object) -> msgspec.Raw:
    """Return a facet, or an annotation, in canonical bytes."""
    return msgspec.Raw(canonical(msgspec.to_builtins(value)))


def with_facets(annotation: Annotation, old: Facets, new: Facets) -> Annotation:
    """Return the annotation with `new` facets; those in `old` alone are taken away."""
    members: dict[str, Any] = {}
    for name, value in new.items():
        if type(value) is list:
            nested = _NESTED.get(name)
            value = msgspec.convert(value, nested[type(annotation)]) if nested else tuple(value)
        if not name.startswith(ATTRIBUTE):
            members[_MEMBER[name]] = value
        else:
            _attributes(annotation, members)[name[len(ATTRIBUTE) :]] = value
    for name in old:
        if name not in new and name.startswith(ATTRIBUTE):
            _attributes(annotation, members).pop(name[len(ATTRIBUTE) :], None)
    if "attributes" in members:
        members["attributes"] = dict(sorted(members["attributes"].items()))
    return msgspec.structs.replace(annotation, **members)


def _attributes(annotation: Annotation, members: dict[str, Any]) -> dict[str, AttributeValue]:
    """Return the attributes that are being changed, a copy of the annotation's to begin with."""
    attributes: dict[str, AttributeValue] | None = members.get("attributes")
    if attributes is None:
        attributes = members["attributes"] = dict(annotation.attributes)
    return attributes


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
