"""What an operation is, and how one is found by its name."""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from daemon.operations.exits import USAGE
from daemon.operations.here import HERE
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App

Json = dict[str, Any]
Run = Callable[["App", Any], AsyncGenerator[Json, None]]
Direction = Literal["CVAT", "dataset", "settings", "log", "folder"]

NAME: Final = re.compile(r"[a-z]+(-[a-z]+)*(\.[a-z]+)?")


class UnknownOperation(SyncError):
    """No operation has this name."""

    exit_code = USAGE


class BadArguments(SyncError):
    """The arguments do not fit the operation."""

    exit_code = USAGE


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation that needs to be told nothing."""


@dataclass(frozen=True)
class Operation:
    """One command.

    args      its arguments, from JSON; text is turned into numbers where a number is meant
    run       yields JSON objects, each with a `kind`; the last may be `exit(code)`
    writes    where it writes to; such an operation has an argument `dry_run`
    reloads   the daemon reads its settings again afterwards
    state     it asks the projections; one that does not starts faster
    """

    name: str
    args: type[msgspec.Struct]
    run: Run
    writes: Direction | None = None
    reloads: bool = False
    state: bool = True

    @property
    def here(self) -> bool:
        """Return whether it runs in the caller's process, also beside a daemon."""
        return self.name in HERE

    def start(self, app: App, arguments: Json) -> AsyncGenerator[Json, None]:
        """Check the arguments and begin. Raises BadArguments."""
        try:
            args = msgspec.convert(arguments, self.args, strict=False)
        except msgspec.ValidationError as exc:
            raise BadArguments(
                "the arguments do not fit", operation=self.name, reason=str(exc)
            ) from exc
        return self.run(app, args)


_operations: Final[dict[str, Operation]] = {}


def operation(
    name: str,
    *,
    args: type[msgspec.Struct] = NoArgs,
    writes: Direction | None = None,
    reloads: bool = False,
    state: bool = True,
) -> Callable[[Run], Run]:
    """Register an async generator `run(app, args)` as an operation."""

    def register(run: Run) -> Run:
        assert name not in _operations, f"two operations are called {name}"
        assert writes is None or "dry_run" in args.__struct_fields__, f"{name} has no dry_run"
        _operations[name] = Operation(name, args, run, writes, reloads, state)
        return run

    return register


def find(name: str) -> Operation:
    """Return the operation of this name; its module is imported now. Raises UnknownOperation."""
    if not NAME.fullmatch(name):
        raise UnknownOperation("this is no name of an operation", name=name[:80])
    module = f"daemon.operations.{name.partition('.')[0].replace('-', '_')}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name != module:
            raise
    if name not in _operations:
        raise UnknownOperation(
            "there is no such operation", name=name, hint="is the daemon of another release?"
        )
    return _operations[name]


def exit_with(code: int) -> Json:
    """Return the last object of an operation that is fine, but ends with another code than 0."""
    return {"kind": "exit", "code": code}
