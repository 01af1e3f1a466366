"""Exit codes, and how an error becomes one. The only table of them."""

from __future__ import annotations

from typing import Any, Final

from daemon.ports.cvat import ServerUnreachable
from events.errors import SyncError

FINE: Final = 0
ERROR: Final = 1
USAGE: Final = 2
DIFFERENT: Final = 3
NOT_VERIFIED: Final = 4
NOT_REACHABLE: Final = 5


def exit_code(error: SyncError) -> int:
    """Return the code for an error; a class of ours may name its own as `exit_code`."""
    if isinstance(error, ServerUnreachable):
        return NOT_REACHABLE
    return int(getattr(error, "exit_code", ERROR))


def failure(error: SyncError) -> dict[str, Any]:
    """Return an error as the last object of an operation."""
    return {
        "kind": "error",
        "error": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "facts": {name: _plain(fact) for name, fact in error.facts.items()},
        "exit_code": exit_code(error),
    }


def _plain(fact: object) -> object:
    match fact:
        case bool() | int() | float() | str() | None:
            return fact
        case bytes():
            return fact.hex()
        case list() | tuple():
            return [_plain(one) for one in fact]
    return str(fact)
