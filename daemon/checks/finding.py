"""What a check found."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    check    its name, stable: for programs
    where    a path, a server, a webhook, a dataset
    todo     what to do about it; empty where all is well
    reached  False where a server gave no answer at all
    """

    level: Level
    check: str
    where: str
    what: str
    todo: str = ""
    reached: bool = True


def ok(check: str, where: str, what: str) -> Finding:
    """Return that all is well."""
    return Finding(level="ok", check=check, where=where, what=what)


def warning(check: str, where: str, what: str, todo: str) -> Finding:
    """Return what works, and could be better."""
    return Finding(level="warning", check=check, where=where, what=what, todo=todo)


def problem(check: str, where: str, what: str, todo: str, *, reached: bool = True) -> Finding:
    """Return what does not work."""
    return Finding(level="problem", check=check, where=where, what=what, todo=todo, reached=reached)
