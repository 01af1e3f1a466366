"""Write a FiftyOneDataset folder that FiftyOne imports, whole or not at all.

Everything goes into a hidden folder beside the wanted one, `metadata.json` last; it gets its name
once all of it is on disk.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal

import orjson

from daemon.manifests.fiftyone import MARK
from daemon.manifests.fiftyone_schema import SAMPLE_FIELDS, VERSION, label_field
from daemon.manifests.media import MediaPlaces, MediaRefused, open_media
from daemon.manifests.source import METADATA, Source
from events.dataset import Document, RefusedMedia
from events.errors import SyncError
from events.log import EPOCH_FIRST
from projections.documents import object_id

MediaForm = Literal["symlink", "copy", "absolute"]

METADATA_BYTES_MAX: Final = 64 << 20
REFUSED_NAMED_MAX: Final = 100
_COPY_BYTES: Final = 1 << 20
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# Paths in labels that an export of FiftyOne keeps relative to its folder.
_LABEL_PATHS: Final = frozenset({"mask_path", "map_path"})
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


class ExportRefused(SyncError):
    """The export is not written where it was wanted."""


def check_place(folder: Path, *, watched: Iterable[Path], overwrite: bool) -> None:
    """Make sure that an export may be written here. Raises ExportRefused.

    watched  the manifests of all datasets: an export in their reach would come back as input
    """
    real = Path(os.path.realpath(folder))
    for manifest in watched:
        place = Path(os.path.realpath(manifest))
        place = place.parent if place.suffix == ".jsonl" else place
        if real.is_relative_to(place) or place.is_relative_to(real):
            raise ExportRefused(
                "an export is never written where a manifest is watched",
                folder=str(folder),
                manifest=str(manifest),
                hint="nothing was written; choose a folder elsewhere",
            )
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ExportRefused(
            "the folder exists",
            folder=str(folder),
            hint="nothing was written; choose another, or say --overwrite for an export of ours",
        )
    if folder.is_symlink() or not _is_ours(folder):
        raise ExportRefused(
            "the folder is no export of Labeltrail, so it is not overwritten",
            folder=str(folder),
            hint="nothing was written; choose another folder, or delete this one yourself",
        )


class ExportFolder:
    """An export that is being written. `discard` it in the end, whatever came of it.

    samples, refused  how many were written, and how many of them without their file
    refused_media     the first of those by name
    """

    def __init__(self, folder: Path, source: Source, media: MediaForm) -> None:
        self.samples = 0
        self.refused = 0
        self.refused_media: list[RefusedMedia] = []
        self._folder = folder
        self._source = source
        self._media = media
        self._places = MediaPlaces(source.folder, source.media_roots)
        self._new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")

    def open(self) -> None:
        """Make the hidden folder."""
        self._new.mkdir(parents=True)
        if self._media != "absolute":
            (self._new / "data").mkdir()
        self._file = (self._new / "samples.json").open("xb")
        self._file.write(b'{"samples": [')

    def discard(self) -> None:
        """Take away what did not get its name."""
        if hasattr(self, "_file"):
            self._file.close()
        shutil.rmtree(self._new, ignore_errors=True)

    def add_all(
        self,
        documents: Iterable[Document],
        media_fields: Collection[str],
        stopped: Callable[[], bool],
    ) -> None:
        """Write samples, until told to stop.

        media_fields  members that hold paths beside `filepath`
        """
        for document in documents:
            if stopped():
                return
            self._add(document, media_fields)

    def _add(self, document: Document, media_fields: Collection[str]) -> None:
        filepath = document.get("filepath")
        try:
            exported = self._place_media(document)
        except MediaRefused as exc:
            exported = str(self._absolute(filepath))
            self._refuse(document, filepath, exc)
        moved = {name: self._absolute(document[name]) for name in media_fields if name in document}
        sample = {
            **{"_id": None, "filepath": "", "tags": [], "_media_type": "image"},
            **self._with_absolute_paths(document),
            **moved,
            **{"filepath": exported, "_rand": _rand(document)},
        }
        self._file.write(b"," * (self.samples > 0) + spelled(sample))
        self.samples += 1

    def _refuse(self, document: Document, filepath: object, exc: MediaRefused) -> None:
        self.refused += 1
        if len(self.refused_media) < REFUSED_NAMED_MAX:
            reason = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
            media = RefusedMedia(
                sample=str(object_id(document)), filepath=str(filepath), reason=reason
            )
            self.refused_media.append(media)

    def finish(self, metadata: Document, *, overwrite: bool) -> None:
        """Write metadata.json, make all of it durable and give it its name."""
        self._file.write(b"]}")
        _sync_and_close(self._file)
        with (self._new / METADATA).open("xb") as file:
            file.write(spelled(metadata))
            _sync_and_close(file)
        for folder in (self._new / "data", self._new):
            if folder.exists():
                _sync_folder(folder)
        old = self._folder.with_name(f"{self._new.name}.old")
        if overwrite and self._folder.exists():
            self._folder.rename(old)
        try:
            self._new.rename(self._folder)
        except OSError as exc:
            if old.exists():
                old.rename(self._folder)
            raise ExportRefused(
                "the export cannot get its name", folder=str(self._folder), reason=str(exc)
            ) from exc
        _sync_folder(self._folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _place_media(self, document: Document) -> str:
        """Bring the sample's file into the export, or point to it."""
        found = self._places.resolve(document.get("filepath"))
        if self._media == "absolute":
            return str(found)
        name = self._free_name(found.name, document)
        target = self._new / "data" / name
        if self._media == "symlink":
            target.symlink_to(found)
        else:
            with open_media(found, self._places.roots) as file, target.open("xb") as copy:
                shutil.copyfileobj(file, copy, _COPY_BYTES)
                _sync_and_close(copy)
        return f"data/{name}"

    def _free_name(self, name: str, document: Document) -> str:
        if not os.path.lexists(self._new / "data" / name):
            return name
        stem, dot, extension = name.rpartition(".")
        return f"{stem or extension}-{object_id(document)}{dot and stem and dot + extension}"

    def _absolute(self, path: object) -> object:
        return str(self._source.folder / path) if isinstance(path, str) and path else path

    def _with_absolute_paths(self, value: Document) -> Document:
        """Return the document with the paths of masks and maps made absolute."""
        return {
            name: self._absolute(one) if name in _LABEL_PATHS else self._paths_in(one)
            for name, one in value.items()
        }

    def _paths_in(self, value: object) -> object:
        if isinstance(value, dict):
            return self._with_absolute_paths(value)
        return [self._paths_in(one) for one in value] if isinstance(value, list) else value


