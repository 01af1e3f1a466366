"""Scan conflicts: a person chooses, and the choice is applied to what the dataset is by then."""

from __future__ import annotations

from typing import Any

import pytest

from events.dataset import LabelChange, SampleChange, SamplesAdded, ScanConflict, ScanConflictRaised
from events.registry import Fact
from events.run import LabelEdit, LabelsMerged
from projections.datasets import DATASETS_FOLD, SCAN_CONFLICTS
from projections.decision import Decision
from projections.fold import replay
from projections.label_fields import LABEL_FIELDS_FOLD
from projections.scan_batch import documents
from projections.scan_conflicts import Choice, NoSuchScanConflict, NothingToChange, resolve
from projections.streams import STREAMS_FOLD
from projections.tables import MemoryTables
from tests.projections.test_datasets import oid, recorded

FOLDS = [DATASETS_FOLD, LABEL_FIELDS_FOLD, STREAMS_FOLD]
S = oid(1)


def label(number: int, cls: str = "Detection", **members: Any) -> dict[str, Any]:
    return {"_id": {"$oid": oid(number)}, "_cls": cls, **members}


def sample(*labels: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "_id": {"$oid": S},
        "gt": {"_cls": "Detections", "detections": [*labels]},
        **members,
    }


class World:
    """A dataset of one sample, with one conflict."""

    def __init__(self, document: dict[str, Any], conflict: ScanConflict, *more: Fact) -> None:
        self.tables = MemoryTables()
        self._position = 0
        self.happens(SamplesAdded(samples=(document,)))
        self.happens(ScanConflictRaised(conflicts=(conflict,)))
        for fact in more:
            self.happens(fact, "run/birds/first")

    def happens(self, fact: Fact, stream: str = "dataset/birds") -> None:
        self._position += 1
        replay(FOLDS, self.tables, [(recorded(self._position, stream), fact)])

    def resolve(self, choice: Choice) -> Decision:
        decision = resolve(self.tables, "birds", "c1", choice)
        for draft in decision.drafts:
            self.happens(draft.fact, draft.stream)
        return decision

    def sample(self) -> Any:
        assert list(self.tables.scan(SCAN_CONFLICTS, "birds")) == []
        return documents(self.tables, "birds", [S]).get(S)


def about(number: int, old: Any, new: Any, **more: Any) -> ScanConflict:
    change = LabelChange(sample=S, field="gt", label=oid(number), old=old, new=new, **more)
    return ScanConflict(id="c1", sample=S, label=change)


def test_the_dataset_s_side_changes_nothing() -> None:
    """It has its value already."""
    world = World(sample(label(5, label="dog")), about(5, {"label": "dog"}, {"label": "owl"}))

    decision = world.resolve("dataset")

    assert world.sample() == sample(label(5, label="dog"))
    assert set(decision.expects) == {"dataset/birds"}


def test_the_manifest_s_side_is_applied_to_what_the_label_is_by_then() -> None:
    """A run may have changed it again while the conflict waited."""
    again = LabelEdit(
        sample=S,
        field="gt",
        label=oid(5),
        operation="changed",
        old={},
        new={"label": "eel", "x": 1},
    )
    world = World(
        sample(label(5, label="dog")),
        about(5, {"label": "dog"}, {"label": "owl"}),
        LabelsMerged(job=1, edits=(again,)),
    )

    decision = world.resolve("manifest")

    assert world.sample() == sample(label(5, label="owl", x=1))
    (draft,) = decision.drafts
    assert getattr(draft.fact, "label", None) == LabelChange(
        sample=S, field="gt", label=oid(5), old={"label": "eel"}, new={"label": "owl"}
    )
    assert set(decision.expects) == {"dataset/birds", "run/birds/first"}


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        (about(5, label(5), None), sample()),
        (about(6, None, label(6)), sample(label(5), label(6))),
        (about(7, label(7), None), sample(label(5))),
    ],
)
def test_labels_come_and_go_whole(conflict: ScanConflict, expected: dict[str, Any]) -> None:
    """Deleted by one side, edited by the other."""
    world = World(sample(label(5)), conflict)

    world.resolve("manifest")

    assert world.sample() == expected


def test_a_label_takes_the_one_place_of_another() -> None:
    """A field of one label never holds two."""
    rain, sun = label(5, "Classification", label="rain"), label(6, "Classification", label="sun")
    change = LabelChange(sample=S, field="weather", label=oid(6), new=sun, alone=True)
    world = World(sample(weather=rain), ScanConflict(id="c1", sample=S, label=change))

    world.resolve("manifest")

    assert world.sample() == sample(weather=sun)


def test_members_and_whole_samples_follow_the_choice() -> None:
    """Also a sample goes only when a person says so."""
    members = SampleChange(sample=S, old={"tags": ["a"]}, new={"tags": ["b"]})
    changed = World(sample(tags=["a"]), ScanConflict(id="c1", sample=S, members=members))
    removed = World(sample(label(5)), ScanConflict(id="c1", sample=S))

    changed.resolve("manifest")
    removed.resolve("manifest")

    assert changed.sample() == sample(tags=["b"])
    assert removed.sample() is None


def test_what_cannot_be_chosen_is_said() -> None:
    """Nothing is written then."""
    world = World(sample(), about(5, {"label": "dog"}, {"label": "owl"}))

    with pytest.raises(NothingToChange):
        world.resolve("manifest")
    with pytest.raises(NoSuchScanConflict):
        resolve(world.tables, "birds", "c2", "dataset")
