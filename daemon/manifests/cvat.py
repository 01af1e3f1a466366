"""CVAT's `manifest.jsonl` of images: one JSON object a line, two header lines.

Format: CVAT's `utils/dataset_manifest/core.py`, versions 1.0 and 1.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from daemon.manifests import jsonstream
from daemon.manifests.errors import ManifestBroken
from daemon.manifests.files import open_regular
from events.dataset import Document

LINE_BYTES_MAX: Final = 1 << 20
VERSIONS: Final = ("1.0", "1.1")


def read_samples(manifest: Path, *, dataset: str) -> Iterator[Document]:
    """Yield a sample document for each image. Raises ManifestBroken."""
    with open_regular(manifest) as file:
        lines = _lines(file, manifest.name)
        _check_header([header for _, header in zip(range(2), lines, strict=False)], manifest.name)
        for line in lines:
            if line:  # Frames that a task skips are `{}` in manifests that CVAT made.
                yield _sample(line, dataset, manifest.name)


def sample_id(dataset: str, filepath: str) -> str:
    """Derive the id (24 hex digits) of a sample that has none: the same file, the same id."""
    text = f"{dataset}\0{filepath}".encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:24]


def _lines(file: BinaryIO, name: str) -> Iterator[Document]:
    offset = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise ManifestBroken("a line is too long", file=name, offset=offset)
        if line.strip():
            yield jsonstream.document(line, file=f"{name} from byte {offset}")
        offset += len(line)


def _check_header(header: list[Document], name: str) -> None:
    match header:
        case [{"version": version}, {"type": "images"}] if version in VERSIONS:
            return
        case [{"version": version}, {"type": "video"}] if version in VERSIONS:
            reason = "the manifest is one of a video, and only images are read yet"
        case _:
            reason = f"the file does not begin as a manifest of version {' or '.join(VERSIONS)}"
    hint = "nothing was changed; make it anew with CVAT's dataset_manifest tool"
    raise ManifestBroken(reason, file=name, hint=hint)


def _sample(line: Document, dataset: str, name: str) -> Document:
    match line:
        case {"name": str(stem), "extension": str(extension)}:
            filepath = stem + extension
        case _:
            raise ManifestBroken("a line without name and extension", file=name)
    document: Document = {
        "_id": {"$oid": sample_id(dataset, filepath)},
        "filepath": filepath,
        "tags": [],
        "_media_type": "image",
    }
    match line:
        case {"width": int(width), "height": int(height)}:
            document["metadata"] = {"_cls": "ImageMetadata", "width": width, "height": height}
    return document
