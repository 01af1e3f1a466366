"""Comparison of an answer with a recorded one: all but ids, dates, urls and colours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
COLOUR = re.compile(r"#[0-9a-f]{6}")
URL = re.compile(r"(http://[^/\s]+)?/api/")
NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
UUID = re.compile(r"(\d+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Lists whose order CVAT does not promise.
UNORDERED = {"tags", "shapes", "tracks", "attributes", "elements"}
# Member → the table that its number is an id of.
REFERENCES = {
    "label_id": "label",
    "spec_id": "spec",
    "task_id": "task",
    "project_id": "project",
    "job_id": "job",
    "parent_id": "label",
    "job": "job",
    "issue": "issue",
    "data": "data",
    "data_id": "data",
    "organization": "organization",
    "organization_id": "organization",
    "webhook_id": "webhook",
    "assignee": "user",
    "assignee_id": "user",
    "owner_id": "user",
}
# Member → the table of the ids of what it holds.
HOLDERS = {
    "tags": "tag",
    "shapes": "shape",
    "tracks": "track",
    "labels": "label",
    "sublabels": "label",
    "attributes": "spec",
    "owner": "user",
    "assignee": "user",
    "sender": "user",
    "webhook": "webhook",
    "project": "project",
    "task": "task",
    "job": "job",
    "issue": "issue",
    "comment": "comment",
}
RESOURCES = {
    "projects": "project",
    "tasks": "task",
    "jobs": "job",
    "labels": "label",
    "issues": "issue",
    "comments": "comment",
    "webhooks": "webhook",
    "deliveries": "delivery",
    "users": "user",
    "organizations": "organization",
    "access_tokens": "access_token",
}
TABLES = sorted({*REFERENCES.values(), *HOLDERS.values(), *RESOURCES.values(), "inner"})


@dataclass
class Known:
    """Which of our ids, dates and tokens stand for the recorded ones."""

    ids: dict[tuple[str, int], int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    dates_back: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Known:
        return Known(dict(self.ids), self.texts, dict(self.dates), dict(self.dates_back))

    def become(self, other: Known) -> None:
        """Take over what a trial has learned."""
        self.ids, self.dates, self.dates_back = other.ids, other.dates, other.dates_back

    def learn(self, table: str, theirs: int, ours: int) -> bool:
        """Tell whether two ids may stand for each other, and remember that they do."""
        return self.ids.setdefault((table, theirs), ours) == ours

    def learn_date(self, theirs: str, ours: str) -> bool:
        """Tell whether two dates may stand for each other: one date, one date.

        So it shows whether a date moved that should not have, or did not move.
        """
        left = self.dates.setdefault(theirs, ours)
        right = self.dates_back.setdefault(ours, theirs)
        return left == ours and right == theirs

    def stands_for(self, theirs: str, ours: str) -> bool:
        """Tell whether a number in a text may stand for another: equal, or ids of one row."""
        return theirs == ours or any(
            self.ids.get((table, int(theirs))) == int(ours) for table in TABLES
        )

    def id(self, table: str, theirs: int) -> int:
        """Return our id for a recorded one."""
        return self.ids.get((table, theirs), theirs)


def table_of_path(path: str) -> str:
    """Return the table of the ids in the answer to a path."""
    if path.rstrip("/").endswith("/redelivery"):
        return "delivery"
    if path.rstrip("/").endswith("/ping"):
        return "delivery"
    words = [part for part in path.split("/") if part in RESOURCES]
    return RESOURCES[words[-1]] if words else "?"


def difference(theirs: Any, ours: Any, known: Known, *, table: str, at: str = "") -> str | None:
    """Return where and how an answer differs from the recorded one, or None.

    table  the table that a bare `id` belongs to here
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return _objects(theirs, ours, known, table, at)
    if isinstance(theirs, list) and isinstance(ours, list):
        return _lists(theirs, ours, known, table, at)
    if isinstance(theirs, str) and isinstance(ours, str):
        return difference_of_texts(theirs, ours, known, at)
    if type(theirs) is not type(ours):
        return f"{at}: {theirs!r} is not {ours!r}"
    return None if theirs == ours else f"{at}: {theirs!r} is not {ours!r}"


# A member whose value is chance: how long something took.
CHANCE = "request_duration"
# A date that 2.73 notes twice, milliseconds apart; so it need not be the same date twice.
NOTED_TWICE = "started_date"


