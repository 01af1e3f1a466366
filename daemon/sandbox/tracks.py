"""A document for a whole task, cut into its jobs.

Source: CVAT 2.15, dataset_manager/annotation.py, AnnotationIR.slice. Its cut
leaves two keyframes in one frame where a track ends inside a job and began
before it; the merge that follows may crash on them (recorded).
"""

from __future__ import annotations

from copy import deepcopy

from daemon.sandbox.interpolation import shapes_of
from daemon.sandbox.model import Annotation, Job, Json


def cut_for_jobs(
    document: Json, jobs: list[Job], *, repeats_end: bool = True
) -> list[tuple[Job, Json]]:
    """Give each job the part of a document that lies in its frames.

    repeats_end  whether the cut leaves the doubled keyframe of 2.15
    """
    return [(job, _part(document, job, repeats_end=repeats_end)) for job in jobs]


def _part(document: Json, job: Job, *, repeats_end: bool) -> Json:
    first, last = job.start_frame, job.stop_frame
    tracks = [
        cut(track, first, last, repeats_end=repeats_end)
        for track in document["tracks"]
        if shows_within(track, first, last)
    ]
    return {
        "tags": [row for row in document["tags"] if first <= row["frame"] <= last],
        "shapes": [row for row in document["shapes"] if first <= row["frame"] <= last],
        "tracks": [track for track in tracks if track["shapes"]],
    }


def shows_within(track: Annotation, first: int, last: int) -> bool:
    """Tell whether a track is visible anywhere in a range of frames."""
    before: Annotation | None = None
    for shape in track["shapes"]:
        visible = before is not None and not before["outside"]
        if before and visible and min(shape["frame"], last) >= max(before["frame"], first):
            return True
        before = shape
    return before is not None and not before["outside"] and bool(before["frame"] <= last)


def cut(track: Annotation, first: int, last: int, *, repeats_end: bool) -> Annotation:
    """Cut a track to a range of frames, with keyframes where it crosses the borders."""
    whole = deepcopy(track)
    kept = _within(deepcopy(track["shapes"]), first, last)
    whole["elements"] = [
        cut(element, first, last, repeats_end=repeats_end) for element in track.get("elements", ())
    ]
    if len(kept) < len(track["shapes"]):
        shown = shapes_of(whole, last)
        seen = _within(shown, first, last)
        if seen:
            _close(kept, shown, seen, last, repeats_end=repeats_end, whole=whole)
        kept = [
            {name: value for name, value in shape.items() if name != "keyframe"} for shape in kept
        ]
    whole["shapes"] = kept
    if kept:
        whole["frame"] = kept[0]["frame"]
    return whole


def _close(
    kept: list[Annotation],
    shown: list[Annotation],
    seen: list[Annotation],
    last: int,
    *,
    repeats_end: bool,
    whole: Annotation,
) -> None:
    """Add the keyframes of the borders to those inside."""
    if not seen[0]["keyframe"]:
        kept.insert(0, seen[0] | {"id": None})
    end = seen[-1]
    ends_at = max(shape["frame"] for shape in whole["shapes"])
    if ends_at >= last and end.get("points") != kept[-1].get("points"):
        kept.append(end | {"id": None})
    elif end["keyframe"] and end["outside"]:
        if repeats_end:
            kept.append(end | {"id": None})
    elif last + 1 < len(shown) and shown[last + 1]["outside"]:
        kept.append(shown[last + 1] | {"id": None})


def _within(shapes: list[Annotation], first: int, last: int) -> list[Annotation]:
    """Return the shapes in a range, without those before the track is visible."""
    inside = [shape for shape in shapes if first <= shape["frame"] <= last]
    while inside and inside[0]["outside"]:
        inside.pop(0)
    return inside
