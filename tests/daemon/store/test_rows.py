"""Events as they come out of the table."""

from __future__ import annotations

import msgspec

from daemon.store.rows import recorded_from
from events.envelope import Evidence


class Line(msgspec.Struct, omit_defaults=True):
    """A row of a projection that carries the evidence of its event."""

    evidence: Evidence = "unknown"


def test_a_row_is_spelled_alike_from_an_event_just_made_and_from_one_read_back() -> None:
    """Else a replay after a restart differs from the live state in bytes, and nothing else."""
    read_back = b"unknown".decode()
    row = (1, 1, 1, bytes(16), 1, 1, 0, None, None, read_back, None, None, "json", b"{}", bytes(32))

    event = recorded_from(row, "job/main/1", "JobSettled")

    assert msgspec.json.encode(Line(event.evidence)) == msgspec.json.encode(Line())
