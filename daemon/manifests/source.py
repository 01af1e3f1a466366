"""Where a dataset's manifest lies, and whether it is whole: the gate before every reading."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple

from daemon.manifests.errors import ManifestBroken, ManifestBusy, ManifestMissing

METADATA: Final = "metadata.json"
# FiftyOne writes metadata.json after these (and deletes the folder before it begins).
_BEFORE_METADATA: Final = ("samples.json", "frames.json", "samples", "frames")

# An export without its metadata.json counts as unfinished for that long after the last change.
UNFINISHED_S: Final = 60
ENTRIES_MAX: Final = 1_000

Format = Literal["fiftyone", "cvat"]


class Source(NamedTuple):
    """A dataset's manifest, and the folders beside its own that media may lie in.

    manifest     the folder of a FiftyOneDataset export, or a CVAT `manifest.jsonl`
    media_roots  also tried, in order, for relative file paths (FiftyOne's `rel_dir`)
    """

    dataset: str
    manifest: Path
    media_roots: tuple[Path, ...] = ()

    @property
    def format(self) -> Format:
        """The manifest's format, by its name."""
        return "cvat" if self.manifest.suffix == ".jsonl" else "fiftyone"

    @property
    def folder(self) -> Path:
        """The folder that relative file paths begin at."""
        return self.manifest.parent if self.format == "cvat" else self.manifest


class Seen(NamedTuple):
    """One file as the file system shows it; a folder counts as the sum of what is in it."""

    name: str
    size: int
    mtime_ns: int
    inode: int


Look = tuple[Seen, ...]


def look(source: Source, *, now_ns: int) -> Look:
    """Look at a manifest's files without opening them.

    Raises ManifestMissing when there is no manifest, or the file system does not answer;
    ManifestBusy when a FiftyOne export is there in parts and something happened a moment ago;
    ManifestBroken when a name is no file.
    """
    try:
        if source.format == "cvat":
            return (_seen(source.manifest),)
        return _look_at_export(source.manifest, now_ns)
    except OSError as exc:
        raise ManifestMissing(
            "the manifest is not there or cannot be read",
            manifest=str(source.manifest),
            reason=exc.strerror or type(exc).__name__,
            hint="nothing was removed; mount the folder, or mend the path or its rights",
        ) from exc


def check_whole(source: Source, seen: Look, *, now_ns: int, quiet_s: float) -> None:
    """Make sure that nobody is still writing, as far as the files' dates tell.

    Raises ManifestBusy within `quiet_s` of the last change; ManifestBroken when metadata.json is
    older than what FiftyOne writes before it, and stayed so.
    """
    newest_ns = max(one.mtime_ns for one in seen)
    # A date in the future is no sign of writing: a file server's clock may be ahead.
    if 0 <= now_ns - newest_ns < quiet_s * 1e9:
        raise ManifestBusy("the manifest changed a moment ago", manifest=str(source.manifest))
    dates = {one.name: one.mtime_ns for one in seen}
    if METADATA in dates and dates[METADATA] < newest_ns:
        raise ManifestBroken(
            "metadata.json is older than the samples, so the export did not come to its end",
            manifest=str(source.manifest),
            hint="nothing was changed; export again, or `touch metadata.json` if it is whole",
        )


def written_at_us(seen: Look) -> int:
    """Return when the manifest was written (µs since 1970-01-01 UTC), as its files say."""
    return max(one.mtime_ns for one in seen) // 1_000


def _look_at_export(folder: Path, now_ns: int) -> Look:
    names = [name for name in (METADATA, *_BEFORE_METADATA) if (folder / name).exists()]
    if METADATA in names and any(name.startswith("samples") for name in names):
        return tuple(_seen(folder / name) for name in names)
    inside = [one.lstat().st_mtime_ns for one in islice(folder.iterdir(), ENTRIES_MAX)]
    changed_ns = max([folder.stat().st_mtime_ns, *inside])
    if inside and abs(now_ns - changed_ns) < UNFINISHED_S * 10**9:
        raise ManifestBusy("the export is not finished", manifest=str(folder))
    raise ManifestMissing(
        "the folder holds no finished FiftyOneDataset export",
        manifest=str(folder),
        found=names,
        hint="nothing was removed; metadata.json and samples.json are needed",
    )


def _seen(path: Path) -> Seen:
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise ManifestBroken("not a file", manifest=str(path), hint="nothing was changed")
        return Seen(path.name, found.st_size, found.st_mtime_ns, found.st_ino)
    with os.scandir(path) as entries:
        inside = [found, *(entry.stat() for entry in entries)]
    return Seen(
        path.name,
        sum(one.st_size for one in inside),
        max(one.st_mtime_ns for one in inside),
        len(inside),
    )
