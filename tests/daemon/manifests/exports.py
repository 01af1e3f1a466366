"""FiftyOneDataset exports for tests, as FiftyOne 1.22 writes them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

WRITTEN_AT_S = 1_700_000_000


def oid(number: int) -> str:
    return f"{number:024x}"


def label(number: int, cls: str = "Detection", **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": oid(number)}, "_cls": cls, "tags": [], **members}


def detections(*labels: dict[str, Any]) -> dict[str, Any]:
    return {"_cls": "Detections", "detections": [*labels]}


def sample(number: int, *labels: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A sample as an export holds it; `gt` is there when it has labels."""
    return {
        "_id": {"$oid": oid(number)},
        "filepath": f"data/{number}.jpg",
        "tags": [],
        "_media_type": "image",
        "_rand": 0.9997435317059588,
        "_dataset_id": {"$oid": oid(0xD)},
        "created_at": {"$date": "2026-11-22T19:30:17.133Z"},
        "last_modified_at": {"$date": "2026-11-22T19:30:17.164Z"},
        **({"gt": detections(*labels)} if labels else {}),
        **members,
    }


def metadata(**members: Any) -> dict[str, Any]:
    return {
        "_id": {"$oid": oid(0xD)},
        "name": "birds",
        "slug": "birds",
        "version": "1.22.1",
        "created_at": {"$date": "2026-11-22T19:30:16.795Z"},
        "last_loaded_at": {"$date": "2026-11-22T19:30:16.964Z"},
        "sample_collection_name": f"samples.{oid(0xD)}",
        "media_type": "image",
        "info": {},
        "sample_fields": [
            {
                "name": "gt",
                "ftype": "fiftyone.core.fields.EmbeddedDocumentField",
                "embedded_doc_type": "fiftyone.core.labels.Detections",
                "subfield": None,
                "fields": [],
                "db_field": "gt",
                "created_at": {"$date": "2026-11-22T19:30:16.952Z"},
            }
        ],
        "annotation_runs": {"old": {"key": "old"}},
        **members,
    }


def export(
    folder: Path,
    samples: Iterable[dict[str, Any]],
    *,
    about: dict[str, Any] | None = None,
    at_s: int = WRITTEN_AT_S,
    images: bool = True,
) -> Path:
    """Write an export the way FiftyOne overwrites one: folder away, samples, metadata last."""
    samples = list(samples)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for one in samples if images else ():
        image(folder / one["filepath"])
    lines = ",".join(json.dumps(one) for one in samples)
    (folder / "samples.json").write_text(f'{{"samples": [{lines}]}}')
    (folder / "metadata.json").write_text(json.dumps(about or metadata()))
    date(folder, at_s)
    return folder


def image(path: Path, size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def date(folder: Path, at_s: int) -> None:
    """Set the dates of an export's files."""
    for name in ("samples.json", "metadata.json"):
        if (folder / name).exists():
            os.utime(folder / name, (at_s, at_s))
