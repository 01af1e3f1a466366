"""Datasets: what follows from scans, and what the next scan is compared with."""

from __future__ import annotations

from typing import Any

from events.dataset import (
    DatasetChanged,
    DatasetLabelsChanged,
    DatasetOpened,
    LabelChange,
    ManifestAcknowledged,
    ManifestRejected,
    ManifestScanned,
    RefusedMedia,
    SampleChange,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    SamplesSeen,
    ScanConflict,
    ScanConflictRaised,
    ScanConflictResolved,
)
from events.envelope import Recorded
from events.registry import Fact
from projections import datasets
from projections.datasets import DATASETS_FOLD, dataset_of
from projections.documents import digest
from projections.fold import replay
from projections.tables import MemoryTables


def recorded(position: int, stream: str) -> Recorded:
    return Recorded(
        position=position,
        stream=stream,
        version=position,
        id=position.to_bytes(16, "big"),
        type="",
        schema=1,
        recorded_at=position,
        occurred_at=None,
        actor=None,
        evidence="manifest",
        correlation=None,
        causation=None,
        codec="json",
        payload=b"",
        leaf=b"",
    )


def folded(*facts: Fact, stream: str = "dataset/birds") -> MemoryTables:
    tables = MemoryTables()
    replay(
        [DATASETS_FOLD], tables, [(recorded(n, stream), fact) for n, fact in enumerate(facts, 1)]
    )
    return tables


def oid(number: int) -> str:
    return f"{number:024x}"