def _objects(theirs: Any, ours: Any, known: Known, table: str, at: str) -> str | None:
    if set(theirs) != set(ours):
        missing, extra = set(theirs) - set(ours), set(ours) - set(theirs)
        return f"{at}: without {sorted(missing)}, with {sorted(extra)}"
    # Ids first: they tell which rows belong together.
    for name in sorted(theirs, key=lambda name: name not in REFERENCES and name != "id"):
        left, right, here = theirs[name], ours[name], f"{at}.{name}"
        if name == CHANCE and isinstance(right, int):
            continue
        if name == NOTED_TWICE and _is_date(left) and _is_date(right):
            continue
        reference = table if name == "id" else REFERENCES.get(name)
        if reference is not None and isinstance(left, int) and isinstance(right, int):
            if not known.learn(reference, left, right):
                return f"{here}: another {reference}: {left} is {right}"
        elif at.endswith(".changes") and reference is not None:
            if not _same_change(left, right, known, reference):
                return f"{here}: {left} is {right}"
        elif found := difference(left, right, known, table=_inside(name, table), at=here):
            return found
    return None


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and DATE.fullmatch(value) is not None


def _inside(name: str, table: str) -> str:
    """Return the table of the ids in a member."""
    if name == "shapes" and table == "track":
        return "inner"
    return table if name == "elements" else HOLDERS.get(name, table)


def _same_change(theirs: Any, ours: Any, known: Known, table: str) -> bool:
    """Compare two {from, to} of a column that refers to a row."""
    return all(
        theirs[end] == ours[end]
        if theirs[end] is None or ours[end] is None
        else known.learn(table, theirs[end], ours[end])
        for end in ("from", "to")
    )


def _id_of(value: Any) -> int:
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, int) else 0


def _lists(theirs: list[Any], ours: list[Any], known: Known, table: str, at: str) -> str | None:
    if len(theirs) != len(ours):
        return f"{at}: {len(theirs)} items, not {len(ours)}"
    name = at.rpartition(".")[2]
    if name not in UNORDERED:
        for place, (left, right) in enumerate(zip(theirs, ours, strict=True)):
            if found := difference(left, right, known, table=table, at=f"{at}[{place}]"):
                return found
        return None
    rest = list(ours)
    for place, left in enumerate(theirs):
        match, first = None, None
        for candidate in rest:
            trial = known.copy()
            found = difference(left, candidate, trial, table=table, at=f"{at}[{place}]")
            if found is None:
                match = candidate
                known.become(trial)
                break
            same = known.ids.get((table, _id_of(left))) == _id_of(candidate)
            first = found if same or first is None else first
        if match is None:
            return first
        rest.remove(match)
    return None


def difference_of_texts(theirs: str, ours: str, known: Known, at: str) -> str | None:
    """Return how a text differs from the recorded one, or None."""
    if DATE.fullmatch(theirs) and DATE.fullmatch(ours):
        same = known.learn_date(theirs, ours)
        return None if same else f"{at}: date {theirs} is not {ours}, met before as another"
    if theirs == ours or (theirs == "<redacted>" and ours):
        return None
    if COLOUR.fullmatch(theirs) and COLOUR.fullmatch(ours):
        return None
    if not theirs.isdigit() and _same_but_ids(theirs, ours, known):
        return None
    return f"{at}: {theirs!r} is not {ours!r}"


def _same_but_ids(theirs: str, ours: str, known: Known) -> bool:
    """Compare an url or a message: hosts, paths of a disk and ids are another server's own."""
    theirs, ours = _plain(theirs), _plain(ours)
    numbers = zip(NUMBER.findall(theirs), NUMBER.findall(ours), strict=False)
    return NUMBER.sub("N", theirs) == NUMBER.sub("N", ours) and all(
        known.stands_for(left, right) for left, right in numbers
    )


def _plain(text: str) -> str:
    """Blank out what is another server's own and no id of a row."""
    text = text.rpartition("\n")[2] if text.startswith("Traceback") else text
    text = re.sub(r"'/[^']*/", "'", text)
    text = re.sub(r"http://[^/\s]+", "", text)
    text = re.sub(r"(%22)?\d{4}-\d\d-\d\dT[\d:.%A-Z]+?Z", "DATE", text)
    return UUID.sub("UUID", text)
