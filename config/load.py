"""Find and read the settings; every problem is reported at once, with its place."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config import credentials
from config.problems import Problem, SettingsUnusable, line_of
from config.settings import Dataset, Server, Settings

FILE_NAME: Final = "labeltrail.toml"
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
ENVIRONMENT_PREFIX: Final = "LABELTRAIL_"

Nested = dict[str, Any]


def config_path(given: Path | None = None) -> Path:
    """Return the file of the settings, whether it exists or not.

    The one given, $LABELTRAIL_CONFIG, ./labeltrail.toml where there is one, else
    $XDG_CONFIG_HOME/labeltrail/labeltrail.toml.
    """
    if named := given or os.environ.get("LABELTRAIL_CONFIG"):
        return Path(named).absolute()
    here = Path(FILE_NAME).absolute()
    return here if here.exists() else _xdg("XDG_CONFIG_HOME", ".config") / FILE_NAME


def load(
    given: Path | None = None, *, missing_is_fine: bool = False, secrets: bool = True
) -> Settings:
    """Read the settings. Relative paths in the file are relative to the file's folder.

    missing_is_fine  for whoever is about to write the file; a default place may always be empty
    secrets          with the credential files, which only the daemon's user may be able to read

    Raises SettingsUnusable, which names every problem.
    """
    path = config_path(given)
    named = given is not None or "LABELTRAIL_CONFIG" in os.environ
    text = _read(path) if path.exists() or (named and not missing_is_fine) else ""
    return parse(text, path, secrets=secrets)


def parse(text: str, path: Path, *, secrets: bool = True) -> Settings:
    """Turn the text of a settings file into settings, with environment and credentials."""
    toml = _toml(text, path)
    found, problems = credentials.read(credentials.folder_for(path) if secrets else None)
    try:
        settings = Settings.model_validate(_over(_over(toml, _environment()), found))
    except ValidationError as exc:
        places = _Places(text, path, found)
        problems += [places.problem(error) for error in exc.errors(include_input=False)]
    if problems:
        raise SettingsUnusable(problems)
    return _absolute(settings, path.parent)


def data_folder(settings: Settings) -> Path:
    """Return the folder of the log: as set, systemd's, else $XDG_STATE_HOME/labeltrail."""
    if settings.data.folder:
        return settings.data.folder
    # systemd's StateDirectory= may name several folders; the first is ours.
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    return _xdg("XDG_STATE_HOME", ".local/state")


def control_socket(settings: Settings) -> Path:
    """Return the path of the daemon's unix socket."""
    return settings.data.socket or data_folder(settings) / "control.sock"


def _xdg(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / default) / "labeltrail"


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        todo = "make one with `labeltrail dataset add` or `labeltrail server add`, or name another"
        raise _unusable(path, "there is no such file", todo) from exc
    except (OSError, ValueError) as exc:
        what = f"the file cannot be read: {getattr(exc, 'strerror', None) or exc}"
        raise _unusable(path, what, "check its rights, and that it is text in UTF-8") from exc


def _toml(text: str, path: Path) -> Nested:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        # The message ends in "(at line 3, column 5)".
        raise _unusable(path, f"this is not TOML: {exc}", "mend that line") from exc


def _unusable(path: Path, what: str, todo: str) -> SettingsUnusable:
    return SettingsUnusable([Problem(str(path), "", what, todo)])


def _environment() -> Nested:
    """Return what $LABELTRAIL_HTTP__PORT and its like say, as a TOML file would say it.

    Names are in lower case here, which is why names of servers have to be.
    """
    found: Nested = {}
    for variable, value in os.environ.items():
        path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if variable.startswith(ENVIRONMENT_PREFIX) and len(path) > 1 and value:
            found = _over(found, _nested(path, value))
    return found


def _nested(path: Sequence[str], value: str) -> Nested:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def _over(below: Nested, above: Nested) -> Nested:
    """Lay one nested table over another."""
    joined = dict(below)
    for key, value in above.items():
        match joined.get(key), value:
            case dict(old), dict(new):
                joined[key] = _over(old, new)
            case _:
                joined[key] = value
    return joined


def _absolute(settings: Settings, folder: Path) -> Settings:
    """Return settings whose paths do not depend on where the command was started."""

    def rooted(value: object) -> object:
        match value:
            case Path():
                return folder / value.expanduser()
            case tuple():
                return tuple(map(rooted, value))
            case dict():
                return {name: rooted(one) for name, one in value.items()}
            case BaseModel():
                return value.model_copy(update={name: rooted(one) for name, one in value})
        return value

    rooted_settings = rooted(settings)
    assert isinstance(rooted_settings, Settings)
    return rooted_settings


class _Places:
    """Knows which file, line or variable a bad value came from."""

    def __init__(self, text: str, path: Path, secrets: Mapping[str, Any]) -> None:
        self._text = text
        self._path = path
        self._secrets = secrets

    def problem(self, error: ErrorDetails) -> Problem:
        # "[key]" marks a bad name of a table; it is no part of the path.
        path = tuple(str(part) for part in error["loc"] if part != "[key]")
        what = error["msg"].removeprefix("Value error, ")
        todo = "see config/example.toml for what may stand here"
        match error["type"]:
            case "missing":
                what, todo = "it is missing", f"add `{path[-1]} = …` to [{'.'.join(path[:-1])}]"
            case "extra_forbidden":
                what, todo = "there is no such setting", _suggestion(path)
            case "value_error":
                todo = "mend it there"
        return Problem(self._where(path), ".".join(path), what[:1].lower() + what[1:], todo)

    def _where(self, path: tuple[str, ...]) -> str:
        if self._is_secret(path):
            return f"credential file {'.'.join(path[:3])}"
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        if variable in os.environ:
            return f"environment {variable}"
        line = line_of(self._text, path)
        return f"{self._path}:{line}" if line else str(self._path)

    def _is_secret(self, path: tuple[str, ...]) -> bool:
        servers = self._secrets.get("servers", {})
        return len(path) >= 3 and path[0] == "servers" and path[2] in servers.get(path[1], {})


def _suggestion(path: tuple[str, ...]) -> str:
    known = _names_beside(path)
    near = difflib.get_close_matches(path[-1], known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"


def _names_beside(path: tuple[str, ...]) -> list[str]:
    if len(path) == 1:
        return list(Settings.model_fields)
    named: dict[str, type[BaseModel]] = {"servers": Server, "datasets": Dataset}
    section = named.get(path[0]) or Settings.model_fields[path[0]].annotation
    fields: Mapping[str, object] = getattr(section, "model_fields", {})
    return list(fields)
