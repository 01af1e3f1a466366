"""Change the settings file as a careful person would: comments kept, never half written."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Final

import tomlkit

from config import credentials
from config.load import parse
from config.problems import Problem, SettingsUnusable

FILE_MODE: Final = 0o640
NO_SECRETS: Final[Mapping[str, str]] = MappingProxyType({})


def add(
    path: Path,
    kind: str,
    name: str,
    values: Mapping[str, object],
    *,
    secrets: Mapping[str, str] = NO_SECRETS,
    dry_run: bool = False,
) -> None:
    """Add the table [kind.name].

    secrets  settings that go into credential files beside the settings file
    dry_run  find out whether it would work

    Raises SettingsUnusable when the table is there, or when the result would not be valid
    settings; nothing is written then.
    """
    with _edited(path, dry_run=dry_run) as document:
        tables = document.setdefault(kind, tomlkit.table(is_super_table=True))
        if name in tables:
            raise _unusable(path, kind, name, "it is there already", "use another name, or `rm`")
        tables[name] = tomlkit.table()
        # The secrets are checked together with the rest, but never written into this file.
        tables[name].update({**values, **secrets})
        _check(path, document)
        for secret in secrets:
            del tables[name][secret]
    if secrets and not dry_run:
        credentials.write(path.parent / credentials.FOLDER, name, secrets)


def remove(path: Path, kind: str, name: str, *, dry_run: bool = False) -> None:
    """Take the table [kind.name] away. Raises SettingsUnusable where there is none."""
    with _edited(path, dry_run=dry_run) as document:
        tables = document.get(kind, {})
        if name not in tables:
            known = ", ".join(tables) or "none"
            raise _unusable(path, kind, name, "there is no such table", f"known: {known}")
        del tables[name]
        if not tables:
            del document[kind]


@contextmanager
def _edited(path: Path, *, dry_run: bool) -> Iterator[tomlkit.TOMLDocument]:
    folder = path.parent
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) if folder.exists() else nullcontext():
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        yield document
        if not dry_run:
            # A table that was taken away leaves its blank line behind.
            _replace(path, tomlkit.dumps(document).strip("\n") + "\n")


def _check(path: Path, document: tomlkit.TOMLDocument) -> None:
    parse(tomlkit.dumps(document), path)


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
