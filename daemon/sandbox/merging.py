"""The annotations of a task's jobs as one document: where jobs overlap, twins become one.

Source: CVAT, dataset_manager/annotation.py, ObjectManager.merge. Jobs are
joined one after the other; within an overlap each object of the new job is
assigned to the most similar one before it (Hungarian), and of a pair only one
is shown. Polygons are compared on a raster, where CVAT uses exact geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment

from daemon.sandbox.interpolation import shapes_of
from daemon.sandbox.model import Annotation, Job, Json, Task

# The highest cost (1 - similarity) of a pair.
COST_MAX = 0.25
TRACK_COST_MAX = 0.5
RASTER = 512

Similarity: TypeAlias = Callable[[Annotation, Annotation], float]


def merged(task: Task, jobs: list[Job], documents: list[Json]) -> Json:
    """Join the documents of all jobs of a task, in the order of their frames."""
    body: Json = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    overlap = task.overlap or 0
    for job, document in zip(jobs, documents, strict=True):
        start = job.start_frame
        _join(body["tags"], document["tags"], start, overlap, _same_label)
        _join(body["shapes"], document["shapes"], start, overlap, similarity)
        _join_tracks(body["tracks"], document["tracks"], start, start + overlap)
    return body


def _join(
    known: list[Annotation],
    added: list[Annotation],
    start: int,
    overlap: int,
    similar: Similarity,
) -> None:
    """Add the objects of the next job; of a pair in one frame the known one stays."""
    fresh = [row for row in added if row["frame"] >= start + overlap]
    doubtful = [row for row in added if row["frame"] < start + overlap]
    old = list(known)
    known += fresh
    for frame in dict.fromkeys(row["frame"] for row in doubtful):
        new = [row for row in doubtful if row["frame"] == frame]
        there = [row for row in old if row["frame"] == frame and frame >= start]
        paired = {i for i, _ in pairs(new, there, similar, COST_MAX)}
        known += [row for i, row in enumerate(new) if i not in paired]


def _join_tracks(known: list[Annotation], added: list[Annotation], start: int, end: int) -> None:
    """Add the tracks of the next job; a known one without a twin ends at `end`."""
    doubtful = [track for track in added if track["frame"] < end]
    there = [
        track
        for track in known
        if track["shapes"][-1]["frame"] >= start or not track["shapes"][-1]["outside"]
    ]
    known += [track for track in added if track["frame"] >= end]

    def similar(left: Annotation, right: Annotation) -> float:
        return _track_similarity(left, right, start, end)

    found = pairs(doubtful, there, similar, TRACK_COST_MAX) if there else []
    for i, j in found:
        _unite(doubtful[i], there[j])
    paired_new, paired_old = {i for i, _ in found}, {j for _, j in found}
    known += [track for i, track in enumerate(doubtful) if i not in paired_new]
    for j, track in enumerate(there):
        shape = track["shapes"][-1]
        if j not in paired_old and not shape["outside"]:
            track["shapes"].append({**shape, "frame": end, "outside": True})


def pairs(
    new: list[Annotation], old: list[Annotation], similar: Similarity, cost_max: float
) -> list[tuple[int, int]]:
    """Assign new objects to old ones; pairs that are too different are left out."""
    if not new or not old:
        return []
    cost = np.array([[1 - similar(left, right) for right in old] for left in new])
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] <= cost_max]


def _unite(new: Annotation, old: Annotation) -> None:
    """Give a known track the keyframes of its twin; of two in one frame its own stays."""
    by_frame = {shape["frame"]: shape for shape in new["shapes"]}
    by_frame |= {shape["frame"]: shape for shape in old["shapes"]}
    old["frame"] = min(new["frame"], old["frame"])
    old["shapes"] = [by_frame[frame] for frame in sorted(by_frame)]


def _track_similarity(new: Annotation, old: Annotation, start: int, end: int) -> float:
    if new["label_id"] != old["label_id"]:
        return 0.0
    left = {shape["frame"]: shape for shape in shapes_of(new, end)}
    right = {shape["frame"]: shape for shape in shapes_of(old, end)}
    frames = [frame for frame in range(start, end) if frame in left or frame in right]
    errors = [_error(left.get(frame), right.get(frame)) for frame in frames]
    return 1 - sum(errors) / len(errors) if errors else 0.0


def _error(left: Annotation | None, right: Annotation | None) -> float:
    if left is None or right is None or left["outside"] != right["outside"]:
        return 1.0
    return 1 - similarity(left, right)


def _same_label(left: Annotation, right: Annotation) -> float:
    return float(left["label_id"] == right["label_id"])


def similarity(left: Annotation, right: Annotation) -> float:
    """Return the IoU of two rectangles or polygons of one class; other types are never alike."""
    if left["type"] != right["type"] or left.get("label_id") != right.get("label_id"):
        return 0.0
    match left["type"]:
        case "rectangle":
            return _box_iou(left["points"], right["points"])
        case "polygon":
            return _polygon_iou(left["points"], right["points"])
        case _:
            return 0.0


def _box_iou(left: list[float], right: list[float]) -> float:
    a, b = np.asarray(left, float), np.asarray(right, float)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.clip(sides, 0, None)))
    either = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both
    return both / either if either > 0 else 0.0


def _polygon_iou(left: list[float], right: list[float]) -> float:
    a, b = _drawn((left, right))
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 0.0


def _drawn(outlines: Iterable[list[float]]) -> list[np.ndarray]:
    """Draw outlines into one square raster that just holds them all."""
    corners = [np.asarray(outline, float).reshape(-1, 2) for outline in outlines]
    lowest = np.min([each.min(axis=0) for each in corners], axis=0)
    size = float(np.max([each.max(axis=0) for each in corners]) - lowest.min()) or 1.0
    drawn = []
    for each in corners:
        image = Image.new("1", (RASTER, RASTER))
        scaled = (each - lowest) / size * (RASTER - 1)
        ImageDraw.Draw(image).polygon([tuple(point) for point in scaled], fill=1)
        drawn.append(np.asarray(image))
    return drawn
