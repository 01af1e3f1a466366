"""FiftyOne's sample documents, taken apart into members and labels, and put together again.

A sample document is MongoDB extended JSON as a FiftyOneDataset export holds it in `samples.json`.
A label is an embedded document of one of FiftyOne's label classes with an id of its own: alone in
its field (`Classification`, `Segmentation`, …), or in the list of a container (`Detections`, …).
The emptied container stays with the sample, so that `join(*split(document)) == document`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import orjson

from events.canonical import canonical
from events.dataset import Document, LabelChange

# Container class → the member that lists its labels, and their class.
LISTS: Final = {
    "Classifications": ("classifications", "Classification"),
    "Detections": ("detections", "Detection"),
    "Keypoints": ("keypoints", "Keypoint"),
    "Polylines": ("polylines", "Polyline"),
    "TemporalDetections": ("detections", "TemporalDetection"),
}
CONTAINERS: Final = {label: (name, list_) for name, (list_, label) in LISTS.items()}
LABELS: Final = frozenset({*CONTAINERS, "Heatmap", "Regression", "Segmentation"})

# FiftyOne sets these anew on every save or import; they say nothing about the sample.
NO_CONTENT: Final = frozenset(
    {"_dataset_id", "_rand", "_sample_id", "created_at", "last_modified_at", "last_loaded_at"}
)

ALONE: Final = -1

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")


class Label(NamedTuple):
    """One label of a sample.

    order  its place in the list of its field, ALONE where the field holds this one label itself
    """

    field: str
    label: str
    order: int
    document: Document


def object_id(document: Document) -> str | None:
    """Return the id (24 hex digits) of a sample or label document, None if it has none."""
    match document.get("_id"):
        case {"$oid": str(oid), **rest} if not rest and _OBJECT_ID.fullmatch(oid):
            return oid
    return None


def split(document: Document) -> tuple[Document, list[Label]]:
    """Take the labels out of a sample document; what was given is not changed.

    A list whose labels cannot be told apart (no id, one id twice, another class) stays whole with
    the members; `unaddressable` finds it.
    """
    members: Document = {}
    labels: list[Label] = []
    for field, value in document.items():
        kept, found = _split_field(field, value)
        labels += found
        if kept is not None or not found:
            members[field] = kept
    return members, labels


def join(members: Document, labels: Iterable[Label]) -> Document:
    """Put labels back among the members of their sample, each list in its order.

    A list whose container is missing gets the one that FiftyOne uses for the labels' class.
    """
    document = dict(members)
    lists: dict[str, list[Document]] = {}
    for label in sorted(labels, key=lambda label: (label.field, label.order, label.label)):
        if label.order == ALONE:
            document[label.field] = label.document
        else:
            lists.setdefault(label.field, []).append(label.document)
    for field, listed in lists.items():
        document[field] = _filled(members.get(field), listed)
    return document


def unaddressable(members: Document) -> Iterator[str]:
    """Name the fields that hold labels which `split` had to leave where they are."""
    for field, value in members.items():
        if isinstance(value, dict):
            name, _ = LISTS.get(class_of(value), ("", ""))
            if class_of(value) in LABELS or value.get(name):
                yield field


def content(document: Document) -> Document:
    """Return the document without nulls and without what FiftyOne sets anew by itself."""
    return {
        name: value
        for name, value in document.items()
        if value is not None and name not in NO_CONTENT
    }


def with_members(document: Document, old: Document, new: Document) -> Document:
    """Return the document with members changed; one that `new` lacks, or that is null, goes."""
    changed = {**document, **new}
    for name in (*old, *new):
        if new.get(name) is None:
            changed.pop(name, None)
    return changed


def with_labels(document: Document, changes: Iterable[LabelChange]) -> Document:
    """Return a whole sample with its labels changed; new ones come last in their list."""
    members, found = split(document)
    labels = {(label.field, label.label): label for label in found}
    order_next = 1 + max((label.order for label in found), default=ALONE)
    for order, change in enumerate(changes, start=order_next):
        key = (change.field, change.label)
        if change.new is None:
            labels.pop(key, None)
        elif change.old is None:
            labels[key] = Label(*key, ALONE if change.alone else order, change.new)
        elif key in labels:
            changed = with_members(labels[key].document, change.old, change.new)
            labels[key] = labels[key]._replace(document=changed)
    return join(members, labels.values())


def digest(document: Document) -> bytes:
    """Return the SHA-256 of a sample document's content; the order of labels in a list is none.

    Raises NotCanonical for values that cannot be written to the log.
    """
    return digest_of(*split(document))


def digest_of(members: Document, labels: Iterable[Label]) -> bytes:
    """Return the digest of a sample that was taken apart."""
    told = [
        [label.field, label.order == ALONE, content(label.document)]
        for label in sorted(labels, key=lambda label: (label.field, label.label))
    ]
    return hashlib.sha256(_spelled([content(members), told])).digest()


def _spelled(value: object) -> bytes:
    # A document as it was read holds no bare NaN (`events.dataset`), so orjson alone spells it:
    # canonical bytes but for marks, at a tenth of the price. Every sample of a scan comes by here.
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return canonical(value)


def _split_field(field: str, value: object) -> tuple[object, list[Label]]:
    if not isinstance(value, dict):
        return value, []
    if class_of(value) in LABELS and (alone := object_id(value)):
        return None, [Label(field, alone, ALONE, value)]
    name, label_class = LISTS.get(class_of(value), ("", ""))
    labels = _told_apart(field, value.get(name), label_class)
    return ({**value, name: []}, labels) if labels else (value, [])


def _told_apart(field: str, listed: object, label_class: str) -> list[Label]:
    """Return the labels of a list; none at all when one of them has no address of its own."""
    if not isinstance(listed, list):
        return []
    labels = [
        Label(field, oid, order, one)
        for order, one in enumerate(listed)
        if isinstance(one, dict) and class_of(one) == label_class and (oid := object_id(one))
    ]
    return labels if len({label.label for label in labels}) == len(listed) else []


def _filled(container: object, labels: list[Document]) -> Document:
    if isinstance(container, dict) and (known := LISTS.get(class_of(container))):
        held = container.get(known[0])
        return {**container, known[0]: [*held, *labels] if isinstance(held, list) else labels}
    name, list_ = CONTAINERS[class_of(labels[0])]
    return {"_cls": name, list_: labels}


def class_of(value: Document) -> str:
    """Return FiftyOne's class of an embedded document, "" if it names none."""
    found = value.get("_cls")
    return found if isinstance(found, str) else ""
