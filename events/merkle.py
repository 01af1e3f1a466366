"""The Merkle tree of RFC 6962 over leaf hashes: roots, and proofs about them.

A root stands for the whole log up to a position. An inclusion proof shows that one
leaf is under a root, a consistency proof that a later root only added leaves; both
are a logarithm of hashes. Source: RFC 6962 section 2.1; the verifying algorithms are
those of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf(entry: bytes) -> bytes:
    """Return the leaf hash of an entry, SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash above two hashes, SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: one hash for each full subtree, the largest first."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError("a frontier has one hash for each bit that is set in its size")

    def add(self, leaf_hash: bytes) -> None:
        """Add one leaf; the cost is one hash in the mean."""
        below, grown = self.size, leaf_hash
        while below & 1:
            grown = node(self.hashes.pop(), grown)
            below >>= 1
        self.hashes.append(grown)
        self.size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaves in order, level by level: for many that is a third faster."""
        level, below, edge = list(leaf_hashes), self.size, list[bytes]()
        self.size += len(level)
        while level:
            if below & 1:
                level.insert(0, self.hashes.pop())
            if len(level) & 1:
                edge.append(level.pop())
            pairs = iter(level)
            level = [node(left, right) for left, right in zip(pairs, pairs, strict=True)]
            below >>= 1
        self.hashes += reversed(edge)

    def root(self) -> bytes:
        """Return the root over all leaves added so far."""
        if not self.hashes:
            return EMPTY_ROOT
        above = self.hashes[-1]
        for full in reversed(self.hashes[:-1]):
            above = node(full, above)
        return above


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaves."""
    frontier = Frontier()
    frontier.extend(leaf_hashes)
    return frontier.root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from leaf `index` (from 0) to the root, the lowest first."""
    if not 0 <= index < len(leaf_hashes):
        raise ValueError("the index lies outside of the tree")
    if len(leaf_hashes) == 1:
        return []
    split = _split(len(leaf_hashes))
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if index < split:
        return [*inclusion_proof(left, index), root(right)]
    return [*inclusion_proof(right, index - split), root(left)]


def proves_inclusion(
    proof: Sequence[bytes], *, leaf_hash: bytes, index: int, size: int, root: bytes
) -> bool:
    """Tell whether a proof shows that a leaf stands at `index` under the root of `size` leaves."""
    if not 0 <= index < size:
        return False
    first, last, hashed = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            hashed = node(sibling, hashed)
            first, last = _up_to_left_child(first, last)
        else:
            hashed = node(hashed, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and hashed == root


def consistency_proof(leaf_hashes: Sequence[bytes], size_old: int) -> list[bytes]:
    """Return the hashes that show that the first `size_old` leaves were only added to."""
    if not 0 < size_old <= len(leaf_hashes):
        raise ValueError("the older tree is empty or larger than the newer one")
    return _subproof(leaf_hashes, size_old, whole=True)


def proves_consistency(
    proof: Sequence[bytes], *, size_old: int, root_old: bytes, size: int, root: bytes
) -> bool:
    """Tell whether a proof shows that the newer tree begins with the older one."""
    if not 0 < size_old <= size:
        return False
    if size_old == size:
        return not proof and root_old == root
    # A full older tree is its own first hash, which the proof leaves out.
    hashes = [root_old, *proof] if size_old.bit_count() == 1 else list(proof)
    first, last = _up_to_left_child(size_old - 1, size - 1, stop_at_zero=False)
    if not hashes:
        return False
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old, new = node(sibling, old), node(sibling, new)
            first, last = _up_to_left_child(first, last)
        else:
            new = node(new, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and old == root_old and new == root


def _subproof(leaf_hashes: Sequence[bytes], size_old: int, *, whole: bool) -> list[bytes]:
    if size_old == len(leaf_hashes):
        return [] if whole else [root(leaf_hashes)]
    split = _split(len(leaf_hashes))
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if size_old <= split:
        return [*_subproof(left, size_old, whole=whole), root(right)]
    return [*_subproof(right, size_old - split, whole=False), root(left)]


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _up_to_left_child(first: int, last: int, *, stop_at_zero: bool = True) -> tuple[int, int]:
    # Walks up while the node is a right child (or, for the start of a consistency
    # proof, as long as the lowest bit of `first` is set).
    if stop_at_zero:
        while not first & 1 and first:
            first, last = first >> 1, last >> 1
    else:
        while first & 1:
            first, last = first >> 1, last >> 1
    return first, last
