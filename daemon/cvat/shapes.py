"""What must be true of a server's objects before anything is decided from them.

A broken or foreign server may answer anything with 200. Members that nothing of ours reads are not
looked at, and members that newer servers leave out are not missed.

Source: CVAT OpenAPI 2.15, `JobRead`, `TaskRead`, `Label`, `IssueRead`, `CommentRead`, `User`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from daemon.ports.cvat import ASIDE_MAX, Aside, Row, UnreadableAnswer, UnreadableRow

# What our tables can hold; a server's own columns are smaller.
ID_MAX: Final = 2**63 - 1
Id = Annotated[int, Meta(ge=0, le=ID_MAX)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_REASON_CHARS_MAX: Final = 200


class _User(msgspec.Struct):
    id: Id | None = None


class _Object(msgspec.Struct):
    id: Id | None = None
    created_date: str | None = None
    updated_date: str | None = None


class _Job(_Object, kw_only=True):
    task_id: Id | None = None
    project_id: Id | None = None
    type: str | None = None
    stage: str | None = None
    state: str | None = None
    start_frame: Whole | None = None
    stop_frame: Whole | None = None
    assignee: _User | Id | None = None


class _Dated(msgspec.Struct):
    # Whoever walks a list by date reads both of each row, so that they may not be left out there.
    id: Id
    updated_date: str


class _ListedJob(_Job, kw_only=True):
    id: Id
    updated_date: str


class _Task(_Object):
    name: str | None = None
    project_id: Id | None = None
    status: str | None = None
    assignee: _User | Id | None = None


class _ListedTask(_Task, kw_only=True):
    id: Id
    updated_date: str


class _Attribute(msgspec.Struct):
    name: str
    id: Id = 0
    input_type: str = "text"
    mutable: bool = False
    default_value: str | None = None
    values: list[str] | None = None


class _Label(msgspec.Struct):
    # Left out they are missed where labels are read; null would be recorded, and fit no event.
    id: Id = 0
    name: str = ""
    type: str | None = None
    color: str | None = None
    attributes: list[_Attribute] | None = None
    sublabels: list[_Label] | None = None


class _Numbered(msgspec.Struct):
    id: Id


class _Issue(_Object, kw_only=True):
    id: Id
    job: Id
    frame: Whole | None = None
    owner: _User | None = None
    resolved: bool | None = None
    position: list[float] | None = None


class _Comment(_Object, kw_only=True):
    id: Id
    issue: Id
    owner: _User | None = None
    message: str | None = None


_SHAPES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "/api/jobs/N": _Job,
    "/api/jobs": _ListedJob,
    "/api/tasks/N": _Task,
    "/api/tasks": _ListedTask,
    "/api/projects": _Dated,
    "/api/labels": _Label,
    "/api/issues": _Issue,
    "/api/comments": _Comment,
    "/api/webhooks": _Numbered,
    "/api/webhooks/N/deliveries": _Numbered,
    "/api/users/self": _User,
}
_NUMBER: Final = re.compile(r"\d+")
_DATES: Final = ("created_date", "updated_date")


def checked(row: Any, path: str, where: Mapping[str, Any]) -> Row:
    """Return an object of this path if all that we read of it is what CVAT documents.

    Raises UnreadableAnswer, whose `reason` names the member.
    """
    try:
        return _checked(row, path)
    except (msgspec.ValidationError, ValueError, OverflowError) as exc:
        raise UnreadableAnswer(
            "the server's answer is not what CVAT documents",
            **where,
            **({} if (number := id_in(row)) is None else {"id": number}),
            reason=str(exc)[:_REASON_CHARS_MAX],
            hint="nothing was recorded; is this a CVAT server from 2.15 on?",
        ) from exc


def sound(
    rows: list[Any], path: str, where: Mapping[str, Any], aside: Aside | None = None
) -> list[Row]:
    """Return the rows of a list that are what CVAT documents; put the others `aside`.

    Raises UnreadableAnswer where nobody takes them, or they are more than a few.
    """
    found: list[Row] = []
    for row in rows:
        try:
            found.append(checked(row, path, where))
        except UnreadableAnswer as exc:
            if aside is None or len(aside) == ASIDE_MAX:
                raise
            date, _ = place_of(row) or ("", 0)
            aside.append(UnreadableRow(id_in(row), str(exc.facts["reason"]), date))
    return found


def place_of(row: Any) -> tuple[str, int] | None:
    """Return a row's (updated_date, id), which lists are sorted by; None if it has none."""
    try:
        found = msgspec.convert(row, _Dated)
        _check_date(found.updated_date)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return None
    return (found.updated_date, found.id) if found.updated_date else None


def id_in(row: Any) -> int | None:
    """Return the id of an object that may be anything."""
    found = row.get("id") if isinstance(row, dict) else None
    return found if type(found) is int and 0 <= found <= ID_MAX else None


def _checked(row: Any, path: str) -> Row:
    shape = _SHAPES.get(_NUMBER.sub("N", path))
    if shape is not None:
        msgspec.convert(row, shape)
    if not isinstance(row, dict):
        raise ValueError("no object")  # translated by the caller
    for name in _DATES if shape is not None else ():
        _check_date(row.get(name))
    return row


def _check_date(text: object) -> None:
    """Raise ValueError or OverflowError where a date is none that can be computed with."""
    if isinstance(text, str) and text and datetime.fromisoformat(text).timestamp() < 0:
        # Nor with one that has no earlier one, such as the first of year 1.
        raise ValueError(f"a date before 1970: {text}")
