"""Decisions about large jobs, made by a process of the pool that reads the tables itself.

What it decided comes back as the bytes that will be stored; the facts are decoded here only for
those who ask what was decided.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from daemon.pool import Pool
from daemon.ports.projections import ProjectionsFailed
from daemon.projector.opened import opened
from events import registry
from events.envelope import Evidence
from events.registry import Encoded
from projections.codec.cvat import UnknownLabel, UnreadableAnnotations
from projections.decision import Decision, Draft
from projections.folds import FOLDS
from projections.questions import AnyQuestion

# The loop itself never decodes more than this in one go.
INLINE_BYTES_MAX: Final = 256 * 1024

_RAISES: Final = (UnknownLabel, UnreadableAnnotations, ProjectionsFailed)


class _Spelled(NamedTuple):
    """A draft as it comes from the other process."""

    stream: str
    type: str
    schema: int
    actor: str | None
    evidence: Evidence
    occurred_at: int | None
    payload: bytes


_encode = msgspec.msgpack.Encoder().encode
_expects = msgspec.msgpack.Decoder(dict[str, int])
_spelled = msgspec.msgpack.Decoder(_Spelled)
_question = msgspec.msgpack.Decoder(AnyQuestion)


async def decided(question: AnyQuestion, tables: Path, pool: Pool) -> Decision:
    """Ask in a process of the pool.

    tables  the file of the projections, brought to the log's head

    Raises WorkFailed, ProjectionsFailed where the process cannot read the tables, and what the
    question raises.
    """
    asked = msgspec.structs.replace(question, body=b"")
    parts = (_name(tables), _encode(asked), question.body)
    expects, *pieces = await pool.run(work, *parts, raises=_RAISES)
    return Decision([await _draft(piece) for piece in pieces], _expects.decode(expects))


def _name(path: Path) -> bytes:
    # The process does not start in our folder.
    return os.fsencode(path.absolute())


async def _draft(piece: bytes) -> Draft:
    one = _spelled.decode(piece)
    if len(one.payload) > INLINE_BYTES_MAX:
        fact = await asyncio.to_thread(registry.decode, one.type, one.schema, one.payload)
    else:
        fact = registry.decode(one.type, one.schema, one.payload)
        await asyncio.sleep(0)
    encoded = Encoded(one.type, one.schema, one.payload)
    return Draft(one.stream, fact, one.actor, one.evidence, one.occurred_at, encoded)


def work(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Decide in a process of the pool: tables, question and its body in, drafts out."""
    tables, asked, body = parts
    question = msgspec.structs.replace(_question.decode(asked), body=body)
    with opened(Path(os.fsdecode(tables)), FOLDS) as view:
        decision = question(view)
    yield _encode(dict(decision.expects))
    yield from _spell(decision.drafts)


def _spell(drafts: Iterable[Draft]) -> Iterator[bytes]:
    for draft in drafts:
        type, schema, payload = registry.encode(draft.fact)
        who = (draft.actor, draft.evidence, draft.occurred_at)
        yield _encode(_Spelled(draft.stream, type, schema, *who, payload))
