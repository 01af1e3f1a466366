"""A small FiftyOneDataset export: a dozen street scenes with boxes and a weather each.

Format: FiftyOne's `FiftyOneDatasetExporter`; see `docs/manifests.md`. Nothing is rolled: the
same dataset comes out every time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

NAME: Final = "street"
BOXES, SCENE = "boxes", "scene"
SAMPLES: Final = 12
WIDTH_PX, HEIGHT_PX = 480, 320
WEATHER: Final = {"sun": (150, 190, 230), "rain": (120, 130, 140), "night": (20, 24, 48)}
COLOURS: Final = {"car": (200, 60, 50), "bus": (230, 180, 40), "person": (60, 150, 90)}
MADE_AT: Final = {"$date": "2026-01-01T08:00:00.000Z"}


def make_dataset(folder: Path) -> None:
    """Write the export. metadata.json comes last, as FiftyOne does it."""
    (folder / "data").mkdir(parents=True)
    samples = [_sample(number) for number in range(1, SAMPLES + 1)]
    for sample in samples:
        _draw(sample, folder / sample["filepath"])
    _write(folder / "samples.json", {"samples": samples})
    _write(folder / "metadata.json", _metadata())


def object_id(*name: object) -> str:
    """Return the document id (24 hex digits) that belongs to a name."""
    return hashlib.sha256(repr(name).encode()).hexdigest()[:24]


def _sample(number: int) -> Json:
    weather = list(WEATHER)[number % len(WEATHER)]
    return {
        "_id": {"$oid": object_id("sample", number)},
        "filepath": f"data/street-{number:02}.png",
        "tags": ["rush-hour"] if number % 4 == 0 else [],
        "_media_type": "image",
        "_rand": number / (SAMPLES + 1),
        "_dataset_id": {"$oid": object_id("dataset")},
        "created_at": MADE_AT,
        "last_modified_at": MADE_AT,
        "metadata": {
            "_cls": "ImageMetadata",
            "mime_type": "image/png",
            "width": WIDTH_PX,
            "height": HEIGHT_PX,
            "num_channels": 3,
        },
        BOXES: {"_cls": "Detections", "detections": list(_boxes(number))},
        SCENE: {
            "_id": {"$oid": object_id("scene", number)},
            "_cls": "Classification",
            "tags": [],
            "label": weather,
        },
    }


def _boxes(number: int) -> Iterator[Json]:
    """Yield the boxes of one image; a third and a seventh are no round numbers of pixels."""
    for place in range(3 + number % 2):
        label = list(COLOURS)[(number + place) % len(COLOURS)]
        yield {
            "_id": {"$oid": object_id("box", number, place)},
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": label,
            "bounding_box": [
                0.04 + place * 0.24 + number / 700,
                0.45 + (number * place % 4) / 30,
                1 / 7 if label == "person" else 0.2,
                1 / 3 if label == "bus" else 0.25,
            ],
            "parked": (number + place) % 4 == 0,
            "plate": "" if label == "person" else f"{label[:1].upper()}-{number:02}{place}",
        }


def _draw(sample: Json, path: Path) -> None:
    """Paint sky, road, noise and the boxes' contents."""
    import numpy as np
    from PIL import Image, ImageDraw

    sky = np.array(WEATHER[sample[SCENE]["label"]], float)
    scene = np.empty((HEIGHT_PX, WIDTH_PX, 3))
    scene[:] = sky * np.linspace(0.7, 1.0, HEIGHT_PX)[:, None, None]
    scene[HEIGHT_PX // 2 :] = 70
    seed = int(sample["_id"]["$oid"], 16)
    scene += np.random.default_rng(seed).normal(0, 4, scene.shape)
    image = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for box in sample[BOXES]["detections"]:
        x, y, width, height = box["bounding_box"]
        left, top = x * WIDTH_PX, y * HEIGHT_PX
        corners = (left, top, left + width * WIDTH_PX, top + height * HEIGHT_PX)
        pen.rounded_rectangle(corners, radius=8, fill=COLOURS[box["label"]], outline=(0, 0, 0))
    image.save(path)


def _metadata() -> Json:
    return {
        "_id": {"$oid": object_id("dataset")},
        "name": NAME,
        "slug": NAME,
        "version": "1.0.0",
        "created_at": MADE_AT,
        "last_modified_at": MADE_AT,
        "persistent": False,
        "media_type": "image",
        "group_media_types": {},
        "tags": [],
        "info": {},
        "app_config": {},
        "classes": {},
        "default_classes": [],
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": list(_fields()),
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _fields() -> Iterator[Json]:
    plain = {"id": "ObjectIdField", "filepath": "StringField", "tags": "ListField"}
    embedded = {
        "metadata": "fiftyone.core.metadata.ImageMetadata",
        BOXES: "fiftyone.core.labels.Detections",
        SCENE: "fiftyone.core.labels.Classification",
    }
    for name, kind in plain.items():
        yield {
            "name": name,
            "ftype": f"fiftyone.core.fields.{kind}",
            "embedded_doc_type": None,
            "subfield": "fiftyone.core.fields.StringField" if kind == "ListField" else None,
            "fields": [],
            "db_field": "_id" if name == "id" else name,
        }
    for name, document in embedded.items():
        yield {
            "name": name,
            "ftype": "fiftyone.core.fields.EmbeddedDocumentField",
            "embedded_doc_type": document,
            "subfield": None,
            "fields": [],
            "db_field": name,
        }


def _write(path: Path, document: Json) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")
