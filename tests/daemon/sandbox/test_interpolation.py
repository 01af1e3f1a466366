"""Tracks between keyframes are what CVAT's server itself made of them."""

from __future__ import annotations

import pytest

from daemon.sandbox.interpolation import shapes_of
from tests.conformance.interpolation import recorded_tracks, unlike

KINDS = ("rectangle", "ellipse", "polygon", "polyline", "points", "cuboid")


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_tracks_are_interpolated_alike(kind: str) -> None:
    """The cut of a task-level write stores these numbers; 180 tracks of all kinds."""
    rows = recorded_tracks()
    if rows is None:
        pytest.skip("the recording is not on this machine")

    tracks = [row for row in rows if row["track"]["shapes"][0]["type"] == kind]

    assert tracks
    assert [found for row in tracks if (found := unlike(row))] == []


def test_an_outline_keeps_what_two_keyframes_share() -> None:
    """A square that moves is a square on its way, however its points are counted."""
    square = [0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]
    start = {"type": "polygon", "frame": 0, "points": square, "outside": False}
    stop = start | {"frame": 4, "points": [value + 8 for value in square]}
    shapes = [each | {"rotation": 0.0, "attributes": []} for each in (start, stop)]

    shown = shapes_of({"shapes": shapes}, 4)

    assert [each["points"][0] for each in shown] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert shown[2]["points"] == [value + 4 for value in square]
