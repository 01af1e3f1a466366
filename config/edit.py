"""Change the settings file as a careful person would: comments kept, never half written."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tomlkit

from config.load import parse
from config.problems import Problem, SettingsUnusable

FILE_MODE = 0o640


def add(path: Path, kind: str, name: str, values: Mapping[str, object]) -> str:
    """Add the table [kind.name]; return the file's new text.

    Raises SettingsUnusable when the table is there, or when the result would not be valid
    settings; the file is as it was then.
    """
    with _edited(path) as document:
        tables = document.setdefault(kind, tomlkit.table(is_super_table=True))
        if name in tables:
            raise _unusable(path, kind, name, "it is there already", "use another name, or `rm`")
        table = tomlkit.table()
        table.update({key: value for key, value in values.items() if value not in (None, (), [])})
        tables[name] = table
    return path.read_text(encoding="utf-8")


def remove(path: Path, kind: str, name: str) -> None:
    """Take the table [kind.name] away. Raises SettingsUnusable where there is none."""
    with _edited(path) as document:
        tables = document.get(kind, {})
        if name not in tables:
            known = ", ".join(tables) or "none"
            raise _unusable(path, kind, name, "there is no such table", f"known: {known}")
        del tables[name]
        if not tables:
            del document[kind]


@contextmanager
def _edited(path: Path) -> Iterator[tomlkit.TOMLDocument]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        yield document
        text = tomlkit.dumps(document)
        parse(text, path)
        _replace(path, text)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # Two commands that edit at once would lose one of the changes.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    # The real file is replaced where the path is a link to it, and it keeps its mode.
    target = path.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else FILE_MODE
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _unusable(path: Path, kind: str, name: str, what: str, todo: str) -> SettingsUnusable:
    return SettingsUnusable([Problem(str(path), f"{kind}.{name}", what, todo)])
