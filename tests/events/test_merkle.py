"""The tree is RFC 6962's, so that anybody's verifier agrees with ours."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import merkle
from events.merkle import EMPTY_ROOT, Frontier, consistency_proof, inclusion_proof, leaf, root

# The test vectors of google/certificate-transparency (merkletree/merkle_tree_test.cc).
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = [leaf(entry) for entry in ENTRIES]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (index, size) → path and (size_old, size) → proof, indexes from 0.
PATHS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
PROOFS = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def leaves(size: int) -> list[bytes]:
    return [leaf(str(number).encode()) for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    """A tree of our own making would prove nothing to anybody else."""
    assert root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    """RFC 6962 section 2.1."""
    assert root([]) == EMPTY_ROOT == hashlib.sha256().digest()


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    """Other tools must be able to check a proof that we hand out."""
    proof = inclusion_proof(LEAVES[:size], index)

    assert [one.hex() for one in proof] == PATHS[index, size]


@pytest.mark.parametrize(("size_old", "size"), PROOFS)
def test_consistency_proofs_are_those_of_certificate_transparency(size_old: int, size: int) -> None:
    """Other tools must be able to check a proof that we hand out."""
    proof = consistency_proof(LEAVES[:size], size_old)

    assert [one.hex() for one in proof] == PROOFS[size_old, size]


@given(st.integers(1, 90), st.data())
def test_inclusion_is_proven_for_each_leaf_and_for_nothing_else(
    size: int, data: st.DataObject
) -> None:
    """A proof that fits another leaf, place, size or root would prove anything."""
    index = data.draw(st.integers(0, size - 1))
    tree = leaves(size)
    proof, top = inclusion_proof(tree, index), root(tree)

    def proves(proof: list[bytes] = proof, **other: object) -> bool:
        asked = {"leaf_hash": tree[index], "index": index, "size": size, "root": top, **other}
        return merkle.proves_inclusion(proof, **asked)  # type: ignore[arg-type]

    assert proves()
    assert not proves(leaf_hash=leaf(b"another"))
    assert not proves(root=leaf(b"another"))
    assert not proves(index=size)
    assert not proves(index=-1)
    assert not proves(proof=[*proof, top])
    if proof:
        assert not proves(proof=proof[:-1])
        changed = data.draw(st.integers(0, len(proof) - 1))
        assert not proves(proof=[*proof[:changed], leaf(b"x"), *proof[changed + 1 :]])
        assert not proves(index=index ^ 1)


@given(st.integers(1, 90), st.data())
def test_consistency_is_proven_for_a_longer_tree_and_for_nothing_else(
    size: int, data: st.DataObject
) -> None:
    """This is what shows that history was added to and not rewritten."""
    size_old = data.draw(st.integers(1, size))
    tree = leaves(size)
    proof, old, new = consistency_proof(tree, size_old), root(tree[:size_old]), root(tree)

    def proves(proof: list[bytes] = proof, **other: object) -> bool:
        asked = {"size_old": size_old, "root_old": old, "size": size, "root": new, **other}
        return merkle.proves_consistency(proof, **asked)  # type: ignore[arg-type]

    assert proves()
    assert not proves(root_old=leaf(b"another"))
    assert not proves(root=leaf(b"another"))
    assert not proves(size_old=0)
    assert not proves(size_old=size + 1)
    assert not proves(proof=[*proof, new])
    if proof:
        assert not proves(proof=proof[:-1])
        changed = data.draw(st.integers(0, len(proof) - 1))
        assert not proves(proof=[*proof[:changed], leaf(b"x"), *proof[changed + 1 :]])


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_frontier_goes_on_from_what_was_kept_of_it(first: int, second: int) -> None:
    """The store keeps a frontier with each checkpoint and never rereads what lies before."""
    tree = leaves(first + second)
    before = Frontier()
    before.extend(tree[:first])

    after = Frontier(before.size, before.hashes)
    after.extend(tree[first:])

    assert after.root() == root(tree)
    assert len(after.hashes) == (first + second).bit_count()


def test_a_frontier_with_a_hash_too_many_is_refused() -> None:
    """It is read back from disk."""
    with pytest.raises(ValueError, match="one hash for each bit"):
        Frontier(5, [b"x" * 32])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_what_is_not_in_the_tree(index: int, size: int) -> None:
    """A caller's mistake must not give a proof of something else."""
    with pytest.raises(ValueError, match="outside"):
        inclusion_proof(leaves(size), index)


@pytest.mark.parametrize("size_old", [0, 4])
def test_there_is_no_proof_from_nothing_or_from_later(size_old: int) -> None:
    """A caller's mistake must not give a proof of something else."""
    with pytest.raises(ValueError, match="older tree"):
        consistency_proof(leaves(3), size_old)
