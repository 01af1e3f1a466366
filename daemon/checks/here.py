"""This machine: the data folder, its rights and its disk, SQLite, the clock."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from daemon.checks.finding import Finding, ok, problem, warning
from daemon.file_systems import is_remote
from daemon.store.driver import has_wal_reset_bug, sqlite3

MIB: Final = 2**20
FREE_BYTES_MIN: Final = 200 * MIB
FREE_BYTES_ENOUGH: Final = 2_048 * MIB
CLOCK_S_MAX: Final = 1.0
OTHERS: Final = stat.S_IRWXO
GROUP: Final = stat.S_IRWXG


def check_here(folder: Path, *, last_us: int | None, now_us: int) -> Iterator[Finding]:
    """Look at this machine.

    last_us  when the last event was recorded
    """
    yield disk(folder, shutil.disk_usage(folder).free)
    yield file_system(folder)
    yield from rights(folder)
    yield sqlite()
    yield clock(last_us, now_us)


def disk(folder: Path, free: int) -> Finding:
    """Tell whether there is room; without it nothing is acknowledged any more."""
    where, left = str(folder), f"{free // MIB:,} MiB free"
    if free < FREE_BYTES_MIN:
        return problem("disk", where, f"only {left}", "make room: when it is full, saves get 503")
    if free < FREE_BYTES_ENOUGH:
        return warning("disk", where, left, "make room before it is needed")
    return ok("disk", where, left)


def file_system(folder: Path) -> Finding:
    """Tell whether the log lies on a disk of this machine."""
    if is_remote(folder):
        return problem(
            "file-system",
            str(folder),
            "the data folder is on a network file system, where SQLite's locks do not hold",
            "move it to a local disk: `folder` in [data]",
        )
    return ok("file-system", str(folder), "a local file system")


def rights(folder: Path) -> Iterator[Finding]:
    """Tell whether others could read the log, or the keys."""
    mode = folder.stat().st_mode
    if mode & OTHERS:
        yield warning("rights", str(folder), "others may enter", f"chmod o= {folder}")
    else:
        yield ok("rights", str(folder), f"mode {stat.filemode(mode)}")
    keys = folder / "keys"
    found = [keys, *sorted(keys.iterdir())] if keys.is_dir() else []
    for path in found:
        if path.suffix != ".pub" and path.stat().st_mode & (OTHERS | GROUP):
            yield problem(
                "rights",
                str(path),
                "others than the owner may read a secret",
                f"chmod go= {path}; if somebody may have read it, `labeltrail hook rotate`",
            )


def sqlite(version: str = sqlite3.sqlite_version) -> Finding:
    """Tell whether this SQLite may lose pages."""
    if has_wal_reset_bug(version):
        return warning(
            "sqlite",
            version,
            "has the WAL-reset bug (fixed in 3.51.3, 3.50.7, 3.44.6)",
            "install pysqlite3 0.6.1 or later beside Labeltrail, or a newer Python",
        )
    return ok("sqlite", version, "has no known bug that touches the log")


def clock(last_us: int | None, now_us: int) -> Finding:
    """Tell whether this machine's clock went back behind the log."""
    ahead_s = 0.0 if last_us is None else (last_us - now_us) / 1e6
    if ahead_s > CLOCK_S_MAX:
        return problem(
            "clock",
            "this machine",
            f"the log's last event is {ahead_s:.0f} s in the future",
            "set the clock (NTP); until then new events carry the last one's time",
        )
    return ok("clock", "this machine", "not behind the log")
