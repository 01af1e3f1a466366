"""Comparing two states finds every difference, and no other."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from projections.compare import Difference, Dumped, compare, dump
from projections.fold import Fold
from projections.tables import MemoryTables, Table


class Cell(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    value: Any


CELLS = Table("cells", ("key",), Cell)
FOLD = Fold(name="cells", revision=1, tables=(CELLS,), handlers={})

contents = st.dictionaries(st.integers(0, 9), st.integers(0, 2))


def tables_of(content: dict[int, Any]) -> MemoryTables:
    """Return tables with these rows."""
    tables = MemoryTables()
    for key, value in content.items():
        tables.put(CELLS, Cell(key, value))
    return tables


def spelled(key: int, content: dict[int, int]) -> bytes | None:
    """Return the canonical bytes of a row, None where there is none."""
    return f'{{"key":{key},"value":{content[key]}}}'.encode() if key in content else None


@given(contents, contents)
def test_every_difference_is_found_in_key_order(
    left: dict[int, int], right: dict[int, int]
) -> None:
    """`replay` says "the same state" on the strength of this."""
    expected = [
        Difference(table="cells", key=(key,), left=spelled(key, left), right=spelled(key, right))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]

    assert list(compare(tables_of(left), tables_of(right), FOLD)) == expected


def test_values_are_compared_in_canonical_form() -> None:
    """NaN differs from itself, and dicts have an order, but neither is a change of state."""
    left = tables_of({1: math.nan, 2: {"a": 1, "b": 2}, 3: 1})
    right = tables_of({1: math.nan, 2: {"b": 2, "a": 1}, 3: 1.0})

    found = [difference.key for difference in compare(left, right, FOLD)]

    assert found == [(3,)]


def test_a_dump_has_every_row_in_order() -> None:
    """Two dumps can be hashed, or compared by any tool."""
    found = list(dump(tables_of({2: None, 1: "x"}), FOLD))

    assert found == [
        Dumped("cells", (1,), b'{"key":1,"value":"x"}'),
        Dumped("cells", (2,), b'{"key":2,"value":null}'),
    ]
