"""Stored bytes: what was packed comes back, by whichever library, and nothing else does."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from importlib.util import find_spec, module_from_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.store.packing import pack, unpack

SPELLED = b'{"points":[10.5,20.25,110.5,80.25],"type":"rectangle"}' * 40


@pytest.fixture(params=["isal", "zlib"])
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module with isal, and as it is where that was not built."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    spec = find_spec("daemon.store.packing")
    assert spec is not None
    assert spec.loader is not None
    # Beside the one that all others have imported.
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.zlib is zlib) == (request.param == "zlib")
    return module


def test_either_library_reads_what_the_standard_one_writes_and_writes_what_it_reads(
    packing: Any,
) -> None:
    """A log is moved to a machine that has only the other one, or read without us."""
    packed = packing.pack(SPELLED)

    assert packed.codec == "json+zlib"
    assert len(packed.stored) < len(SPELLED) / 4
    assert zlib.decompress(packed.stored) == SPELLED
    for level in (1, 6, 9):
        assert packing.unpack("json+zlib", zlib.compress(SPELLED, level)) == SPELLED


@pytest.mark.parametrize("damage", [
    lambda stored: stored[:-1],
    lambda stored: stored + b"x",
    lambda stored: stored[:40] + bytes([stored[40] ^ 255]) + stored[41:],
    lambda stored: b"",
])  # fmt: skip
def test_damaged_bytes_are_refused(packing: Any, damage: object) -> None:
    """A fact that was cut short must not pass for a shorter one."""
    assert callable(damage)
    stored = damage(packing.pack(SPELLED).stored)

    with pytest.raises(packing.UnreadablePayload):
        packing.unpack("json+zlib", stored)


def test_a_bomb_is_refused_before_it_takes_the_memory(packing: Any) -> None:
    """A copied log is input from outside: 400 MB of zeros are 2 MB of it."""
    bomb = zlib.compress(bytes(400 << 20), 1)

    tracemalloc.start()
    with pytest.raises(packing.UnreadablePayload):
        packing.unpack("json+zlib", bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3 * packing.PAYLOAD_BYTES_MAX


@given(st.binary(max_size=5_000))
def test_what_is_packed_comes_back(spelled: bytes) -> None:
    """Whatever it is, and where compressing it would make it longer it stays as it is."""
    packed = pack(spelled)

    assert unpack(*packed) == spelled
    assert len(packed.stored) <= len(spelled)
