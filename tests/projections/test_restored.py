"""What may not be done between a restore and the first look at everything."""

from __future__ import annotations

import pytest

from events.envelope import Recorded
from events.log import LogRestored
from events.registry import Fact
from events.server import SweepCompleted
from projections.fold import replay
from projections.folds import FOLDS
from projections.restored import NotSweptYet, check_swept, epoch_of, is_held, unswept
from projections.tables import MemoryTables

RESTORED = ("log", LogRestored(epoch=1_800_000_000, position=1))
SWEPT = ("server/main", SweepCompleted(jobs=3))
OTHER_SWEPT = ("server/other", SweepCompleted(jobs=3))


def folded(*events: tuple[str, Fact]) -> MemoryTables:
    """Fold events, given by stream and fact, into tables."""
    tables = MemoryTables()
    rows = (
        Recorded(
            position=position, stream=stream, version=position, id=bytes(16), type="", schema=1,
            recorded_at=position, occurred_at=None, actor=None, evidence="unknown",
            correlation=None, causation=None, codec="json", payload=b"", leaf=bytes(32),
        )
        for position, (stream, _) in enumerate(events, 1)
    )  # fmt: skip
    replay(FOLDS, tables, zip(rows, (fact for _, fact in events), strict=True))
    return tables


@pytest.mark.parametrize(
    ("events", "waits"),
    [
        ([SWEPT], False),
        ([], False),
        ([SWEPT, RESTORED], True),
        ([RESTORED], True),
        ([SWEPT, RESTORED, OTHER_SWEPT], True),
        ([SWEPT, RESTORED, SWEPT], False),
        ([RESTORED, SWEPT, RESTORED], True),
    ],
)
def test_a_server_waits_for_a_sweep_since_the_last_restore(
    events: list[tuple[str, Fact]], waits: bool
):
    """What was seen before the restore may have been written over in CVAT, also by ourselves."""
    tables = folded(*events)

    assert unswept(tables, "main") is waits
    if waits:
        with pytest.raises(NotSweptYet):
            check_swept(tables, "main")
    else:
        check_swept(tables, "main")


@pytest.mark.parametrize(
    ("epoch", "position", "held"),
    [
        (1, 100, True),
        (1, 101, False),
        (20, 250, True),
        (20, 251, False),
        (30, 9_999, True),
        (25, 1, False),
    ],
)
def test_what_was_seen_is_held_up_to_the_copy_that_ended_its_history(
    epoch: int, position: int, held: bool
):
    """Restored twice, from copies that end at 100 and at 250: a manifest may have seen either."""
    tables = folded(
        ("log", LogRestored(epoch=20, position=100)), ("log", LogRestored(epoch=30, position=250))
    )

    assert is_held(tables, epoch, position) is held
    assert epoch_of(tables) == 30


def test_a_log_that_was_never_restored_has_one_history():
    """Most logs: what carries no number at all belongs to the first history."""
    tables = folded(SWEPT)

    assert epoch_of(tables) == 1
    assert is_held(tables, 1, 9_999)
    assert not is_held(tables, 2, 1)
