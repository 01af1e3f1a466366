"""Which label an annotation stands for, although CVAT re-numbers shapes and clears attributes.

Methods, surest first. CVAT never gives an id of its own twice, so an id that still stands for a
label decides; `label_id` decides for annotations with a new id; class and exact place for those
that have neither, or a copied one. What is left is new. One label, one annotation: of several that
claim the same label the one that looks most like it is it, the others are copies.

Where several look alike the pairing is a guess. It does no harm to the values, which are the same;
but who gave them is another question, so each such guess is told as a doubt.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from events.annotations import Kind
from events.run import LinkMethod
from projections.facets import Facets
from projections.jobs import AnnotationRow
from projections.runs import Address, TrackedRow

# Two geometries are the same within this many pixels.
GEOMETRY_TOLERANCE_PX = 1e-3
# Rivals that are compared each with each; more of them are taken one block after the other.
RIVALS_MAX = 100
CONFIDENCE: dict[LinkMethod, float] = {
    "cvat id": 1.0,
    "label_id": 1.0,
    "exact geometry": 0.9,
}
Key = tuple[Kind, int]
Item = TypeVar("Item")


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
    signs: frozenset[str] = frozenset()


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

    def link(self, label: TrackedRow, candidate: Candidate, method: LinkMethod) -> None:
        """Let the label stand for the annotation."""
        self.found[label.address] = Match(label, candidate, method, CONFIDENCE[method])


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
    result = Matching()
    left = _by_id(result, candidates, tracked, held)
    left = _by_sign(result, left, tracked)
    left = _by_claim(result, left, tracked)
    result.new = _by_place(result, left, tracked)
    result.missing = [
        known.row for address, known in tracked.items() if address not in result.found
    ]
    return result


def _by_id(
    result: Matching,
    candidates: Iterable[Candidate],
    tracked: Mapping[Address, Known],
    held: Mapping[Key, Address],
) -> list[Candidate]:
    """Link by CVAT's id; a label cannot move to another image: there it is a copy."""
    left: list[Candidate] = []
    for candidate in candidates:
        known = tracked.get(held[candidate.key]) if candidate.key in held else None
        if known is None or known.row.sample != candidate.sample:
            left.append(candidate)
        else:
            result.link(known.row, candidate, "cvat id")
    return left


def _by_sign(
    result: Matching, candidates: list[Candidate], tracked: Mapping[Address, Known]
) -> list[Candidate]:
    """Link by `label_id`; a label that began as a copy is known by another one's, too."""
    bearers: defaultdict[Hashable, list[Known]] = defaultdict(list)
    for known in _open(result, tracked):
        for sign in known.signs:
            bearers[known.row.sample, sign].append(known)
    return _pair(result, candidates, bearers, lambda one: (one.sample, one.sign), "label_id")


def _by_claim(
    result: Matching, candidates: list[Candidate], tracked: Mapping[Address, Known]
) -> list[Candidate]:
    """Link with the label of another job of the run that the `label_id` names."""
    claimed = {one.claim.address: one.claim for one in candidates if one.claim}
    bearers: dict[Hashable, list[Known]] = {
        (label.sample, label.address): [Known(label, label.seen, there=True)]
        for label in claimed.values()
        if label.address not in tracked
    }
    return _pair(
        result,
        candidates,
        bearers,
        lambda one: (one.sample, one.claim.address) if one.claim else None,
        "label_id",
    )


def _by_place(
    result: Matching, candidates: list[Candidate], tracked: Mapping[Address, Known]
) -> list[Candidate]:
    """Link by class and exact geometry; a tag's place is its image.

    Whether a tag is the one that was there, or another one of its class, nobody can tell.
    """
    lying: defaultdict[Hashable, list[Known]] = defaultdict(list)
    for known in _open(result, tracked):
        if known.there:
            lying[_place(known.row.sample, known.last)].append(known)
    left = _pair(
        result, candidates, lying, lambda one: _place(one.sample, one.facets), "exact geometry"
    )
    for label, candidate, method, _ in result.found.values():
        if method == "exact geometry" and candidate.row.kind == "tag":
            doubt = result.doubts.get(candidate.key, Doubt((label,)))
            result.doubts[candidate.key] = doubt._replace(new=True)
    return left


def _place(sample: str, facets: Facets) -> Hashable:
    """Return what "the same class at exactly the same place" means."""
    return (sample, facets.get("class"), tuple(facets.get("geometry") or ()))


