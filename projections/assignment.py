"""Which box that came is which box that went, where neither an id nor the exact place tells.

The best assignment of the boxes of one class on one image: each pair is as alike as their places
overlap (intersection over union, IoU), less for each value in which they differ, and the sum over
all pairs is the greatest there is. Class is no part of the sum but a gate. A box that comes back
as another class has nothing but its place to tell that it is the same object, and whoever deletes
a bus and draws a car in its place did not change a bus: as an edit it would hand all that the
dataset knows of the bus on to the car.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Below it two boxes are two objects. 0.5 is the IoU from which on a detection counts as found
# (PASCAL VOC), and above it boxes that do not overlap among themselves have one partner each at
# most (panoptic quality, Kirillov et al. 2019), so that no other assignment is possible.
LIKENESS_MIN = 0.5
# A box of which every other value differs must lie where the old one lay: it was drawn anew.
OTHERS_WEIGHT = 0.5
# The editor deletes and creates in two requests of one save; what lies further apart is not one.
SAVE_US_MAX = 60_000_000


@dataclass(frozen=True)
class Box:
    """A box that went or came.

    points_px  x0, y0, x1, y1, pixels, origin top left
    others     facet → value of all that is neither class nor place; of all boxes the same names
    at_us      the server's date of the look that it went or came with, µs since 1970 UTC
    """

    points_px: tuple[float, float, float, float]
    others: Mapping[str, Any]
    at_us: int


class Choice(NamedTuple):
    """What a box that came is: places in `went`.

    went   the one that it is by the best assignment, None where another box took that
    alike  each one that it may be, for all that anybody can see
    """

    came: int
    went: int | None
    likeness: float
    alike: tuple[int, ...]


def assign(went: Sequence[Box], came: Sequence[Box]) -> list[Choice]:
    """Choose for boxes of one class on one image; those that are like none are left out.

    Costs memory for a few matrices of len(went) × len(came) numbers.
    """
    # On use only: most looks need it not, and commands start without it.
    import numpy as np

    likeness = _likeness(went, came)
    likeness[likeness < LIKENESS_MIN] = 0
    chosen = dict(_best(likeness))
    choices = []
    for column in np.flatnonzero(likeness.any(axis=0)).tolist():
        alike = tuple(np.flatnonzero(likeness[:, column]).tolist())
        row = chosen.get(column)
        like = 0.0 if row is None else float(likeness[row, column])
        choices.append(Choice(column, row, like, alike))
    return choices


def _best(likeness: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield (column, row) of the assignment with the greatest sum; what is 0 is not assigned."""
    import numpy as np

    some = likeness > 0
    rows, columns = np.nonzero(some)
    if some.sum(axis=0).max(initial=0) > 1 or some.sum(axis=1).max(initial=0) > 1:
        # Boxes that overlap among themselves; mostly they do not, and there is no choice.
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(likeness, maximize=True)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if some[row, column]:
            yield column, row


def _likeness(went: Sequence[Box], came: Sequence[Box]) -> NDArray[np.float64]:
    """Return (went, came) float64, 0 to 1; 0 for what no one save can have taken and brought."""
    import numpy as np

    apart_us = np.subtract.outer([one.at_us for one in went], [one.at_us for one in came])
    overlap = _iou([one.points_px for one in went], [one.points_px for one in came])
    likeness = overlap * (1 - OTHERS_WEIGHT * _differing(went, came))
    likeness[np.abs(apart_us) > SAVE_US_MAX] = 0
    return likeness


def _iou(
    left_px: Sequence[tuple[float, ...]], right_px: Sequence[tuple[float, ...]]
) -> NDArray[np.float64]:
    """Return the intersection over union of each with each, (left, right) float64.

    The corners may come in any order. Boxes without area, or with numbers beyond all images,
    overlap with nothing.
    """
    import numpy as np

    left, right = (
        np.array(some, dtype=np.float64).reshape(-1, 2, 2) for some in (left_px, right_px)
    )
    with np.errstate(all="ignore"):
        low = np.maximum(left.min(axis=1)[:, None], right.min(axis=1)[None])
        high = np.minimum(left.max(axis=1)[:, None], right.max(axis=1)[None])
        shared = np.clip(high - low, 0, None).prod(axis=2)
        areas = [np.ptp(some, axis=1).prod(axis=1) for some in (left, right)]
        found = shared / (np.add.outer(*areas) - shared)
    overlap: NDArray[np.float64] = np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
    return overlap


def _differing(went: Sequence[Box], came: Sequence[Box]) -> NDArray[np.float64]:
    """Return the share of other values in which each differs from each, (went, came) float64."""
    import numpy as np

    names = sorted({name for one in (*went, *came) for name in one.others})
    differing = np.zeros((len(went), len(came)))
    for name in names:
        codes: dict[str, int] = {}
        left, right = (
            [codes.setdefault(repr(one.others.get(name)), len(codes)) for one in some]
            for some in (went, came)
        )
        differing += np.not_equal.outer(left, right)
    return differing / max(len(names), 1)
