"""Where the settings are, and where they say that the data and the daemon's socket lie.

Standard library only: a command that the daemon answers needs to know no more than this, and
checking all the other settings would take longer than the command.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from config.problems import Problem, SettingsUnusable

FILE_NAME: Final = "labeltrail.toml"
MACHINES: Final = Path("/etc/labeltrail") / FILE_NAME
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SOCKET_NAME: Final = "control.sock"
ENVIRONMENT_PREFIX: Final = "LABELTRAIL_"

Nested = dict[str, Any]


def config_path(given: Path | None = None) -> Path:
    """Return the file of the settings, whether it exists or not.

    The one given, $LABELTRAIL_CONFIG, ./labeltrail.toml where there is one,
    $XDG_CONFIG_HOME/labeltrail/labeltrail.toml where there is one, that of the machine's service
    for whoever may read it, else the one below $XDG_CONFIG_HOME again.
    """
    if named := given or os.environ.get("LABELTRAIL_CONFIG"):
        return Path(named).absolute()
    own = _xdg("XDG_CONFIG_HOME", ".config") / FILE_NAME
    for path in (Path(FILE_NAME).absolute(), own):
        if path.exists():
            return path
    return MACHINES if os.access(MACHINES, os.R_OK) else own


def text_of(given: Path | None = None, *, missing_is_fine: bool = False) -> str:
    """Return the text of the settings file; a default place may always be empty.

    missing_is_fine  for whoever is about to write the file

    Raises SettingsUnusable.
    """
    path = config_path(given)
    named = given is not None or "LABELTRAIL_CONFIG" in os.environ
    return _read(path) if path.exists() or (named and not missing_is_fine) else ""


def told(text: str, path: Path) -> Nested:
    """Return what a settings file and over it the environment say, not checked yet.

    Raises SettingsUnusable where the text is not TOML.
    """
    return over(_toml(text, path), _environment())


def data_folder(folder: Path | None) -> Path:
    """Return the folder of the log: as set, systemd's, else $XDG_STATE_HOME/labeltrail."""
    if folder:
        return folder
    # systemd's StateDirectory= may name several folders; the first is ours.
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    return _xdg("XDG_STATE_HOME", ".local/state")


def control_socket(*, folder: Path | None, socket: Path | None) -> Path:
    """Return the path of the daemon's unix socket, for what [data] sets."""
    return socket or data_folder(folder) / SOCKET_NAME


def find_control_socket(given: Path | None = None) -> Path:
    """Return the path of the daemon's unix socket, with no look at other settings.

    Raises SettingsUnusable where the file cannot be read or [data] is not as it should be.
    """
    path = config_path(given)
    section = told(text_of(given), path).get("data", {})
    if not isinstance(section, dict):
        raise _unusable(path, "[data] is no table", "mend it")
    return control_socket(
        folder=_place(section.get("folder"), path), socket=_place(section.get("socket"), path)
    )


def rooted(place: Path, config_file: Path) -> Path:
    """Return a path of the settings, which is relative to their file's folder."""
    return config_file.parent / place.expanduser()


def over(below: Nested, above: Nested) -> Nested:
    """Lay one nested table over another."""
    joined = dict(below)
    for key, value in above.items():
        match joined.get(key), value:
            case dict(old), dict(new):
                joined[key] = over(old, new)
            case _:
                joined[key] = value
    return joined


def _unusable(path: Path, what: str, todo: str) -> SettingsUnusable:
    return SettingsUnusable([Problem(str(path), "", what, todo)])


def _place(value: object, config_file: Path) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _unusable(config_file, "a path in [data] is no text", "mend it")
    return rooted(Path(value), config_file)


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


def _environment() -> Nested:
    """Return what $LABELTRAIL_HTTP__PORT and its like say, as a TOML file would say it.

    Names are in lower case here, which is why names of servers have to be.
    """
    found: Nested = {}
    for variable, value in os.environ.items():
        path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if variable.startswith(ENVIRONMENT_PREFIX) and len(path) > 1 and value:
            found = over(found, _nested(path, value))
    return found


def _nested(path: Sequence[str], value: str) -> Nested:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}
