"""Bytes as they are stored, and back: compressed, decompressed, decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from events import registry
from events.envelope import Codec, Recorded
from events.errors import SyncError
from events.registry import Fact

try:
    from isal import isal_zlib as zlib
except ImportError:  # It is not built for every platform; each reads what the other writes.
    import zlib  # type: ignore[no-redef]

PAYLOAD_BYTES_MAX: Final = 64 * 2**20
COMPRESS_BYTES_MIN: Final = 1024  # below, zlib saves less than it costs
ZLIB_LEVEL: Final = 1


class UnreadablePayload(SyncError):
    """Stored bytes cannot be turned back into what was written."""


class Packed(NamedTuple):
    """Bytes as they are stored."""

    codec: Codec
    stored: bytes


def pack(spelled: bytes) -> Packed:
    """Compress bytes where that makes them smaller."""
    if len(spelled) > COMPRESS_BYTES_MIN:
        packed = zlib.compress(spelled, ZLIB_LEVEL)
        if len(packed) < len(spelled):
            return Packed("json+zlib", packed)
    return Packed("json", spelled)


def unpack(codec: str, stored: bytes) -> bytes:
    """Undo `pack`, within PAYLOAD_BYTES_MAX. Raises UnreadablePayload."""
    if codec == "json":
        return stored
    if codec != "json+zlib":
        raise UnreadablePayload("stored in a codec that this release does not know", codec=codec)
    inflate = zlib.decompressobj()
    try:
        spelled = inflate.decompress(stored, PAYLOAD_BYTES_MAX + 1)
    except zlib.error as exc:  # type: ignore[misc]  # isal's stub calls it an instance
        raise UnreadablePayload("compressed bytes are damaged", reason=str(exc)) from exc
    if not inflate.eof or inflate.unused_data:
        raise UnreadablePayload("compressed bytes do not end where they should")
    return spelled


def fact_of(recorded: Recorded, blob: Callable[[str], object]) -> Fact:
    """Turn a stored row into its fact; `blob` gives the value that was stored under a name."""
    return registry.decode(recorded.type, recorded.schema, _unpacked(recorded), blob=blob)


def outline_of(recorded: Recorded, blob: Callable[[str], object]) -> Fact:
    """Turn a stored row into its fact as folds read it."""
    return registry.decode_outline(recorded.type, recorded.schema, _unpacked(recorded), blob=blob)


def _unpacked(recorded: Recorded) -> bytes:
    payload, codec = recorded.payload, recorded.codec
    return payload if codec == "json" else unpack(codec, payload)
