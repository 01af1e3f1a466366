"""What a decision hands to the shell: facts to append, and the versions they were decided on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from events.envelope import Evidence
from events.registry import Encoded, Fact


class Draft(msgspec.Struct, frozen=True):
    """A fact for a stream; the shell gives it an id and appends it.

    encoded  the fact's bytes where somebody made them already
    """

    stream: str
    fact: Fact
    actor: str | None = None
    evidence: Evidence = "unknown"
    occurred_at: int | None = None
    encoded: Encoded | None = None


@dataclass(frozen=True)
class Decision:
    """Facts to append in one piece, while every stream in `expects` is at that version."""

    drafts: Sequence[Draft] = ()
    expects: Mapping[str, int] = field(default_factory=dict)
