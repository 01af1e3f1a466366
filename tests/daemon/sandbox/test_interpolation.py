"""Tracks between keyframes are what CVAT's server itself made of them."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest

from daemon.sandbox.interpolation import shapes_of
from tests.conformance.recording import SHARED

RECORDING = SHARED / "track-interpolation.jsonl.gz"
KINDS = ("rectangle", "ellipse", "polygon", "polyline", "points", "cuboid")
POINTS_REL = 1e-9


def read(kind: str) -> list[dict[str, Any]]:
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["track"]["shapes"][0]["type"] == kind]


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not on this machine")
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_tracks_are_interpolated_alike(kind: str) -> None:
    """The cut of a task-level write stores these numbers; 180 tracks of all kinds."""
    rows = read(kind)
    assert rows

    for row in rows:
        shown = shapes_of(copy.deepcopy(row["track"]), row["end_frame_exclusive"])

        for ours, theirs in zip(shown, row["interpolated"], strict=True):
            same = ("frame", "outside", "keyframe", "occluded", "attributes")
            assert [ours[name] for name in same] == [theirs[name] for name in same]
            assert ours["points"] == pytest.approx(theirs["points"], rel=POINTS_REL)
            assert ours["rotation"] == pytest.approx(theirs["rotation"], rel=POINTS_REL)


def test_an_outline_keeps_what_two_keyframes_share() -> None:
    """A square that moves is a square on its way, however its points are counted."""
    square = [0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]
    start = {"type": "polygon", "frame": 0, "points": square, "outside": False}
    stop = start | {"frame": 4, "points": [value + 8 for value in square]}
    shapes = [each | {"rotation": 0.0, "attributes": []} for each in (start, stop)]

    shown = shapes_of({"shapes": shapes}, 4)

    assert [each["points"][0] for each in shown] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert shown[2]["points"] == [value + 4 for value in square]
