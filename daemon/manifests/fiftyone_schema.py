"""`sample_fields` of a metadata.json: how FiftyOne declares a field and what is in it.

Source: the schemas that FiftyOne 1.22 declares by itself (`fiftyone.core.labels`); older releases
know the same members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from events.dataset import Document
from projections.documents import LISTS

_LABELS: Final = "fiftyone.core.labels"
_FIELDS: Final = "fiftyone.core.fields"

# What needs_migration compares with; newer releases migrate, older ones refuse what is newer.
VERSION: Final = "1.0.0"


def _field(
    name: str,
    type: str,
    *,
    subfield: str | None = None,
    document: str | None = None,
    fields: Sequence[Document] = (),
    read_only: bool = False,
) -> Document:
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{type}",
        "embedded_doc_type": document,
        "subfield": subfield and f"{_FIELDS}.{subfield}",
        "fields": [*fields],
        "db_field": "_id" if name == "id" else name,
        "description": None,
        "info": None,
        "read_only": read_only,
    }


_ID = _field("id", "ObjectIdField")
_TAGS = _field("tags", "ListField", subfield="StringField")
_ATTRIBUTES = _field(
    "attributes", "DictField", subfield="EmbeddedDocumentField", document=f"{_LABELS}.Attribute"
)
_LABEL = _field("label", "StringField")
_CONFIDENCE = _field("confidence", "FloatField")
_INDEX = _field("index", "IntField")
_MASK = (_field("mask", "ArrayField"), _field("mask_path", "StringField"))
_LOGITS = _field("logits", "VectorField")

_MEMBERS: Final[dict[str, tuple[Document, ...]]] = {
    "Classification": (_ID, _TAGS, _LABEL, _CONFIDENCE, _LOGITS),
    "Detection": (
        *(_ID, _TAGS, _ATTRIBUTES, _LABEL),
        _field("bounding_box", "ListField", subfield="FloatField"),
        *(*_MASK, _CONFIDENCE, _INDEX),
    ),
    "Polyline": (
        *(_ID, _TAGS, _ATTRIBUTES, _LABEL),
        _field("points", "PolylinePointsField"),
        *(_CONFIDENCE, _INDEX),
        _field("closed", "BooleanField"),
        _field("filled", "BooleanField"),
    ),
    "Keypoint": (
        *(_ID, _TAGS, _ATTRIBUTES, _LABEL),
        _field("points", "KeypointsField"),
        _field("confidence", "ListField", subfield="FloatField"),
        _INDEX,
    ),
    "Segmentation": (_ID, _TAGS, *_MASK),
}

# Of a dataset that no FiftyOne has declared.
SAMPLE_FIELDS: Final = (
    _ID,
    _field("filepath", "StringField"),
    _TAGS,
    _field(
        "metadata",
        "EmbeddedDocumentField",
        document="fiftyone.core.metadata.ImageMetadata",
        fields=[
            _field("size_bytes", "IntField"),
            _field("mime_type", "StringField"),
            _field("width", "IntField"),
            _field("height", "IntField"),
            _field("num_channels", "IntField"),
        ],
    ),
    _field("created_at", "DateTimeField", read_only=True),
    _field("last_modified_at", "DateTimeField", read_only=True),
    _field("_media_type", "StringField"),
    _field("_rand", "FloatField"),
    _field("_dataset_id", "ObjectIdField"),
)


def label_field(name: str, label_class: str) -> Document:
    """Declare a label field, e.g. of class "Detections"."""
    members: tuple[Document, ...] = _MEMBERS.get(label_class, ())
    if label_class in LISTS:
        list_, one = LISTS[label_class]
        inside = _field(
            list_,
            "ListField",
            subfield="EmbeddedDocumentField",
            document=f"{_LABELS}.{one}",
            fields=_MEMBERS.get(one, ()),
        )
        members = (inside, _LOGITS) if label_class == "Classifications" else (inside,)
    document = f"{_LABELS}.{label_class}"
    return _field(name, "EmbeddedDocumentField", document=document, fields=members)
