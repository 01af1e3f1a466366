"""CVAT's JSON ↔ annotations by name.

Source of the wire format: CVAT OpenAPI 2.15, `LabeledData`, `LabeledShape`, `LabeledTrack`,
`TrackedShape`, `AttributeVal`. Members that newer servers add are ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from events.annotations import (
    Annotation,
    AttributeSpec,
    AttributeValue,
    Keyframe,
    LabelSpec,
    Shape,
    Tag,
    Track,
)
from events.errors import SyncError


class UnreadableAnnotations(SyncError):
    """The body is not what CVAT documents."""


class UnknownLabel(SyncError):
    """An annotation names a label or attribute that the schema at hand does not hold.

    The schema moved on between two requests: read it again, then the annotations.
    """


# What our tables can hold; a server's own columns are smaller.
_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Frame = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Value(msgspec.Struct):
    spec_id: int
    value: Any


class _Tag(msgspec.Struct):
    id: _Id
    frame: _Frame
    label_id: int
    group: int | None = None
    source: str | None = None
    attributes: list[_Value] = []


class _Shape(_Tag):
    type: str = ""
    points: list[float] = []
    rotation: float = 0.0
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    score: float = 1.0
    elements: list[_Shape] = []


class _Keyframe(msgspec.Struct):
    frame: _Frame
    type: str = ""
    points: list[float] = []
    rotation: float = 0.0
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    attributes: list[_Value] = []


class _Track(_Tag):
    shapes: list[_Keyframe] = []
    elements: list[_Track] = []


class _LabeledData(msgspec.Struct):
    tags: list[_Tag] = []
    shapes: list[_Shape] = []
    tracks: list[_Track] = []


_decoder = msgspec.json.Decoder(_LabeledData)


@dataclass(frozen=True)
class Schema:
    """The labels of one job, looked up by id and by name."""

    labels: tuple[LabelSpec, ...]
    _label_names: dict[int, str] = field(init=False, repr=False, compare=False)
    _spec_names: dict[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        every = [*self.labels, *(sub for label in self.labels for sub in label.sublabels)]
        names = {label.id: label.name for label in every}
        specs = {spec.id: spec.name for label in every for spec in label.attributes}
        object.__setattr__(self, "_label_names", names)
        object.__setattr__(self, "_spec_names", specs)

    def label_name(self, label_id: int) -> str:
        """Name a label. Raises UnknownLabel."""
        try:
            return self._label_names[label_id]
        except KeyError:
            raise UnknownLabel("no label has this id", label_id=label_id) from None

    def values(self, pairs: Iterable[_Value]) -> dict[str, AttributeValue]:
        """Name attribute values. CVAT returns every value that was sent, also two for one spec.

        Raises UnknownLabel.
        """
        found: defaultdict[str, list[str]] = defaultdict(list)
        for pair in pairs:
            if pair.spec_id not in self._spec_names:
                raise UnknownLabel("no attribute has this spec id", spec_id=pair.spec_id)
            found[self._spec_names[pair.spec_id]].append(str(pair.value))
        return {
            name: values[0] if len(values) == 1 else tuple(sorted(values))
            for name, values in sorted(found.items())
        }

    def spec(self, label: str) -> LabelSpec:
        """Return the class of this name. Raises UnknownLabel."""
        for candidate in self.labels:
            if candidate.name == label:
                return candidate
        raise UnknownLabel("no label has this name", label=label)


def labels_from_wire(items: Iterable[Mapping[str, Any]]) -> tuple[LabelSpec, ...]:
    """Read the answer of `GET /api/labels` (all pages), sorted by id.

    Raises UnreadableAnnotations where a class or an attribute has no id or no name.
    """
    try:
        return tuple(sorted((_label_from_wire(item) for item in items), key=lambda spec: spec.id))
    except KeyError as exc:
        raise UnreadableAnnotations(
            "a class is not in CVAT's form",
            reason=f"it has no {exc}",
            hint="nothing was recorded; the last good state stands",
        ) from exc


def _label_from_wire(item: Mapping[str, Any]) -> LabelSpec:
    return LabelSpec(
        id=item["id"],
        name=item["name"],
        type=item.get("type") or "any",
        color=item.get("color") or "",
        attributes=tuple(
            AttributeSpec(
                id=spec.get("id", 0),
                name=spec["name"],
                input_type=spec.get("input_type", "text"),
                mutable=bool(spec.get("mutable", False)),
                values=tuple(str(value) for value in spec.get("values") or ()),
                default_value=str(spec.get("default_value") or ""),
            )
            for spec in sorted(item.get("attributes") or (), key=lambda spec: spec.get("id", 0))
        ),
        sublabels=labels_from_wire(item.get("sublabels") or ()),
    )


def labels_to_wire(labels: Iterable[LabelSpec]) -> list[dict[str, Any]]:
    """Write labels for a task or project that is to be made."""
    return [
        {
            "name": label.name,
            "type": label.type,
            "attributes": [
                {
                    "name": spec.name,
                    "mutable": spec.mutable,
                    "input_type": spec.input_type,
                    "default_value": spec.default_value,
                    "values": list(spec.values),
                }
                for spec in label.attributes
            ],
        }
        for label in labels
    ]


def annotations_from_wire(body: bytes, schema: Schema) -> list[Annotation]:
    """Read the answer of `GET /api/jobs/{id}/annotations`.

    Raises UnreadableAnnotations, and UnknownLabel when the schema is older than the body.
    """
    try:
        data = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UnreadableAnnotations(
            "the annotations are not in CVAT's form",
            reason=str(exc),
            hint="nothing was recorded; the last good state stands",
        ) from exc
    return [
        *(_tag(tag, schema) for tag in data.tags),
        *(_shape(shape, schema) for shape in data.shapes),
        *(_track(track, schema) for track in data.tracks),
    ]


def _common(item: _Tag, schema: Schema) -> dict[str, Any]:
    return {
        "id": item.id,
        "frame": item.frame,
        "label": schema.label_name(item.label_id),
        "group": item.group or 0,
        "source": item.source or "manual",
        "attributes": schema.values(item.attributes),
    }


def _tag(item: _Tag, schema: Schema) -> Tag:
    return Tag(**_common(item, schema))


def _shape(item: _Shape, schema: Schema) -> Shape:
    return Shape(
        **_common(item, schema),
        type=item.type,
        points=tuple(item.points),
        rotation=item.rotation,
        occluded=item.occluded,
        outside=item.outside,
        z_order=item.z_order,
        score=item.score,
        elements=tuple(_shape(element, schema) for element in item.elements),
    )


def _track(item: _Track, schema: Schema) -> Track:
    return Track(
        **_common(item, schema),
        keyframes=tuple(
            Keyframe(
                frame=shape.frame,
                type=shape.type,
                points=tuple(shape.points),
                rotation=shape.rotation,
                occluded=shape.occluded,
                outside=shape.outside,
                z_order=shape.z_order,
                attributes=schema.values(shape.attributes),
            )
            for shape in sorted(item.shapes, key=lambda shape: shape.frame)
        ),
        elements=tuple(_track(element, schema) for element in item.elements),
    )


def annotations_to_wire(
    annotations: Sequence[Annotation], schema: Schema, *, with_ids: bool
) -> dict[str, Any]:
    """Write tags and shapes as a `LabeledData` body. Raises UnknownLabel."""
    written: dict[str, Any] = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    for annotation in annotations:
        item = _to_wire(annotation, schema)
        if with_ids:
            item["id"] = annotation.id
        written["tags" if isinstance(annotation, Tag) else "shapes"].append(item)
    return written


def _to_wire(annotation: Annotation, schema: Schema) -> dict[str, Any]:
    label = schema.spec(annotation.label)
    specs = {spec.name: spec.id for spec in label.attributes}
    item: dict[str, Any] = {
        "frame": annotation.frame,
        "label_id": label.id,
        "group": annotation.group,
        "source": annotation.source,
        "attributes": [
            {"spec_id": specs[name], "value": value}
            for name, value in annotation.attributes.items()
            if name in specs
        ],
    }
    if isinstance(annotation, Shape):
        item |= {
            "type": annotation.type,
            "points": list(annotation.points),
            "rotation": annotation.rotation,
            "occluded": annotation.occluded,
            "outside": annotation.outside,
            "z_order": annotation.z_order,
        }
    return item


def as_stored(annotation: Annotation, schema: Schema) -> Annotation:
    """Return what the server must hold once it took this annotation.

    CVAT trims attribute text and fills absent attributes with the spec's current default
    (measured on 2.15 and 2.73). Raises UnknownLabel.
    """
    specs = schema.spec(annotation.label).attributes
    sent = annotation.attributes
    values: dict[str, AttributeValue] = {spec.name: spec.default_value for spec in specs}
    values |= {
        name: value.strip() if isinstance(value, str) else value
        for name, value in sent.items()
        if name in values
    }
    return msgspec.structs.replace(annotation, attributes=dict(sorted(values.items())))
