"""The shapes of a track between its keyframes, as CVAT's server works them out.

Source: CVAT, dataset_manager/annotation.py, TrackManager.get_interpolated_shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daemon.sandbox.errors import crashed
from daemon.sandbox.model import Annotation
from daemon.sandbox.polylines import outline_between


def shapes_of(track: Annotation, end_frame: int) -> list[Annotation]:
    """Return a track's shapes from its first keyframe to `end_frame`, which is left out.

    Marks the track's own shapes as keyframes, as CVAT does in passing. Like
    CVAT it crashes (500) on a track that has two keyframes in one frame.
    """
    shown: list[Annotation] = []
    last: Annotation | None = None
    for shape in track["shapes"]:
        if last is not None:
            if shape["frame"] <= last["frame"]:
                raise crashed()
            known = {value["spec_id"] for value in shape["attributes"]}
            carried = [dict(v) for v in last["attributes"] if v["spec_id"] not in known]
            shape["attributes"] = [*shape["attributes"], *carried]
            if not last["outside"]:
                shown += between(last, shape)
        shape["keyframe"] = True
        shown.append(shape)
        last = shape
        if end_frame <= shape["frame"]:
            return shown
    if last is not None and not last["outside"]:
        shown += between(last, {**last, "frame": end_frame})
    return shown


def between(left: Annotation, right: Annotation) -> list[Annotation]:
    """Return the shapes strictly between two keyframes."""
    if left["type"] != right["type"]:
        raise crashed()
    frames = range(left["frame"] + 1, right["frame"])
    place = _mover(left, right) if frames else None
    shown = []
    for frame in frames:
        offset = (frame - left["frame"]) / (right["frame"] - left["frame"])
        moved = place(offset) if place else {}
        shown.append({**left, **moved, "frame": frame, "keyframe": False})
    return shown


def _mover(left: Annotation, right: Annotation) -> Callable[[float], Annotation] | None:
    """Return what turns an offset in (0, 1) into the members that move."""
    start, stop = left.get("points", []), right.get("points", [])
    if start == stop and left["rotation"] == right["rotation"]:
        return None
    if left["type"] == "mask" or (left["type"] == "points" and {len(start), len(stop)} != {2}):
        return None
    if left["type"] in {"polygon", "polyline"}:
        outline = outline_between(start, stop, closed=left["type"] == "polygon")
        return lambda offset: {"points": outline(offset)}
    origin, step = np.asarray(start, float), np.subtract(stop, start)
    turn = _turn(left["rotation"], right["rotation"])

    def at(offset: float) -> Annotation:
        rotation = (left["rotation"] + turn * offset + 360) % 360
        return {"points": (origin + step * offset).tolist(), "rotation": rotation}

    return at


def _turn(start: float, stop: float) -> float:
    """Return the shorter way round from one angle to another, in degrees."""
    return (stop - start + 180) % 360 - 180
