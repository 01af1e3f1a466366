"""Which label an annotation stands for, although CVAT re-numbers shapes and clears attributes.

Methods, surest first. CVAT never gives an id of its own twice, so an id that still stands for a
label decides; `label_id` decides for annotations with a new id; class and exact place for those
that have neither, or a copied one; the best assignment (`projections.assignment`) for those that
came with the save that the label went with, and lie elsewhere. What is left is new. One label, one
annotation: of several that claim the same label the one that looks most like it is it, the others
are copies.

Where several look alike the choice is a guess, and is told as a doubt (`projections.rivals`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from projections.assignment import Box, assign
from projections.facets import Facets
from projections.matching import Candidate, Doubt, Key, Known, Matching
from projections.rivals import pair
from projections.runs import Address

# Pairs of boxes that one look may weigh for the best assignment, 8 bytes each some times over. The
# boxes of a class on an image that would go beyond it are left alone: the old ones are deleted, the
# others are new, and the log says so.
PAIRS_MAX = 1_000_000
BOX_NUMBERS = 4
CONFIDENCE_DIGITS = 3
# Facets that say where to look, not how alike two boxes are.
GATES = ("exists", "class", "geometry")


def match(
    candidates: Iterable[Candidate],
    tracked: Mapping[Address, Known],
    held: Mapping[Key, Address],
    date_us: Callable[[int], int],
) -> Matching:
    """Match the annotations of one job with the labels that are tracked in it.

    held     (kind, id) → the label that the annotation stood for so far
    date_us  position of an observation → the server's date of it, µs since 1970 UTC
    """
    result = Matching()
    left = _by_id(result, candidates, tracked, held)
    left = _by_sign(result, left, tracked)
    left = _by_claim(result, left, tracked)
    left = _by_place(result, left, tracked)
    result.new = _by_assignment(result, left, tracked, date_us)
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
    return pair(result, candidates, bearers, lambda one: (one.sample, one.sign), "label_id")


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
    return pair(
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
    left = pair(
        result, candidates, lying, lambda one: _place(one.sample, one.facets), "exact geometry"
    )
    for label, candidate, method, _ in result.found.values():
        if method == "exact geometry" and candidate.row.kind == "tag":
            labels, _ = result.doubts.get(candidate.key, Doubt((label,)))
            result.doubts[candidate.key] = Doubt(labels, new=bool(labels))
    return left


def _by_assignment(
    result: Matching,
    candidates: list[Candidate],
    tracked: Mapping[Address, Known],
    date_us: Callable[[int], int],
) -> list[Candidate]:
    """Link boxes that came with boxes that went; return the candidates that are left."""
    went: defaultdict[Hashable, list[Known]] = defaultdict(list)
    for known in _open(result, tracked):
        if known.there and known.went and _is_box(known.last):
            went[known.row.sample, known.last.get("class")].append(known)
    came: defaultdict[Hashable, list[Candidate]] = defaultdict(list)
    for one in candidates:
        # A copy of another label, wherever it is pasted, says itself what it is.
        if one.claim is None and one.is_rectangle and _is_box(one.facets):
            came[one.sample, one.facets.get("class")].append(one)
    room = PAIRS_MAX
    linked: set[Key] = set()
    for group in filter(went.__contains__, came):
        pairs = len(went[group]) * len(came[group])
        if pairs <= room:
            room -= pairs
            linked |= _assign(result, went[group], came[group], date_us)
    return [one for one in candidates if one.key not in linked]


def _assign(
    result: Matching,
    went: Sequence[Known],
    came: Sequence[Candidate],
    date_us: Callable[[int], int],
) -> set[Key]:
    """Link boxes of one class on one image; return the keys that were linked.

    Each may be another one all the same: drawn where the old one was deleted.
    """
    linked: set[Key] = set()
    old = [_box(known.last, date_us(known.went)) for known in went]
    new = [_box(one.facets, date_us(one.row.added)) for one in came]
    for choice in assign(old, new):
        candidate = came[choice.came]
        alike = tuple(went[place].row for place in choice.alike)
        result.doubts[candidate.key] = Doubt(alike, new=True)
        if choice.went is not None:
            label, likeness = went[choice.went].row, round(choice.likeness, CONFIDENCE_DIGITS)
            result.link(label, candidate, "assignment", likeness)
            linked.add(candidate.key)
    return linked


def _is_box(facets: Facets) -> bool:
    return len(facets.get("geometry") or ()) == BOX_NUMBERS


def _box(facets: Facets, at_us: int) -> Box:
    x0, y0, x1, y1 = facets["geometry"]
    others = {name: value for name, value in facets.items() if name not in GATES}
    return Box((x0, y0, x1, y1), others, at_us)


def _place(sample: str, facets: Facets) -> Hashable:
    """Return what "the same class at exactly the same place" means."""
    return (sample, facets.get("class"), tuple(facets.get("geometry") or ()))


def _open(result: Matching, tracked: Mapping[Address, Known]) -> Iterable[Known]:
    """Yield the labels that no annotation stands for yet."""
    return (known for address, known in tracked.items() if address not in result.found)
