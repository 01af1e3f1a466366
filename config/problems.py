"""What is wrong with the settings: every problem at once, each with its place and a way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    where  file and line, or the environment variable or credential file that holds the value
    key    dotted path of the setting, "" where the file as a whole is meant
    """

    where: str
    key: str
    what: str
    todo: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.where}: {key}{self.what}; {self.todo}"


class SettingsUnusable(Exception):
    """The settings cannot be used; `problems` names everything that has to be mended."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the line (from 1) that sets `path`, or else the nearest table around it.

    It looks at lines, not at grammar: a key inside an inline table gives the line of the table.
    """
    best, best_depth = None, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = place = _parts(header[1])
        elif key := _KEY.match(line):
            place = (*table, *_parts(key[1]))
        else:
            continue
        if len(place) > best_depth and tuple(path[: len(place)]) == place:
            best, best_depth = number, len(place)
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
