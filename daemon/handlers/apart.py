"""Decisions about large jobs, made by a process of the pool that reads the tables itself.

What it decided comes back as the bytes that will be stored; the facts are decoded here only for
those who ask what was decided.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from daemon.pool import INLINE_BYTES_MAX, Pool
from daemon.ports.projections import ProjectionsFailed, ProjectionsStuck, TablesFile
from daemon.projector.opened import opened
from events import registry
from events.envelope import Evidence
from events.registry import Encoded
from projections.codec.cvat import UnknownLabel, UnreadableAnnotations
from projections.decision import Decision, Draft
from projections.folds import FOLDS
from projections.questions import AnyQuestion
from projections.tables import Tables

_RAISES: Final = (UnknownLabel, UnreadableAnnotations, ProjectionsFailed, ProjectionsStuck)


class Spelled(NamedTuple):
    """A draft as it comes from the other process."""

    stream: str
    type: str
    schema: int
    actor: str | None
    evidence: Evidence
    occurred_at: int | None
    payload: bytes

    @property
    def encoded(self) -> Encoded:
        """The bytes that are stored."""
        return Encoded(self.type, self.schema, self.payload)


_encode = msgspec.msgpack.Encoder().encode
_expects = msgspec.msgpack.Decoder(dict[str, int])
_spelled = msgspec.msgpack.Decoder(Spelled)
_tables = msgspec.msgpack.Decoder(tuple[str, int])
_question = msgspec.msgpack.Decoder(AnyQuestion)


async def decided(question: AnyQuestion, tables: TablesFile, pool: Pool) -> Decision:
    """Ask in a process of the pool.

    Raises WorkFailed, ProjectionsFailed where the process cannot read the tables, and what the
    question raises.
    """
    asked = msgspec.structs.replace(question, body=b"")
    parts = (named(tables), _encode(asked), question.body)
    spelled, expects = received(await pool.run(work, *parts, raises=_RAISES))
    return Decision([await _draft(one) for one in spelled], expects)


def name_of(path: Path) -> bytes:
    """Return a path as a part of work: the process does not start in our folder."""
    return os.fsencode(path.absolute())


def named(tables: TablesFile) -> bytes:
    """Return tables as a part of work."""
    return _encode((str(tables.path.absolute()), tables.position))


@contextmanager
def opened_as(part: bytes) -> Iterator[Tables]:
    """Yield the tables that a part of work names, in the process that does the work."""
    path, position = _tables.decode(part)
    with opened(TablesFile(Path(path), position), FOLDS) as view:
        yield view


def received(pieces: Sequence[bytes]) -> tuple[list[Spelled], dict[str, int]]:
    """Undo `sent`; return the drafts, and the versions that they were decided on."""
    expects, *drafts = pieces
    return [_spelled.decode(draft) for draft in drafts], _expects.decode(expects)


def sent(decision: Decision) -> Iterator[bytes]:
    """Spell a decision for the process that asked."""
    yield _encode(dict(decision.expects))
    for draft in decision.drafts:
        one = registry.encode(draft.fact)
        who = (draft.actor, draft.evidence, draft.occurred_at)
        yield _encode(Spelled(draft.stream, one.type, one.schema, *who, one.payload))


async def _draft(one: Spelled) -> Draft:
    if len(one.payload) > INLINE_BYTES_MAX:
        fact = await asyncio.to_thread(registry.decode, one.type, one.schema, one.payload)
    else:
        fact = registry.decode(one.type, one.schema, one.payload)
        await asyncio.sleep(0)
    return Draft(one.stream, fact, one.actor, one.evidence, one.occurred_at, one.encoded)


def work(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Decide in a process of the pool: tables, question and its body in, drafts out."""
    tables, asked, body = parts
    question = msgspec.structs.replace(_question.decode(asked), body=body)
    with opened_as(tables) as view:
        decision = question(view)
    yield from sent(decision)