def spelled(value: object) -> bytes:
    """Return MongoDB extended JSON (relaxed), with the source text of numbers that have one."""
    return orjson.dumps(_fragments(value))


def complete_metadata(
    dataset: str,
    metadata: Document,
    label_fields: Iterable[tuple[str, str]],
    *,
    position: int,
    epoch: int,
) -> Document:
    """Return a metadata.json that declares all fields and says how far it has seen our log.

    label_fields  (name, class) of every label field, also of those that runs made
    """
    named = metadata.get("sample_fields")
    fields = [*named] if isinstance(named, list) and named else [*SAMPLE_FIELDS]
    known = {field.get("name") for field in fields if isinstance(field, dict)}
    fields += [label_field(name, kind) for name, kind in label_fields if name not in known]
    info = metadata.get("info")
    # Positions of different histories of a restored log are not to be confused.
    history = {} if epoch == EPOCH_FIRST else {"epoch": epoch}
    mark = {MARK: {"dataset": dataset, "position": position, **history}}
    return {
        "name": dataset,
        "slug": dataset.lower(),
        "version": VERSION,
        "persistent": False,
        "media_type": "image",
        "tags": [],
        **metadata,
        "info": {**(info if isinstance(info, dict) else {}), **mark},
        "sample_fields": fields,
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
        "saved_views": [],
        "workspaces": [],
    }


def _is_ours(folder: Path) -> bool:
    with suppress(OSError, orjson.JSONDecodeError):
        path = folder / METADATA
        if path.stat().st_size <= METADATA_BYTES_MAX:
            match orjson.loads(path.read_bytes()):
                case {"info": {"labeltrail": {"position": int()}}}:
                    return True
    return False


def _rand(document: Document) -> float:
    # FiftyOne shuffles by it; derived, so that the same state gives the same bytes.
    return int(object_id(document) or "0", 16) * 2654435761 % 2**32 / 2**32


def _fragments(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return {"$numberDouble": name}
        case bool():
            return value
        case int() if not _INT_MIN <= value <= _INT_MAX:
            return orjson.Fragment(str(value))
        case {"$number": str(text), **rest} if not rest and _NUMBER.fullmatch(text):
            return orjson.Fragment(text)
        case dict():
            return {name: _fragments(one) for name, one in value.items()}
        case list():
            return [_fragments(one) for one in value]
    return value


def _sync_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