def label(number: int, **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": oid(number)}, "_cls": "Detection", **members}


def sample(number: int, *labels: dict[str, Any], **members: Any) -> dict[str, Any]:
    gt = {"_cls": "Detections", "detections": [*labels]}
    return {"_id": {"$oid": oid(number)}, "filepath": f"data/{number}.jpg", "gt": gt, **members}


def scanned(tables: MemoryTables, number: int) -> Any:
    row = tables.get(datasets.SCANNED_DOCUMENTS, "birds", oid(number))
    digest_row = tables.get(datasets.SCANNED, "birds", oid(number))
    assert (row is None) == (digest_row is None)
    assert row is None or digest_row is None or digest_row.digest == digest(row.document)
    return row and row.document


def test_the_dataset_of_a_run_is_in_its_stream():
    """A dataset's name may hold slashes, a run's key may not."""
    names = [dataset_of(stream) for stream in ("dataset/a/b", "run/a/b/key", "run/a/key")]

    assert names == ["a/b", "a/b", "a"]


def test_samples_keep_the_order_of_the_manifest():
    """Frames of a task follow it; ids do not sort like it."""
    tables = folded(
        SamplesAdded(samples=(sample(9), sample(3))),
        SamplesRemoved(samples=(sample(9),)),
        SamplesAdded(samples=(sample(1), sample(9))),
    )

    order = [row.sample for row in datasets.in_order(tables, "birds")]

    assert order == [oid(3), oid(1), oid(9)]
    row = tables.get(datasets.SCANS, "birds")
    assert row is not None
    assert row.samples == 3


def test_a_sample_that_is_added_again_is_counted_once():
    """A scan that died between its events is healed by the next."""
    tables = folded(SamplesAdded(samples=(sample(1),)), SamplesAdded(samples=(sample(1),)))

    assert tables.get(datasets.SCANS, "birds").samples == 1
    assert len(list(tables.scan(datasets.SAMPLES_IN_ORDER, "birds"))) == 1


def test_members_change_in_the_dataset_and_in_the_base():
    """A change by the manifest moves both: the next scan is compared with it."""
    change = SampleChange(sample=oid(1), old={"tags": []}, new={"tags": ["x"]})

    tables = folded(SamplesAdded(samples=(sample(1, tags=[]),)), SamplesChanged(changes=(change,)))

    row = tables.get(datasets.SAMPLES, "birds", oid(1))
    assert row is not None
    assert row.document["tags"] == ["x"]
    assert row.document["gt"] == {"_cls": "Detections", "detections": []}
    assert scanned(tables, 1) == sample(1, tags=["x"])


def test_label_changes_of_the_dataset_move_the_base():
    """The base holds whole documents, labels and all."""
    changes = (
        LabelChange(
            sample=oid(1), field="gt", label=oid(7), old={"label": "a"}, new={"label": "b"}
        ),
        LabelChange(sample=oid(1), field="gt", label=oid(8), new=label(8)),
        LabelChange(sample=oid(5), field="gt", label=oid(8), new=label(8)),
    )

    tables = folded(
        SamplesAdded(samples=(sample(1, label(7, label="a")),)),
        DatasetLabelsChanged(changes=changes),
    )

    assert scanned(tables, 1) == sample(1, label(7, label="b"), label(8))
    assert scanned(tables, 5) is None


def test_what_was_only_seen_moves_the_base_and_nothing_else():
    """The manifest caught up with us: the label fields have it already."""
    tables = folded(
        SamplesAdded(samples=(sample(1, tags=[]), sample(2))),
        SamplesSeen(samples=(sample(1, tags=["x"]),), gone=(oid(2),)),
    )

    assert scanned(tables, 1) == sample(1, tags=["x"])
    assert scanned(tables, 2) is None
    assert tables.get(datasets.SAMPLES, "birds", oid(1)).document["tags"] == []
    assert tables.get(datasets.SAMPLES, "birds", oid(2)) is not None


def test_a_conflict_waits_until_it_is_resolved():
    """`pending` lists it; the choice applies what it names."""
    members = SampleChange(sample=oid(1), old={"tags": []}, new={"tags": ["x"]})
    conflict = ScanConflict(id="c1", sample=oid(1), members=members)
    raised = (
        SamplesAdded(samples=(sample(1, tags=[]),)),
        ScanConflictRaised(conflicts=(conflict,)),
    )

    before = folded(*raised)
    after = folded(*raised, ScanConflictResolved(id="c1", choice="manifest", members=members))

    (waiting,) = before.scan(datasets.SCAN_CONFLICTS, "birds")
    assert (waiting.conflict, waiting.position) == (conflict, 2)
    assert list(after.scan(datasets.SCAN_CONFLICTS, "birds")) == []
    assert after.get(datasets.SAMPLES, "birds", oid(1)).document["tags"] == ["x"]
    assert scanned(after, 1) == sample(1, tags=[])


def test_metadata_changes_member_by_member():
    """Classes may change; what was not named stays."""
    tables = folded(
        DatasetOpened(format="fiftyone", metadata={"classes": {}, "info": {"a": 1}}),
        DatasetChanged(old={"classes": {}}, new={"classes": {"gt": ["cat"]}}),
    )

    row = tables.get(datasets.DATASETS, "birds")
    assert row is not None
    assert row.metadata == {"classes": {"gt": ["cat"]}, "info": {"a": 1}}


def test_a_rejection_is_remembered_until_a_scan_is_taken():
    """So that the same broken manifest is recorded once, not every minute."""
    rejected = (
        ManifestRejected(manifest="/m", reason="no JSON", digest="d1"),
        ManifestAcknowledged(manifest="/m", digest="d1"),
    )
    refused = RefusedMedia(sample=oid(1), filepath="/etc/passwd", reason="outside")
    taken = ManifestScanned(
        manifest="/m", digest="d2", samples=1, refused=1, refused_media=(refused,)
    )

    before = folded(*rejected).get(datasets.SCANS, "birds")
    tables = folded(*rejected, taken)

    assert before is not None
    assert (before.rejected, before.acknowledged) == ("no JSON", "d1")
    after = tables.get(datasets.SCANS, "birds")
    assert after is not None
    assert (after.rejected, after.acknowledged, after.digest) == ("", "", "d2")
    assert [row.filepath for row in tables.scan(datasets.REFUSED_MEDIA, "birds")] == ["/etc/passwd"]
