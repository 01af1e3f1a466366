"""Find and read the settings; every problem is reported at once, with its place."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config import credentials, places
from config.places import ENVIRONMENT_PREFIX
from config.problems import Problem, SettingsUnusable, line_of
from config.settings import Dataset, Server, Settings


def load(
    given: Path | None = None, *, missing_is_fine: bool = False, secrets: bool = True
) -> Settings:
    """Read the settings. Relative paths in the file are relative to the file's folder.

    missing_is_fine  for whoever is about to write the file; a default place may always be empty
    secrets          with the credential files, which only the daemon's user may be able to read

    Raises SettingsUnusable, which names every problem.
    """
    text = places.text_of(given, missing_is_fine=missing_is_fine)
    return parse(text, places.config_path(given), secrets=secrets)


def parse(text: str, path: Path, *, secrets: bool = True) -> Settings:
    """Turn the text of a settings file into settings, with environment and credentials."""
    told = places.told(text, path)
    found, problems = credentials.read(credentials.folder_for(path) if secrets else None)
    try:
        settings = Settings.model_validate(places.over(told, found))
    except ValidationError as exc:
        blamed = _Places(text, path, found)
        problems += [blamed.problem(error) for error in exc.errors(include_input=False)]
    if problems:
        raise SettingsUnusable(problems)
    return _absolute(settings, path)


def control_socket(settings: Settings) -> Path:
    """Return the path of the daemon's unix socket."""
    return places.control_socket(folder=settings.data.folder, socket=settings.data.socket)


def _absolute(settings: Settings, config_file: Path) -> Settings:
    """Return settings whose paths do not depend on where the command was started."""

    def rooted(value: object) -> object:
        match value:
            case Path():
                return places.rooted(value, config_file)
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
