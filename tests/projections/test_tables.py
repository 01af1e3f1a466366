"""Tables in memory: a model in ten lines says what they must do."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.folds import FOLDS
from projections.tables import MemoryTables, Table


class Cell(msgspec.Struct, frozen=True):
    """A row with a key of two members."""

    name: str
    number: int
    value: int


CELLS = Table("cells", ("name", "number"), Cell)

names, numbers = st.sampled_from("abc"), st.integers(0, 4)
cells = st.lists(st.builds(Cell, names, numbers, st.integers()))
keys = st.lists(st.tuples(names, numbers))


def filled(rows: list[Cell]) -> MemoryTables:
    """Return tables with these rows."""
    tables = MemoryTables()
    for row in rows:
        tables.put(CELLS, row)
    return tables


@given(cells, keys, names, numbers)
def test_tables_are_dicts_in_key_order(
    rows: list[Cell], gone: list[tuple[str, int]], name: str, number: int
) -> None:
    """Folds and decisions lean on get, put, delete and ordered scans, and on nothing else."""
    tables = filled(rows)
    model = {(row.name, row.number): row for row in rows}

    for key in gone:
        tables.delete(CELLS, *key)
        model.pop(key, None)

    ordered = [model[key] for key in sorted(model)]
    assert list(tables.scan(CELLS)) == ordered
    assert list(tables.scan(CELLS, name)) == [row for row in ordered if row.name == name]
    assert list(tables.scan(CELLS, name, start=(number,))) == [
        row for row in ordered if row.name == name and row.number >= number
    ]
    assert list(tables.scan(CELLS, start=(name, number))) == [
        row for row in ordered if (row.name, row.number) >= (name, number)
    ]
    assert tables.get(CELLS, name, number) == model.get((name, number))


def test_a_dump_shows_equal_state_as_equal_values() -> None:
    """Two ways to the same rows, one with a detour, compare as the same state."""
    detour = filled([Cell("b", 1, 5), Cell("a", 1, 1)])
    detour.put(CELLS, Cell("b", 1, 2))
    detour.put(CELLS, Cell("c", 1, 3))
    detour.delete(CELLS, "c", 1)

    assert detour.dump() == filled([Cell("a", 1, 1), Cell("b", 1, 2)]).dump()


def test_a_table_that_no_fold_declares_is_none() -> None:
    """A fold that forgets to declare one of its tables works in memory, and fails on disk."""
    other = Table("other", ("name", "number"), Cell)
    tables = MemoryTables([CELLS])
    tables.put(CELLS, Cell("a", 1, 2))

    assert tables.get(CELLS, "a", 1) == Cell("a", 1, 2)
    for touch in (
        lambda: tables.get(other, "a", 1),
        lambda: tables.put(other, Cell("a", 1, 2)),
        lambda: tables.delete(other, "a", 1),
        lambda: list(tables.scan(other)),
    ):
        with pytest.raises(AssertionError, match="no fold here declares the table other"):
            touch()


def test_every_fold_stays_within_the_tables_that_it_declares() -> None:
    """Each is rebuilt by itself: what lies in a table of another would be lost."""
    for fold in FOLDS:
        assert len({table.name for table in fold.tables}) == len(fold.tables)
    names = [table.name for fold in FOLDS for table in fold.tables]
    assert len(names) == len(set(names))
