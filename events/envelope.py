"""What stands around a fact: who, when, how it is known, and its place in the log."""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Literal, get_args

import msgspec

from events.registry import Encoded, Fact

Evidence = Literal["webhook", "several", "own write", "manifest", "command", "owner", "unknown"]
EVIDENCE: Final[frozenset[str]] = frozenset(get_args(Evidence))

Codec = Literal["json", "json+zlib"]

ID_BYTES: Final = 16
STREAM_BYTES_MAX: Final = 512


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact on its way into the log.

    id           16 bytes, a UUIDv7 by `daemon.clock`: the key of idempotence
    stream       the named sequence it continues, e.g. "job/main/7"
    occurred_at  µs since 1970-01-01 UTC as the source tells it, None if it does not
    actor        "<server>/<user id>", None if nobody is known
    evidence     how the actor is known
    correlation  16 bytes: the id of the work that this is part of
    causation    16 bytes: the id of the event that led to this one
    fact         None where nobody here needs more of it than its bytes
    encoded      the fact's canonical bytes where somebody made them already
    """

    id: bytes
    stream: str
    fact: Fact | None
    occurred_at: int | None = None
    actor: str | None = None
    evidence: Evidence = "unknown"
    correlation: bytes | None = None
    causation: bytes | None = None
    encoded: Encoded | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the log, as stored.

    position     place in the whole log, from 1, without gaps
    version      place in its stream, from 1, without gaps
    recorded_at  µs since 1970-01-01 UTC, never less than that of the row before
    payload      the stored bytes, in `codec`; `LogReader.fact` gives the fact
    leaf         SHA-256 over everything else here, the leaf of the log's Merkle tree
    """

    position: int
    stream: str
    version: int
    id: bytes
    type: str
    schema: int
    recorded_at: int
    occurred_at: int | None
    actor: str | None
    evidence: Evidence
    correlation: bytes | None
    causation: bytes | None
    codec: Codec
    payload: bytes
    leaf: bytes


# Numbers first, then the length of every text and byte string: whatever follows can be cut
# in one way only. A length of -1 stands for None, which is not the empty text.
_LEAF_HEAD: Final = struct.Struct(">cQQQq?qiiiiiiiiq")
_NONE: Final = b""


def leaf_hash(
    position: int,
    stream: str,
    version: int,
    id: bytes,
    type: str,
    schema: int,
    recorded_at: int,
    occurred_at: int | None,
    actor: str | None,
    evidence: str,
    correlation: bytes | None,
    causation: bytes | None,
    codec: str,
    payload: bytes,
) -> bytes:
    """Return the 32-byte RFC 6962 leaf hash of a row: SHA-256(0x00 ‖ head ‖ bytes)."""
    stream_b, type_b, evidence_b, codec_b = (
        stream.encode(),
        type.encode(),
        evidence.encode(),
        codec.encode(),
    )
    actor_b = _NONE if actor is None else actor.encode()
    head = _LEAF_HEAD.pack(
        b"\0",
        position,
        version,
        schema,
        recorded_at,
        occurred_at is not None,
        occurred_at or 0,
        len(stream_b),
        len(id),
        len(type_b),
        -1 if actor is None else len(actor_b),
        len(evidence_b),
        -1 if correlation is None else len(correlation),
        -1 if causation is None else len(causation),
        len(codec_b),
        len(payload),
    )
    rest = (
        head,
        stream_b,
        id,
        type_b,
        actor_b,
        evidence_b,
        correlation or _NONE,
        causation or _NONE,
        codec_b,
        payload,
    )
    return hashlib.sha256(b"".join(rest)).digest()
