"""FiftyOneDataset exports: `metadata.json`, and `samples.json` or a folder `samples`.

Format: FiftyOne's `FiftyOneDatasetExporter`, MongoDB extended JSON (relaxed); `docs/manifests.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from daemon.manifests import jsonstream
from daemon.manifests.errors import ManifestBroken
from daemon.manifests.files import open_regular
from daemon.manifests.source import METADATA
from events.dataset import Document
from events.log import EPOCH_FIRST
from projections.documents import NO_CONTENT

METADATA_BYTES_MAX: Final = 64 << 20

# Records of FiftyOne's own runs and views point into its database, and ids and dates say where the
# export was made; none of it is the dataset's content.
NO_METADATA: Final = NO_CONTENT | {
    "_id",
    "annotation_runs",
    "brain_methods",
    "evaluations",
    "frame_collection_name",
    "last_deletion_at",
    "runs",
    "sample_collection_name",
    "saved_views",
    "workspaces",
}
MARK: Final = "labeltrail"


class Metadata(NamedTuple):
    """A metadata.json.

    document  without run records, dates and our own mark
    position  the place in our log that the manifest has seen; None if it does not say
    epoch     the history of our log that the position belongs to
    """

    document: Document
    media_type: str
    position: int | None
    epoch: int = EPOCH_FIRST


def read_metadata(folder: Path, *, dataset: str) -> Metadata:
    """Read metadata.json. Raises ManifestBroken, also for media that are not read yet."""
    path = folder / METADATA
    raw = jsonstream.document(_whole(path, METADATA_BYTES_MAX), file=METADATA)
    media_type = raw.get("media_type")
    if media_type != "image":
        raise ManifestBroken(
            f"the dataset holds {media_type or 'no media type'}, and only images are read yet",
            file=METADATA,
            hint="nothing was changed; export the images as a dataset of their own",
        )
    document = {name: value for name, value in raw.items() if name not in NO_METADATA}
    if isinstance(fields := document.get("sample_fields"), list):
        document["sample_fields"] = [_without_dates(field) for field in fields]
    position, epoch = None, EPOCH_FIRST
    if isinstance(info := document.get("info"), dict) and MARK in info:
        position, epoch = _position(info[MARK], dataset), _epoch(info[MARK])
        document["info"] = {name: value for name, value in info.items() if name != MARK}
    return Metadata(document, media_type, position, epoch)


def read_samples(folder: Path) -> Iterator[Document]:
    """Yield the samples' documents in the manifest's order. Raises ManifestBroken."""
    path = folder / "samples.json"
    if path.exists():
        with open_regular(path) as file:
            yield from jsonstream.documents(file, key="samples", file=path.name)
        return
    # FiftyOne's `use_dirs=True`: names begin with the number of the sample.
    for one in sorted((folder / "samples").glob("*.json")):
        text = _whole(one, jsonstream.DOCUMENT_CHARS_MAX)
        yield jsonstream.document(text, file=f"samples/{one.name}")


def _whole(path: Path, bytes_max: int) -> bytes:
    with open_regular(path) as file:
        text = file.read(bytes_max + 1)
    if len(text) > bytes_max:
        raise ManifestBroken(f"the file is larger than {bytes_max} bytes", file=path.name)
    return text


def _without_dates(field: object) -> object:
    if isinstance(field, dict):
        return {
            name: _without_dates(value) for name, value in field.items() if name != "created_at"
        }
    return [_without_dates(one) for one in field] if isinstance(field, list) else field


def _position(mark: object, dataset: str) -> int | None:
    """Return the position of `info.labeltrail`, where it speaks of this dataset."""
    match mark:
        case {"dataset": str(name), "position": int(position)} if name == dataset:
            return position if position > 0 and not isinstance(position, bool) else None
    return None


def _epoch(mark: object) -> int:
    match mark:
        case {"epoch": int(epoch)}:
            return epoch
    return EPOCH_FIRST
