"""Tracks between keyframes against what CVAT's server itself made of them."""

from __future__ import annotations

import copy
import gzip
import json
import math
from functools import cache
from typing import Any

from daemon.sandbox.interpolation import shapes_of
from tests.conformance.recording import SHARED
from tests.conformance.replay import Outcome

RECORDING = "track-interpolation"
SAME = ("frame", "outside", "keyframe", "occluded", "attributes")
POINTS_REL = 1e-9


@cache
def recorded_tracks() -> list[dict[str, Any]] | None:
    """Read the recorded tracks; None where this machine does not have them."""
    path = SHARED / f"{RECORDING}.jsonl.gz"
    if not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def compare_tracks() -> dict[str, Outcome]:
    """Interpolate all recorded tracks; nothing where this machine does not have them."""
    rows = recorded_tracks()
    if rows is None:
        return {}
    outcome = Outcome(exchanges=len(rows))
    for place, row in enumerate(rows):
        outcome.note(unlike(row), f"#{place} {row['track']['shapes'][0]['type']}")
    return {RECORDING: outcome}


def unlike(row: dict[str, Any]) -> str | None:
    """Return where our shapes of a track differ from the recorded ones, or None."""
    shown = shapes_of(copy.deepcopy(row["track"]), row["end_frame_exclusive"])
    if len(shown) != len(row["interpolated"]):
        return f"{len(row['interpolated'])} shapes, not {len(shown)}"
    for ours, theirs in zip(shown, row["interpolated"], strict=True):
        left, right = ([each[name] for name in SAME] for each in (theirs, ours))
        numbers = zip(_numbers(theirs), _numbers(ours), strict=False)
        alike = len(_numbers(theirs)) == len(_numbers(ours)) and all(
            math.isclose(a, b, rel_tol=POINTS_REL) for a, b in numbers
        )
        if left != right or not alike:
            return f"frame {theirs['frame']}: {theirs} is not {ours}"
    return None


def _numbers(shape: dict[str, Any]) -> list[float]:
    return [*shape["points"], shape["rotation"]]
