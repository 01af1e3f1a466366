"""Which label an annotation stands for, although CVAT re-numbers shapes and clears attributes.

Methods, surest first. CVAT never gives an id of its own twice, so an id that still stands for a
label decides; `label_id` decides for annotations with a new id; class and exact place for those
that have neither, or a copied one. What is left is new. One label, one annotation: of several that
claim the same label the one that looks most like it is it, the others are copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from events.annotations import Kind
from events.run import LinkMethod
from projections.facets import Facets
from projections.jobs import AnnotationRow
from projections.runs import Address, TrackedRow

# Two geometries are the same within this many pixels.
GEOMETRY_TOLERANCE_PX = 1e-3
# Copies of one label on one image that are told from each other; more of them are new labels.
RIVALS_MAX = 100
CONFIDENCE: dict[LinkMethod, float] = {
    "cvat id": 1.0,
    "label_id": 1.0,
    "exact geometry": 0.9,
}
Key = tuple[Kind, int]
Place = tuple[object, ...]


@dataclass(frozen=True)
class Candidate:
    """One annotation of the job.

    sample  whose frame it is on
    facets  what of it the field that its class belongs to can hold
    sign    its `label_id`, "" for none
    claim   the label that its `label_id` names, tracked in this job or in another one
    """

    row: AnnotationRow
    sample: str
    facets: Facets
    sign: str
    claim: TrackedRow | None

    @property
    def key(self) -> Key:
        """The annotation's key in its job."""
        return self.row.kind, self.row.id


@dataclass(frozen=True)
class Known:
    """One label that is tracked in the job.

    row    what the run agreed on
    last   its facets as last shown by an annotation that stood for it, also one that is gone now
    there  whether that was not merged away since
    signs  each `label_id` that leads to it: its own, and the one that its annotation carried, which
           is another label's where it began as a copy
    """

    row: TrackedRow
    last: Facets
    there: bool
    signs: frozenset[str]


@dataclass
class Matching:
    """The whole of a job: linked labels, labels without annotation, annotations without label."""

    found: dict[Address, tuple[TrackedRow, Candidate, LinkMethod]] = field(default_factory=dict)
    missing: list[TrackedRow] = field(default_factory=list)
    new: list[Candidate] = field(default_factory=list)

    def link(self, label: TrackedRow, candidate: Candidate, method: LinkMethod) -> None:
        """Let the label stand for the annotation."""
        self.found[label.address] = label, candidate, method


def same_facet(name: str, left: Any, right: Any) -> bool:
    """Tell whether two values of a facet are the same; geometry within a tolerance."""
    if name == "geometry" and left is not None and right is not None:
        return len(left) == len(right) and all(
            abs(a - b) <= GEOMETRY_TOLERANCE_PX for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


def match(
    candidates: Iterable[Candidate],
    tracked: Mapping[Address, Known],
    held: Mapping[Key, Address],
) -> Matching:
    """Match the annotations of one job with the labels that are tracked in it.

    held  (kind, id) → the label that the annotation stood for so far
    """

    def standing_for(candidate: Candidate) -> TrackedRow | None:
        known = tracked.get(held[candidate.key]) if candidate.key in held else None
        return known.row if known else None

    result = Matching()
    left = _by(result, candidates, standing_for, tracked, "cvat id")
    left = _by_sign(result, left, tracked)
    left = _by(result, left, lambda c: c.claim, tracked, "label_id")
    result.new = _by_place(result, left, tracked)
    result.missing = [
        known.row for address, known in tracked.items() if address not in result.found
    ]
    return result


def _by_sign(
    result: Matching, candidates: list[Candidate], tracked: Mapping[Address, Known]
) -> list[Candidate]:
    """Link by `label_id`, those that look most alike first; return the candidates that are left."""
    bearers: defaultdict[tuple[str, str], list[Known]] = defaultdict(list)
    for known in tracked.values():
        for sign in known.signs if known.row.address not in result.found else ():
            bearers[known.row.sample, sign].append(known)
    rivals: defaultdict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if (candidate.sample, candidate.sign) in bearers:
            rivals[candidate.sample, candidate.sign].append(candidate)
    linked: set[Key] = set()
    for place, some in rivals.items():
        pairs = [
            (not known.there, _differences(one.facets, known.last), one.key, known.row.address)
            for one in some[:RIVALS_MAX]
            for known in bearers[place][:RIVALS_MAX]
        ]
        by_key = {one.key: one for one in some}
        for *_, key, address in sorted(pairs):
            if key not in linked and address not in result.found:
                linked.add(key)
                result.link(tracked[address].row, by_key[key], "label_id")
    return [candidate for candidate in candidates if candidate.key not in linked]


def _by_place(
    result: Matching, left: list[Candidate], tracked: Mapping[Address, Known]
) -> list[Candidate]:
    """Link by class and exact geometry; return the candidates that are left.

    Several labels may lie at one place: each pass links one of them, the last one none.
    """
    while True:
        lying = {
            _place(known.row.sample, known.last): known.row
            for address, known in tracked.items()
            if known.there and address not in result.found
        }
        still = _by(result, left, partial(_lying_at, lying), tracked, "exact geometry")
        if len(still) == len(left):
            return left
        left = still


def _lying_at(lying: Mapping[Place, TrackedRow], candidate: Candidate) -> TrackedRow | None:
    return lying.get(_place(candidate.sample, candidate.facets))


def _by(
    result: Matching,
    candidates: Iterable[Candidate],
    label_of: Callable[[Candidate], TrackedRow | None],
    tracked: Mapping[Address, Known],
    method: LinkMethod,
) -> list[Candidate]:
    """Link by one method; return the candidates that it left."""
    rivals: defaultdict[Address, list[Candidate]] = defaultdict(list)
    left: list[Candidate] = []
    labels: dict[Address, TrackedRow] = {}
    for candidate in candidates:
        label = label_of(candidate)
        # A label cannot move to another image: there it is a copy.
        if label is None or label.address in result.found or label.sample != candidate.sample:
            left.append(candidate)
        else:
            labels[label.address] = label
            rivals[label.address].append(candidate)
    for address, claimants in rivals.items():
        label = labels[address]
        last = tracked[address].last if address in tracked else label.seen
        best = min(claimants, key=lambda c: (_differences(c.facets, last), c.key))
        result.link(label, best, method)
        left.extend(candidate for candidate in claimants if candidate is not best)
    return left


def _differences(left: Facets, right: Facets) -> int:
    names = left.keys() | right.keys()
    return sum(not same_facet(name, left.get(name), right.get(name)) for name in names)


def _place(sample: str, facets: Facets) -> Place:
    """Return what "the same class at exactly the same place" means; a tag's place is its image."""
    return (sample, facets.get("class"), tuple(facets.get("geometry") or ()))
