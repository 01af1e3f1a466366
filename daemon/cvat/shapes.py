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

from daemon.ports.cvat import Row, ServerTrouble

# What our tables can hold; a server's own columns are smaller.
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
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


class _ListedJob(_Job, kw_only=True):
    # Those who walk this list read both of each row.
    id: Id
    updated_date: str


class _Task(_Object):
    name: str | None = None
    project_id: Id | None = None
    status: str | None = None
    assignee: _User | Id | None = None


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


class _Issue(_Object):
    job: Id | None = None
    frame: Whole | None = None
    owner: _User | None = None
    resolved: bool | None = None
    position: list[float] | None = None


class _Comment(_Object):
    issue: Id | None = None
    owner: _User | None = None
    message: str | None = None


_SHAPES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "/api/jobs/N": _Job,
    "/api/jobs": _ListedJob,
    "/api/tasks/N": _Task,
    "/api/tasks": _Task,
    "/api/labels": _Label,
    "/api/issues": _Issue,
    "/api/comments": _Comment,
    "/api/users/self": _User,
}
_NUMBER: Final = re.compile(r"\d+")
_DATES: Final = ("created_date", "updated_date")


def checked(row: Row, path: str, where: Mapping[str, Any]) -> Row:
    """Return a row of this path if all that we read of it is what CVAT documents.

    Raises ServerTrouble.
    """
    shape = _SHAPES.get(_NUMBER.sub("N", path))
    if shape is None:
        return row
    try:
        msgspec.convert(row, shape)
        for name in _DATES:
            _check_date(row.get(name))
    except (msgspec.ValidationError, ValueError, OverflowError) as exc:
        raise ServerTrouble(
            "the server's answer is not what CVAT documents",
            **where,
            reason=str(exc)[:_REASON_CHARS_MAX],
            hint="nothing was recorded; is this a CVAT server from 2.15 on?",
        ) from exc
    return row


def _check_date(text: object) -> None:
    """Raise ValueError or OverflowError where a date is none that can be computed with."""
    if isinstance(text, str) and text:
        datetime.fromisoformat(text).timestamp()
