"""The outline between two keyframes of a polygon or polyline, as CVAT's server works it out.

The two outlines may have different numbers of points. Points are matched by
how far along their outline they lie, each pair moves on a straight line, and
points that come too close to each other are thinned out again.
Source: CVAT, dataset_manager/annotation.py, `interpolate_position`.

Outlines are (N, 2) float64, x and y in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Outline: TypeAlias = NDArray[np.float64]


def outline_between(
    left: list[float], right: list[float], *, closed: bool
) -> Callable[[float], list[float]]:
    """Return what turns an offset in (0, 1) into the flat points of the outline there."""
    start, stop = _outline(left, closed=closed), _outline(right, closed=closed)
    matches = _matches(start, stop)
    before = np.concatenate([start[[i] * len(there)] for i, there in enumerate(matches)])
    after = np.concatenate([stop[there] for there in matches])

    def at(offset: float) -> list[float]:
        moved = before + (after - before) * offset
        kept = np.array(_thinned(moved, matches, start, stop))
        return [float(value) for value in (kept[:-1] if closed else kept).ravel()]

    return at


def _outline(points: list[float], *, closed: bool) -> Outline:
    made = np.asarray(points, float).reshape(-1, 2)
    return np.concatenate([made, made[:1]]) if closed else made


def _length(outline: Outline) -> float:
    return float(np.hypot(*np.diff(outline, axis=0).T).sum())


def _along(outline: Outline) -> NDArray[np.float64]:
    """Return how far along the whole outline each point lies, from 0 to 1."""
    steps = np.hypot(*np.diff(outline, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)]) / (steps.sum() or 1.0)


def _matches(start: Outline, stop: Outline) -> list[list[int]]:
    """Return, for each point of the left outline, its points of the right one."""
    distance = np.abs(_along(start)[:, None] - _along(stop)[None, :])
    matches = [[int(j)] for j in distance.argmin(axis=1)]
    for j in set(range(len(stop))) - {there[0] for there in matches}:
        matches[int(distance[:, j].argmin())].append(j)
    return [sorted(there) for there in matches]


def _thinned(
    moved: Outline, matches: list[list[int]], start: Outline, stop: Outline
) -> list[Outline]:
    """Drop points that come too close: runs of one match, and fans of several."""
    first = np.concatenate([[0], np.cumsum([len(there) for there in matches])])
    kept: list[Outline] = []
    for a, b in _runs(matches):
        if len(matches[a]) > 1:
            low, high = matches[a][0], matches[a][-1]
            kept += _spread(moved[first[a] : first[a + 1]], stop[low : high + 1])
        else:
            kept += _spread(moved[first[a] : first[b] + 1], start[a : b + 1])
    return kept


def _runs(matches: list[list[int]]) -> list[tuple[int, int]]:
    """Group left points: neighbours with one and the same match; each fan by itself."""
    runs: list[tuple[int, int]] = []
    for i, there in enumerate(matches):
        if runs and len(there) == 1 and matches[runs[-1][0]] == there:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs


def _spread(points: Outline, source: Outline) -> list[Outline]:
    """Keep ends and what is half a mean step of its source apart; close ends become one."""
    if len(points) == 1:
        return [points[0]]
    threshold = _length(source) / (2 * len(source))
    kept = [points[0]]
    for point in points[1:-1]:
        if np.hypot(*(point - kept[-1])) >= threshold:
            kept.append(point)
    kept.append(points[-1])
    if len(kept) == 2 and np.hypot(*(kept[1] - kept[0])) < threshold:
        return [(kept[0] + kept[1]) / 2]
    return kept
