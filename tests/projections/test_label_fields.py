"""Label fields: the dataset's and the runs' changes meet, and touch what they name alone."""

from __future__ import annotations

from typing import Any

from events.dataset import (
    DatasetLabelsChanged,
    DatasetOpened,
    LabelChange,
    SamplesAdded,
    SamplesRemoved,
    ScanConflictResolved,
)
from events.registry import Fact
from events.run import ConflictResolved, FieldSchema, LabelEdit, LabelsMerged, RunRequested
from projections.documents import join
from projections.fold import replay
from projections.label_fields import (
    LABEL_FIELDS,
    LABEL_FIELDS_FOLD,
    LABEL_IDS,
    LABELS,
    labels_of,
)
from projections.tables import MemoryTables
from tests.projections.test_datasets import recorded

DATASET, RUN = "dataset/birds", "run/birds/first"


def folded(*facts: tuple[str, Fact]) -> MemoryTables:
    tables = MemoryTables()
    events = [(recorded(n, stream), fact) for n, (stream, fact) in enumerate(facts, 1)]
    replay([LABEL_FIELDS_FOLD], tables, events)
    return tables


def oid(number: int) -> str:
    return f"{number:024x}"


def label(number: int, cls: str = "Detection", **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": oid(number)}, "_cls": cls, **members}


def sample(number: int, *labels: dict[str, Any], **members: Any) -> dict[str, Any]:
    gt = {"_cls": "Detections", "detections": [*labels]}
    return {"_id": {"$oid": oid(number)}, "gt": gt, **members}


BOX = {"label": "cat", "bounding_box": [0.1, 0.2, 0.3, 0.4], "confidence": 0.5}
ADDED = (DATASET, SamplesAdded(samples=(sample(1, label(7, **BOX), label(6)),)))


def gt_of(tables: MemoryTables) -> list[dict[str, Any]]:
    empty = {"gt": {"_cls": "Detections", "detections": []}}
    joined: Any = join(empty, labels_of(tables, "birds", oid(1)))
    return joined["gt"]["detections"]


def test_labels_keep_their_order_and_are_found_by_bare_id():
    """FiftyOne copies ids when it clones a field, so an id may have several places."""
    copy = (DATASET, SamplesAdded(samples=(sample(2, label(7)),)))

    tables = folded(ADDED, copy)

    assert gt_of(tables) == [label(7, **BOX), label(6)]
    places = [(row.sample, row.field) for row in tables.scan(LABEL_IDS, oid(7))]
    assert places == [(oid(1), "gt"), (oid(2), "gt")]


def test_a_merge_changes_the_members_it_names_alone():
    """What was not touched is not touched: confidence and box keep their values."""
    edit = LabelEdit(
        sample=oid(1),
        field="gt",
        label=oid(7),
        operation="changed",
        old={"label": "cat", "confidence": 0.5},
        new={"label": "dog", "confidence": None},
    )

    tables = folded(ADDED, (RUN, LabelsMerged(job=1, edits=(edit,))))

    assert gt_of(tables) == [
        label(7, label="dog", bounding_box=[0.1, 0.2, 0.3, 0.4]),
        label(6),
    ]


def test_merged_labels_come_last_and_removed_ones_leave_the_index():
    """New labels never take the place of old ones in the list."""
    edits = (
        LabelEdit(sample=oid(1), field="gt", label=oid(2), operation="added", new=label(2)),
        LabelEdit(sample=oid(1), field="gt", label=oid(1), operation="added", new=label(1)),
        LabelEdit(sample=oid(1), field="gt", label=oid(6), operation="removed", old=label(6)),
    )

    tables = folded(ADDED, (RUN, LabelsMerged(job=1, edits=edits)))

    assert gt_of(tables) == [label(7, **BOX), label(2), label(1)]
    assert list(tables.scan(LABEL_IDS, oid(6))) == []


def test_an_edit_of_a_label_that_is_gone_brings_nothing_back():
    """A deletion by the dataset is not undone by a late event."""
    edit = LabelEdit(
        sample=oid(1), field="gt", label=oid(6), operation="changed", old={}, new={"label": "x"}
    )
    gone = LabelChange(sample=oid(1), field="gt", label=oid(6), old=label(6))

    tables = folded(
        ADDED,
        (DATASET, DatasetLabelsChanged(changes=(gone,))),
        (RUN, LabelsMerged(job=1, edits=(edit,))),
    )

    assert gt_of(tables) == [label(7, **BOX)]


def test_resolutions_apply_what_was_chosen():
    """`resolve` is an event like any other; the choice for the dataset changes nothing."""
    edit = LabelEdit(
        sample=oid(1), field="gt", label=oid(6), operation="changed", old={}, new={"label": "x"}
    )
    change = LabelChange(
        sample=oid(1), field="gt", label=oid(7), old={"label": "cat"}, new={"label": "owl"}
    )

    tables = folded(
        ADDED,
        (RUN, ConflictResolved(id="a", choice="cvat", edit=edit)),
        (RUN, ConflictResolved(id="b", choice="dataset")),
        (DATASET, ScanConflictResolved(id="c", choice="manifest", label=change)),
    )

    assert gt_of(tables) == [label(7, **{**BOX, "label": "owl"}), label(6, label="x")]


def test_removed_samples_take_their_labels_along():
    """Nothing of them is left to be found by id."""
    tables = folded(ADDED, (DATASET, SamplesRemoved(samples=(sample(1),))))

    assert tables.dump() == {}


def test_a_field_that_holds_one_label_keeps_its_form():
    """A classification field is the label itself; a list there would not import."""
    tag = label(3, "Classification", label="day")
    run = RunRequested(
        server="main",
        fields=(
            FieldSchema(name="weather", type="classification", classes=("rain",)),
            FieldSchema(name="things", type="classifications", classes=("rain",)),
        ),
        tasks=(),
    )
    edits = tuple(
        LabelEdit(sample=oid(1), field=field, label=oid(n), operation="added", new=tag)
        for n, field in enumerate(("weather", "things"), 3)
    )

    tables = folded((RUN, run), (RUN, LabelsMerged(job=1, edits=edits)))

    assert join({}, labels_of(tables, "birds", oid(1))) == {
        "weather": tag,
        "things": {"_cls": "Classifications", "classifications": [tag]},
    }


def test_label_fields_are_those_declared_and_those_of_runs():
    """An export must declare the fields that runs made, and only those anew."""
    metadata = {
        "sample_fields": [
            {"name": "gt", "embedded_doc_type": "fiftyone.core.labels.Detections"},
            {"name": "metadata", "embedded_doc_type": "fiftyone.core.metadata.ImageMetadata"},
            {"name": "tags"},
            "garbage",
        ]
    }
    run = RunRequested(
        server="main",
        fields=(
            FieldSchema(name="gt", type="detections", existing=True, classes=()),
            FieldSchema(name="new", type="detections", classes=("cat",)),
        ),
        tasks=(),
    )

    tables = folded((DATASET, DatasetOpened(format="fiftyone", metadata=metadata)), (RUN, run))

    rows = [(row.field, row.label_class, row.run) for row in tables.scan(LABEL_FIELDS, "birds")]
    assert rows == [("gt", "Detections", ""), ("new", "Detections", "first")]
    assert list(tables.scan(LABELS, "birds")) == []
