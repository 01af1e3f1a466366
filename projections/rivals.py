"""Annotations and labels that bear one sign: one to one, those that look most alike first.

Where another pairing would be no worse this one is a guess. It does no harm to the values, which
are the same; but who gave them is another question, so each such guess is told as a doubt.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from events.run import LinkMethod
from projections.facets import Facets
from projections.matching import Candidate, Doubt, Key, Known, Matching, same_facet
from projections.runs import Address, TrackedRow

Item = TypeVar("Item")

# Rivals that are compared each with each; more of them are taken one block after the other.
RIVALS_MAX = 100


def pair(
    result: Matching,
    candidates: Sequence[Candidate],
    bearers: Mapping[Hashable, Sequence[Known]],
    sign_of: Callable[[Candidate], Hashable],
    method: LinkMethod,
) -> list[Candidate]:
    """Link those that bear one sign, one to one; return the candidates that are left.

    bearers  sign → labels that bear it
    """
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
            linked |= _pair_all(result, some, free, method)
    return [candidate for candidate in candidates if candidate.key not in linked]


def _pair_all(
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
