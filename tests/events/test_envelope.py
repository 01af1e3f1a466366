"""The leaf covers every field of a row, each in one way only."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from events.envelope import leaf_hash

ROW: dict[str, Any] = {
    "position": 7,
    "stream": "job/main/318",
    "version": 3,
    "id": bytes(range(16)),
    "type": "AnnotationsObserved",
    "schema": 1,
    "recorded_at": 1_790_000_000_000_000,
    "occurred_at": 1_789_999_999_000_000,
    "actor": "main/17",
    "evidence": "webhook",
    "correlation": bytes(16),
    "causation": None,
    "codec": "json",
    "payload": b"{}",
}
# The bytes as docs/log-format.md describes them, put together by hand.
HEAD = (
    "00 0000000000000007 0000000000000003 0000000000000001 00065bfeda25e000 01 00065bfeda169dc0"
    " 0000000c 00000010 00000013 00000007 00000007 00000010 ffffffff 00000004 0000000000000002"
)


def test_the_leaf_is_the_hash_that_the_documentation_describes() -> None:
    """Somebody must be able to write a second verifier from the page alone."""
    texts = b"job/main/318" + bytes(range(16)) + b"AnnotationsObserved" + b"main/17" + b"webhook"
    entry = bytes.fromhex(HEAD) + texts + bytes(16) + b"json" + b"{}"

    assert leaf_hash(**ROW) == hashlib.sha256(entry).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"position": 8},
        {"stream": "job/main/319"},
        {"version": 4},
        {"id": bytes(16)},
        {"type": "AnnotationsObserveD"},
        {"schema": 2},
        {"recorded_at": 1},
        {"occurred_at": None},
        {"occurred_at": 0},
        {"actor": None},
        {"actor": ""},
        {"evidence": "unknown"},
        {"correlation": None},
        {"causation": bytes(16)},
        {"correlation": None, "causation": bytes(16)},
        {"codec": "json+zlib"},
        {"payload": b"{} "},
        # The same bytes in a row, cut at other places.
        {"codec": "jso", "payload": b"n{}"},
        {"type": "AnnotationsObservedm", "actor": "ain/17"},
        {"actor": "main/17w", "evidence": "ebhook"},
    ],
    ids=repr,
)
def test_no_other_row_has_the_same_leaf(change: dict[str, Any]) -> None:
    """A field that is not under the leaf could be edited without a trace."""
    assert leaf_hash(**ROW | change) != leaf_hash(**ROW)


def test_nothing_and_the_empty_text_are_not_the_same() -> None:
    """Nobody known, and somebody without a name, are two statements."""
    assert leaf_hash(**ROW | {"actor": None}) != leaf_hash(**ROW | {"actor": ""})
    assert leaf_hash(**ROW | {"occurred_at": None}) != leaf_hash(**ROW | {"occurred_at": 0})
