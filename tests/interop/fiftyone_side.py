"""What FiftyOne does in `make interop`; runs in FiftyOne's environment and imports nothing of ours.

    python fiftyone_side.py FUNCTION WORK_FOLDER [ARGUMENT…]

prints one line of JSON at last.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import fiftyone as fo
import numpy as np
from bson import json_util
from PIL import Image

NAN = float("nan")
# Set anew by every import, or another on purpose.
NOT_COMPARED = ("filepath", "created_at", "last_modified_at", "_dataset_id", "_rand")


def make(work: Path) -> dict:
    """Make a dataset with labels of every kind and export it in all forms."""
    dataset = fresh("birds")
    dataset.default_classes = ["cat", "dog"]
    dataset.info = {"owner": "me"}
    for number in range(4):
        dataset.add_sample(sample(number, picture(work, number)))
    dataset.compute_metadata()
    dataset.add_dynamic_sample_fields()
    images = str(work / "images")
    forms = {
        "copied": {},
        "linked": {"export_media": "symlink"},
        "absolute": {"export_media": False},
        "rel_dir": {"export_media": False, "rel_dir": images},
        "dirs": {"export_media": False, "use_dirs": True},
    }
    for form, options in forms.items():
        export(dataset, work / form, **options)
    return state(dataset)


def load(work: Path, folder: str, name: str) -> dict:
    """Import an export and say what is in it."""
    fresh(name).delete()
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(work / folder), dataset_type=fo.types.FiftyOneDataset, name=name
    )
    dataset.persistent = True
    return state(dataset)


def tag_and_export(work: Path, name: str, folder: str) -> dict:
    """Change one thing in FiftyOne and export over the first manifest."""
    dataset = fo.load_dataset(name)
    one = dataset.first()
    one.tags.append("checked")
    one.save()
    export(dataset, work / folder)
    return {}


def relabel_and_export(work: Path, name: str, folder: str) -> dict:
    """Change the class of a label, and export over the first manifest."""
    dataset = fo.load_dataset(name)
    one = dataset.first()
    one["gt"].detections[0].label = "bee"
    one.save()
    export(dataset, work / folder)
    return {}


def fresh(name: str) -> fo.Dataset:
    if name in fo.list_datasets():
        fo.delete_dataset(name)
    dataset = fo.Dataset(name)
    dataset.persistent = True
    return dataset


def picture(work: Path, number: int) -> str:
    path = work / "images" / ("sub" if number == 3 else "") / f"im{number}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (number * 20, 0, 0)).save(path)
    return str(path)


def sample(number: int, path: str) -> fo.Sample:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:6] = True
    one = fo.Sample(filepath=path, tags=["train"])
    one["gt"] = fo.Detections(
        detections=[
            fo.Detection(
                label="cat",
                bounding_box=[0.1, 0.2, 1 / 3, 1e-7],
                mask=mask,
                confidence=0.1 + 0.2,
                rotation=12.5,
                iscrowd=True,
            ),
            fo.Detection(label="dog", bounding_box=[0.5, 0.5, 0.1, 0.1], index=3, note="ä\u2028"),
        ]
    )
    one["one"] = fo.Detection(label="cat", bounding_box=[0, 0, 1, 1])
    one["weather"] = fo.Classification(label="rain", confidence=0.3, logits=np.array([0.1, 0.9]))
    one["things"] = fo.Classifications(
        classifications=[fo.Classification(label="a"), fo.Classification(label="b")]
    )
    one["points"] = fo.Keypoints(
        keypoints=[fo.Keypoint(label="k", points=[(0.1, 0.2), (NAN, NAN)], confidence=[0.5, NAN])]
    )
    one["lines"] = fo.Polylines(
        polylines=[
            fo.Polyline(label="p", points=[[(0.1, 0.1), (0.2, 0.2), (0.3, 0.1)]], closed=True),
            fo.Polyline(label="q", points=[[(0, 0), (1, 1)], [(0.1, 0.1), (0.2, 0.3)]]),
        ]
    )
    one["scene"] = fo.Segmentation(mask=np.arange(48 * 64, dtype=np.uint8).reshape(48, 64))
    one["heat"] = fo.Heatmap(map=np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    one["age"] = fo.Regression(value=0.7)
    one["none"] = fo.Detections()
    one["big"] = 2**40 + number
    one["share"] = 0.1
    return one


def export(dataset: fo.Dataset, folder: Path, **options: object) -> None:
    dataset.export(
        export_dir=str(folder), dataset_type=fo.types.FiftyOneDataset, overwrite=True, **options
    )


def state(dataset: fo.Dataset) -> dict:
    """Say what a dataset holds, as the database has it and as FiftyOne's classes show it."""
    documents = [
        {name: value for name, value in document.items() if name not in NOT_COMPARED}
        for document in dataset._sample_collection.find()
    ]
    return {
        "samples": json.loads(json_util.dumps(documents)),
        "labels": [json.loads(one.to_json()) for one in labels(dataset)],
        "ids": [{"gt": [str(one.id) for one in each.gt.detections]} for each in dataset]
        if dataset.has_field("gt")
        else [],
        "masks": [
            digest(np.ascontiguousarray(mask).tobytes() + str((*mask.shape, mask.dtype)).encode())
            for mask in masks(dataset)
        ],
        "fields": sorted(dataset.get_field_schema(flat=True)),
        "info": dict(dataset.info),
        "missing": [one.filepath for one in dataset if not Path(one.filepath).is_file()],
    }


def labels(dataset: fo.Dataset) -> list:
    names = [name for name in sorted(dataset.get_field_schema()) if is_label(dataset, name)]
    return [one[name] for one in dataset for name in names if one[name] is not None]


def is_label(dataset: fo.Dataset, name: str) -> bool:
    field = dataset.get_field(name)
    kind = getattr(field, "document_type", None)
    return kind is not None and issubclass(kind, fo.Label)


def masks(dataset: fo.Dataset) -> list:
    if not dataset.has_field("scene"):
        return []
    return [
        mask
        for one in dataset
        for mask in (one.gt.detections[0].mask, one.scene.mask, one.heat.map)
    ]


def digest(value: str | bytes) -> str:
    return hashlib.sha256(value if isinstance(value, bytes) else value.encode()).hexdigest()


if __name__ == "__main__":
    function, folder, *arguments = sys.argv[1:]
    done = {one.__name__: one for one in (make, load, tag_and_export, relabel_and_export)}[
        function
    ](Path(folder), *arguments)
    print("\n" + json.dumps(done))
