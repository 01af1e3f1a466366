"""Annotations, labels, and what was found of which stands for which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from events.annotations import Annotation, Kind, Shape
from events.run import LinkMethod
from projections.facets import Facets
from projections.jobs import AnnotationRow
from projections.runs import Address, TrackedRow

# Two geometries are the same within this many pixels.
GEOMETRY_TOLERANCE_PX = 1e-3
# That of an assignment is how alike the two are.
CONFIDENCE: dict[LinkMethod, float] = {
    "cvat id": 1.0,
    "label_id": 1.0,
    "exact geometry": 0.9,
}
Key = tuple[Kind, int]


@dataclass(frozen=True)
class Candidate:
    """One annotation of the job.

    annotation  the row's
    sample  whose frame it is on
    facets  what of it the field that its class belongs to can hold
    sign    its `label_id`, "" for none
    claim   the label that its `label_id` names, tracked in this job or in another one
    """

    row: AnnotationRow
    annotation: Annotation
    sample: str
    facets: Facets
    sign: str
    claim: TrackedRow | None

    @property
    def key(self) -> Key:
        """The annotation's key in its job."""
        return self.row.kind, self.row.id

    @property
    def is_rectangle(self) -> bool:
        """Whether it is a box; an ellipse has four numbers, too."""
        return isinstance(self.annotation, Shape) and self.annotation.type == "rectangle"


@dataclass(frozen=True)
class Known:
    """One label that is tracked in the job.

    row    what the run agreed on
    last   its facets as last shown by an annotation that stood for it, also one that is gone now
    there  whether it was not told gone since
    signs  each `label_id` that leads to it: its own, and the one that its annotation carried, which
           is another label's where it began as a copy
    went   position of the observation that its annotation was gone with, 0 where it is not
    """

    row: TrackedRow
    last: Facets
    there: bool
    signs: frozenset[str] = frozenset()
    went: int = 0


class Match(NamedTuple):
    """A label and the annotation that stands for it."""

    label: TrackedRow
    candidate: Candidate
    method: LinkMethod
    confidence: float


class Doubt(NamedTuple):
    """What else an annotation may be, for all that anybody can see.

    labels  each label that it may stand for; none: there were too many to compare
    new     whether it may have been drawn since, and stand for none of them
    """

    labels: tuple[TrackedRow, ...] = ()
    new: bool = False


@dataclass
class Matching:
    """The whole of a job: linked labels, labels without annotation, annotations without label."""

    found: dict[Address, Match] = field(default_factory=dict)
    missing: list[TrackedRow] = field(default_factory=list)
    new: list[Candidate] = field(default_factory=list)
    doubts: dict[Key, Doubt] = field(default_factory=dict)

    def link(
        self,
        label: TrackedRow,
        candidate: Candidate,
        method: LinkMethod,
        confidence: float | None = None,
    ) -> None:
        """Let the label stand for the annotation."""
        sure = CONFIDENCE[method] if confidence is None else confidence
        self.found[label.address] = Match(label, candidate, method, sure)


def same_facet(name: str, left: Any, right: Any) -> bool:
    """Tell whether two values of a facet are the same; geometry within a tolerance."""
    if name == "geometry" and left is not None and right is not None:
        return len(left) == len(right) and all(
            abs(a - b) <= GEOMETRY_TOLERANCE_PX for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)
