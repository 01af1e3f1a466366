"""From label fields to the labels of a CVAT project: classes, attributes, and names that clash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from events.annotations import AttributeSpec, LabelSpec
from events.errors import SyncError
from events.run import FieldSchema, LabelType, ValueType

# The attribute that carries a label's id through CVAT; FiftyOne uses the same name.
LABEL_ID = "label_id"
# CVAT refuses longer names of labels and attributes.
NAME_CHARS_MAX = 64
TEXT_CHARS_MAX = 4096
_CVAT_TYPE = {"detections": "rectangle", "classification": "tag", "classifications": "tag"}
# What a FiftyOne label has of its own; all else of it is an attribute.
CORE_MEMBERS = frozenset({
    "_id", "_cls", "id", "tags", "label", "confidence", "index", "bounding_box", "mask",
    "mask_path", "points", "closed", "filled", "logits", "attributes", "instance", "rotation",
    "created_at", "last_modified_at", "keyframe",
})  # fmt: skip


class BadLabelSchema(SyncError):
    """The label schema cannot be asked of CVAT as it is."""


def field_names(fields: Sequence[FieldSchema]) -> dict[str, dict[str, str]]:
    """Return field → class → CVAT label name.

    A class of one field alone keeps its name; one of several fields becomes `<class>_<field>`.
    """
    count = Counter(name for field in fields for name in field.classes)
    return {
        field.name: {
            name: name if count[name] == 1 else f"{name}_{field.name}" for name in field.classes
        }
        for field in fields
    }


def compile_labels(
    fields: Sequence[FieldSchema],
) -> tuple[tuple[LabelSpec, ...], dict[str, dict[str, str]]]:
    """Return CVAT's labels for a run, and the names that lead back. Raises BadLabelSchema."""
    names = field_names(fields)
    labels = tuple(_labels(fields, names))
    for label in labels:
        _check_name("class", label.name)
        for spec in label.attributes:
            _check_name("attribute", spec.name)
    twice = [name for name, n in Counter(label.name for label in labels).items() if n > 1]
    if twice:
        raise BadLabelSchema(
            "two classes would have the same CVAT label name",
            names=twice,
            hint="nothing was written; rename one of the classes or annotate the fields apart",
        )
    return labels, names


def _labels(
    fields: Iterable[FieldSchema], names: Mapping[str, Mapping[str, str]]
) -> Iterator[LabelSpec]:
    for field in fields:
        if not field.classes:
            raise BadLabelSchema(
                "a field has no classes",
                field=field.name,
                hint="nothing was written; name them with --class",
            )
        if any(spec.name == LABEL_ID for spec in field.attributes):
            raise BadLabelSchema(
                "`label_id` carries the identity of labels and cannot be an attribute",
                field=field.name,
                hint="nothing was written; rename the attribute",
            )
        identity = (AttributeSpec(name=LABEL_ID, mutable=True),) if field.existing else ()
        for name in field.classes:
            yield LabelSpec(
                name=names[field.name][name],
                type=_CVAT_TYPE[field.type],
                attributes=(*identity, *field.attributes),
            )


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise BadLabelSchema(
            f"CVAT takes {what} names of 1 to {NAME_CHARS_MAX} characters",
            name=name[: NAME_CHARS_MAX + 1],
            hint="nothing was written",
        )


# What an existing field already says about itself.

_TYPES: dict[str, LabelType] = {
    "Detections": "detections",
    "Detection": "detections",
    "Classifications": "classifications",
    "Classification": "classification",
}


def label_type_of(container: str) -> LabelType | None:
    """Return the label type of a FiftyOne label class, None for one that is not supported."""
    return _TYPES.get(container)


class Inference:
    """Collects classes and attributes over the labels of one field, in one pass."""

    def __init__(self) -> None:
        self.classes: set[str] = set()
        self.value_types: dict[str, ValueType] = {}

    def add(self, document: Mapping[str, Any]) -> None:
        """Take one label into account. Lists and objects are no attributes."""
        if isinstance(document.get("label"), str):
            self.classes.add(document["label"])
        for name, value in document.items():
            if name in CORE_MEMBERS or (found := value_type_of(value)) is None:
                continue
            known = self.value_types.setdefault(name, found)
            if known != found:
                numbers = {known, found} == {"int", "float"}
                self.value_types[name] = "float" if numbers else "str"

    def attributes(self) -> tuple[AttributeSpec, ...]:
        """Return one spec an attribute: a checkbox for bools, text for all else."""
        return tuple(
            AttributeSpec(
                name=name,
                input_type="checkbox" if kind == "bool" else "text",
                values=("true", "false") if kind == "bool" else (),
            )
            for name, kind in sorted(self.value_types.items())
        )


def value_type_of(value: object) -> ValueType | None:
    """Name the type of an attribute value, None where it is not one CVAT could show."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float() | {"$numberDouble": _} | {"$number": _}:
            return "float"
        case str():
            return "str"
        case _:
            return None