def _open(result: Matching, tracked: Mapping[Address, Known]) -> Iterable[Known]:
    """Yield the labels that no annotation stands for yet."""
    return (known for address, known in tracked.items() if address not in result.found)


def _pair(
    result: Matching,
    candidates: Sequence[Candidate],
    bearers: Mapping[Hashable, Sequence[Known]],
    sign_of: Callable[[Candidate], Hashable],
    method: LinkMethod,
) -> list[Candidate]:
    """Link those that bear one sign, one to one; return the candidates that are left."""
    rivals: defaultdict[Hashable, deque[Candidate]] = defaultdict(deque)
    for candidate in candidates:
        if (sign := sign_of(candidate)) in bearers:
            rivals[sign].append(candidate)
    linked: set[Key] = set()
    for sign, some in rivals.items():
        free = deque(k for k in bearers[sign] if k.row.address not in result.found)
        if len(some) == len(free) == 1:
            result.link(free[0].row, some[0], method)
            linked.add(some[0].key)
        else:
            linked |= _pair_rivals(result, some, free, method)
    return [candidate for candidate in candidates if candidate.key not in linked]


def _pair_rivals(
    result: Matching, some: deque[Candidate], free: deque[Known], method: LinkMethod
) -> set[Key]:
    """Link candidates with labels as long as there are both; return the keys that were linked."""
    linked: set[Key] = set()
    countless = max(len(some), len(free)) > RIVALS_MAX
    while some and free:
        block = _Block(_take(some), _take(free))
        linked |= block.link(result, method)
        left = [one for one in block.candidates if one.key not in linked]
        some.extendleft(reversed(left))
        free.extendleft(k for k in reversed(block.labels) if k.row.address not in result.found)
        if countless:
            result.doubts |= dict.fromkeys((one.key for one in block.candidates), Doubt())
    return linked


def _take(items: deque[Item]) -> list[Item]:
    return [items.popleft() for _ in range(min(len(items), RIVALS_MAX))]


_Unlike = tuple[bool, int]
_NOBODY: _Unlike = (True, 1 << 62)


class _Block:
    """Candidates and labels that bear one sign; how unlike each is to each."""

    def __init__(self, candidates: Sequence[Candidate], labels: Sequence[Known]) -> None:
        self.candidates = candidates
        self.labels = labels
        self.unlike: dict[tuple[Key, Address], _Unlike] = {
            (one.key, known.row.address): (not known.there, _differences(one.facets, known.last))
            for one in candidates
            for known in labels
        }

    def link(self, result: Matching, method: LinkMethod) -> set[Key]:
        """Link those that look most alike first; return the keys that were linked."""
        by_key = {one.key: one for one in self.candidates}
        rows = {known.row.address: known.row for known in self.labels}
        mine: dict[Key, _Unlike] = {}
        its: dict[Address, _Unlike] = {}
        for (key, address), unlike in sorted(
            self.unlike.items(), key=lambda item: (item[1], item[0])
        ):
            if key not in mine and address not in its:
                mine[key] = its[address] = unlike
                result.link(rows[address], by_key[key], method)
        result.doubts |= self._doubts(mine, its)
        return set(mine)

    def _doubts(
        self, mine: Mapping[Key, _Unlike], its: Mapping[Address, _Unlike]
    ) -> dict[Key, Doubt]:
        """Tell where another pairing would be no worse for either.

        mine, its  how unlike a candidate, a label is to what it was linked with
        """
        may_be: defaultdict[Key, list[TrackedRow]] = defaultdict(list)
        for known in self.labels:
            address = known.row.address
            for one in self.candidates:
                most = min(mine.get(one.key, _NOBODY), its.get(address, _NOBODY))
                if self.unlike[one.key, address] <= most:
                    may_be[one.key].append(known.row)
        contested = {
            label.address for key, some in may_be.items() if key not in mine for label in some
        }
        found = {
            key: Doubt(tuple(some), any(label.address in contested for label in some))
            for key, some in may_be.items()
        }
        return {key: doubt for key, doubt in found.items() if doubt.new or len(doubt.labels) > 1}


def _differences(left: Facets, right: Facets) -> int:
    names = left.keys() | right.keys()
    return sum(not same_facet(name, left.get(name), right.get(name)) for name in names)
