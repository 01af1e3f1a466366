"""Annotations of a job from the bytes that CVAT sends; large ones in a process of the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from daemon.pool import INLINE_BYTES_MAX, Pool
from events.annotations import Annotation, LabelSpec
from projections.codec.cvat import (
    Schema,
    UnknownLabel,
    UnreadableAnnotations,
    annotations_from_wire,
)

PIECE_BYTES: Final = 256 * 1024

_labels = msgspec.msgpack.Decoder(tuple[LabelSpec, ...])
_piece = msgspec.msgpack.Decoder(list[Annotation])
_encode = msgspec.msgpack.Encoder().encode


async def decoded(body: bytes, labels: tuple[LabelSpec, ...], pool: Pool) -> list[Annotation]:
    """Read the answer of `GET /api/jobs/{id}/annotations`.

    Raises UnreadableAnnotations, UnknownLabel and WorkFailed.
    """
    if len(body) <= INLINE_BYTES_MAX:
        return annotations_from_wire(body, Schema(labels))
    errors = (UnreadableAnnotations, UnknownLabel)
    found: list[Annotation] = []
    for piece in await pool.run(work, _encode(labels), body, raises=errors):
        # One annotation alone may be larger than a piece.
        if len(piece) > 2 * PIECE_BYTES:
            found += await asyncio.to_thread(_piece.decode, piece)
        else:
            found += _piece.decode(piece)
            await asyncio.sleep(0)
    return found


def work(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Decode in a process of the pool: labels and body in, pieces of annotations out."""
    labels, body = parts
    piece: list[msgspec.Raw] = []
    size = 0
    for annotation in annotations_from_wire(body, Schema(_labels.decode(labels))):
        spelled = _encode(annotation)
        if piece and size + len(spelled) > PIECE_BYTES:
            yield _encode(piece)
            piece, size = [], 0
        piece.append(msgspec.Raw(spelled))
        size += len(spelled)
    yield _encode(piece)
