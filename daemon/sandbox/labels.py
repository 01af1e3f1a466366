"""Labels and their attributes: made, changed, deleted."""

from __future__ import annotations

import hashlib
from typing import Any

from daemon.sandbox.annotations import forget_ids
from daemon.sandbox.call import Call
from daemon.sandbox.errors import bad_request, invalid, not_found
from daemon.sandbox.fields import (
    REQUIRED,
    Absent,
    Check,
    Missing,
    boolean,
    choice,
    integer,
    listed,
    record,
    text,
)
from daemon.sandbox.model import KINDS, Json, Label, Project, Spec, Task
from daemon.sandbox.state import State

LABEL_TYPES = (
    "any",
    "bbox",
    "cuboid",
    "cuboid_3d",
    "ellipse",
    "mask",
    "polygon",
    "polyline",
    "points",
    "rectangle",
    "skeleton",
    "tag",
)
INPUT_TYPES = ("checkbox", "radio", "number", "text", "select")
NAME_LONGEST = 64
DEFAULT_LONGEST = 128
VALUE_LONGEST = 200

ATTRIBUTE: Check = record(
    id=(integer(), Absent),
    name=(text(longest=NAME_LONGEST), Missing),
    mutable=(boolean, False),
    input_type=(choice(INPUT_TYPES), "select"),
    default_value=(text(longest=DEFAULT_LONGEST, blank=True), ""),
    values=(listed(text(longest=VALUE_LONGEST, blank=True)), list),
)
COMMON: dict[str, tuple[Check, object]] = {
    "id": (integer(), Absent),
    "name": (text(longest=NAME_LONGEST), Absent),
    "color": (text(blank=True), Absent),
    "type": (choice(LABEL_TYPES), Absent),
    "svg": (text(blank=True), Absent),
    "deleted": (boolean, False),
    "attributes": (listed(ATTRIBUTE), list),
}
LABEL: Check = record(**COMMON, sublabels=(listed(record(**COMMON)), list))
LABELS: Check = listed(LABEL)


def make_labels(state: State, owner: Project | Task, documents: list[Json]) -> None:
    """Add labels to a new project or task; raises Refused when two have one name."""
    for document in documents:
        _check_new(document)
    _check_names([each["name"] for each in documents])
    for document in documents:
        make_label(state, owner, document)


def _check_new(document: Json) -> None:
    """Refuse a new label, or one of its sublabels, that has no name."""
    if "name" not in document:
        raise bad_request({"name": [REQUIRED]})
    for sublabel in document.get("sublabels", ()):
        _check_new(sublabel)


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise invalid("All label names must be unique")


def make_label(
    state: State, owner: Project | Task, document: Json, parent: int | None = None
) -> Label:
    """Add one label, with its sublabels."""
    is_project = isinstance(owner, Project)
    label = Label(
        id=state.next_id("labels"),
        name=document["name"],
        color=document.get("color") or color_of(document["name"]),
        type=document.get("type", "any"),
        project=owner.id if is_project else None,
        task=None if is_project else owner.id,
        parent=parent,
    )
    state.labels[label.id] = label
    for attribute in document["attributes"]:
        set_spec(state, label, attribute)
    below = [make_label(state, owner, each, label.id) for each in document.get("sublabels", ())]
    if label.type == "skeleton":
        label.svg = _with_ids(document.get("svg", ""), below)
    return label


def _with_ids(svg: str, sublabels: list[Label]) -> str:
    for label in sublabels:
        svg = svg.replace(f'data-label-name="{label.name}"', f'data-label-id="{label.id}"')
    return svg


def color_of(name: str) -> str:
    """Give a class the same colour wherever it is used."""
    return "#" + hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:6]


def set_spec(state: State, label: Label, document: Json) -> None:
    """Add an attribute to a label, or change the one whose id is given."""
    wanted = document.get("id")
    if wanted is None:
        spec = Spec(state.next_id("specs"), document["name"], False, "select", "", [])
        label.specs[spec.id] = spec
    elif wanted in label.specs:
        spec = label.specs[wanted]
    else:
        raise not_found(f"Attribute with id #{wanted} does not exist")
    spec.name = document["name"]
    spec.mutable = document["mutable"]
    spec.input_type = document["input_type"]
    spec.default_value = document["default_value"]
    # CVAT keeps the values as lines of one text: no value is one empty line.
    spec.values = document["values"] or [""]


def change_labels(call: Call, owner: Project | Task, documents: list[Json]) -> None:
    """Apply the `labels` of a PATCH of a project or task, and move the jobs' dates.

    A document with an id changes or deletes that label; one without adds one.
    Raises Refused before anything changed.
    """
    known = {label.id: label for label in call.state.labels_of(owner)}
    after = {label.id: label.name for label in known.values() if label.parent is None}
    fresh = []
    for document in documents:
        wanted = document.get("id")
        if wanted is None:
            _check_new(document)
            fresh.append(document["name"])
        elif wanted not in known:
            raise not_found(f"Label with id #{wanted} does not exist")
        elif document["deleted"]:
            after.pop(wanted, None)
        elif wanted in after:
            after[wanted] = document.get("name", after[wanted])
    _check_names([*after.values(), *fresh])
    for document in documents:
        if "id" not in document:
            make_label(call.state, owner, document)
        elif document["deleted"]:
            delete_label(call.state, owner, known[document["id"]])
        else:
            change_label(call.state, known[document["id"]], document)


def change_label(state: State, label: Label, document: Json) -> None:
    """Change a label's name, colour, type or attributes."""
    label.name = document.get("name", label.name)
    label.color = document.get("color", label.color) or color_of(label.name)
    label.type = document.get("type", label.type)
    for attribute in document["attributes"]:
        set_spec(state, label, attribute)


def delete_label(state: State, owner: Project | Task, label: Label) -> None:
    """Delete a label, its sublabels, and all annotations that carry it."""
    gone = {label.id} | {row.id for row in state.labels.values() if row.parent == label.id}
    for row_id in gone:
        del state.labels[row_id]
    tasks = state.tasks_of(owner) if isinstance(owner, Project) else [owner]
    for job in [job for task in tasks for job in state.jobs_of(task)]:
        for kind in KINDS:
            table = job.table(kind)
            for row_id in [i for i, row in table.items() if row["label_id"] in gone]:
                forget_ids(state, kind, table.pop(row_id))
        job.writes += 1


def move_dates(state: State, owner: Project | Task) -> None:
    """Give tasks and jobs the date of what their labels belong to; nobody is told."""
    tasks: list[Any] = state.tasks_of(owner) if isinstance(owner, Project) else [owner]
    for task in tasks:
        task.updated = owner.updated
        for job in state.jobs_of(task):
            job.updated = owner.updated
