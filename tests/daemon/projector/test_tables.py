"""Tables in SQLite behave like tables in memory, whatever is written to them and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.projector import tables as tables_module
from daemon.projector.file import is_damage, open_temporary
from daemon.projector.rows import DamagedRow, RowText
from daemon.projector.tables import SqliteTables, create
from events.canonical import canonical
from projections.fold import Fold
from projections.tables import MemoryTables, Table, Tables, plain


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row with all that may come: keys of both types, and values of any."""

    dataset: str
    frame: int
    kind: Literal["box", "mask"] = "box"
    value: Any = None
    note: str | None = None


LABELS = Table("labels", ("dataset", "frame", "kind"), Label)
FOLD = Fold(name="labels", revision=1, tables=(LABELS,), handlers={})


def sqlite_tables() -> SqliteTables:
    """Return empty tables in a database of their own."""
    conn = open_temporary()
    create(conn, LABELS, "labels")
    return SqliteTables(conn, {"labels": "labels"}, [FOLD])


@pytest.fixture(params=[MemoryTables, sqlite_tables], ids=["memory", "sqlite"])
def tables(request: pytest.FixtureRequest) -> Tables:
    tables: Tables = request.param()
    return tables


datasets = st.sampled_from(["", "a", "a\x00", "b", "é", "\U0001f600", "￿"])
frames = st.integers(-2, 2) | st.just(2**40)
kinds = st.sampled_from(["box", "mask"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text("a$n\x00é"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("$ab"), inner, max_size=2),
    max_leaves=4,
)
labels = st.builds(Label, dataset=datasets, frame=frames, kind=kinds, value=values)
steps = st.lists(
    st.tuples(st.just("put"), labels)
    | st.tuples(st.just("delete"), st.tuples(datasets, frames, kinds))
    | st.tuples(st.just("get"), st.tuples(datasets, frames, kinds))
    | st.tuples(st.just("scan"), st.tuples(datasets), st.tuples(frames) | st.just(()))
    | st.tuples(st.just("scan"), st.just(()), st.tuples(datasets, frames) | st.just(()))
    | st.tuples(st.just("put among"), labels)
    | st.tuples(st.just("get among"), st.tuples(datasets, frames), kinds)
    | st.tuples(st.just("take"), st.tuples(datasets, frames), kinds)
    | st.tuples(st.sampled_from(["flush", "forget known"])),
    max_size=30,
)


def do(tables: Tables, step: tuple[Any, ...]) -> Any:
    """Take one step, and return what it showed."""
    match step:
        case "put", row:
            tables.put(LABELS, row)
        case "put among", row:
            tables.rows(LABELS, row.dataset, row.frame)[row.kind] = row
        case "get among", prefix, kind:
            return tables.rows(LABELS, *prefix)[kind]
        case "take", prefix, kind:
            return tables.rows(LABELS, *prefix).take(kind)
        case "delete", key:
            tables.delete(LABELS, *key)
        case "get", key:
            return tables.get(LABELS, *key)
        case "scan", prefix, start:
            return list(tables.scan(LABELS, *prefix, start=start))
        case (name,) if isinstance(tables, SqliteTables):
            tables.flush()
            if name != "flush":
                tables.forget()
    return None


@settings(deadline=None)  # The first example imports what makes tables.
@given(steps)
@example([("put", Label(dataset="", frame=0, kind="box", value={"$": -(2**63) - 1}))])
@example([("put", Label(dataset="", frame=0, kind="box", value={"$": {"b": None, "a": None}}))])
@example([("put", Label(dataset="", frame=0, value={"$literal": {"$blob": {"b": None, "a": 1}}}))])
def test_the_same_steps_show_the_same_rows(taken: list[tuple[Any, ...]]) -> None:
    """Promise 1 hangs on it: a fold cannot tell where its tables are kept."""
    kept, remembered = sqlite_tables(), MemoryTables()

    for step in [*taken, ("flush",), ("scan", (), ()), ("forget known",), ("scan", (), ())]:
        # repr, since NaN is not equal to itself; a float and an integer are told apart too.
        assert repr(do(kept, step)) == repr(do(remembered, step))


def row(frame: int, value: Any = None) -> Label:
    return Label(dataset="d", frame=frame, value=value)


def test_a_scan_shows_what_was_changed_since_it_began_but_nothing_new(tables: Tables) -> None:
    """A fold may write while it reads; it must then do the same in memory and on disk."""
    for frame in range(4):
        tables.put(LABELS, row(frame))
    scan = tables.scan(LABELS, "d")
    seen = [next(scan)]

    tables.delete(LABELS, "d", 1, "box")
    tables.put(LABELS, row(2, "changed"))
    tables.put(LABELS, row(9, "new"))
    nested = list(tables.scan(LABELS, "d", start=(2,)))
    seen += scan

    assert seen == [row(0), row(2, "changed"), row(3)]
    assert nested == [row(2, "changed"), row(3), row(9, "new")]


@pytest.mark.parametrize("count", [9, 10, 111, 2_345])
def test_many_rows_are_written_and_deleted_by_few_statements(count: int) -> None:
    """Between two statements a thread that folds keeps the interpreter for milliseconds."""
    tables = sqlite_tables()
    rows = [Label(dataset="a", frame=frame, value=str(frame)) for frame in range(count)]

    for row in rows:
        tables.put(LABELS, row)
    put = tables.spell()
    tables.flush()
    for row in rows[1:]:
        tables.delete(LABELS, *LABELS.key_of(row))
    deleted = tables.spell()
    tables.flush()
    tables.forget()

    assert list(tables.scan(LABELS)) == rows[:1]
    for statements in (put, deleted):
        assert sum(len(values) for _, values in statements) <= count // 1_000 + 27


def test_the_first_row_of_a_scan_costs_one_row() -> None:
    """A fold that looks for the next of a million jobs must not read them all."""
    tables = sqlite_tables()
    for frame in range(1_000):
        tables.put(LABELS, row(frame))
    tables.flush()
    tables.forget()
    decoded = 0

    def counting(rows: Iterator[Label]) -> Iterator[Label]:
        nonlocal decoded
        for one in rows:
            decoded += 1
            yield one

    first = next(counting(tables.scan(LABELS)))

    assert (first, decoded) == (row(0), 1)


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, 2**70, [2**70, 1.0, True, None], {"$blob": [2**70]}, b"x"]
)
def test_awkward_values_come_back_as_they_were(value: object) -> None:
    """JSON has no NaN, and FiftyOne's exports do; a null in its place would be a changed label."""
    text = RowText(Label)

    back = text.read(text.write(row(1, value)))

    assert repr(back.value) == repr("eA==" if value == b"x" else value)


class Spelled(msgspec.Struct, frozen=True):
    """A row that holds values as the log spells them."""

    id: int
    held: msgspec.Raw
    edits: tuple[tuple[int, msgspec.Raw], ...] = ()


@pytest.mark.parametrize(
    "value", [math.nan, None, "null", {"$numberDouble": "NaN"}, ["\n", 2**70], {"é": [1.0, 2]}]
)
def test_what_a_row_holds_spelled_stays_as_it_is(value: object) -> None:
    """The log's own bytes go into the tables and out again; nobody reads them on the way."""
    held = msgspec.Raw(canonical(value))
    text = RowText(Spelled)

    written = text.write_all([Spelled(1, held, ((2, held),)), Spelled(3, held)])

    assert [text.read(line) for line in written] == [
        Spelled(1, held, ((2, held),)),
        Spelled(3, held),
    ]
    assert repr(plain(text.read(written[1]))) == repr({"id": 3, "held": value, "edits": ()})


def test_text_that_is_no_row_counts_as_damage() -> None:
    """A flipped byte in the file must lead to a rebuild, not to an error for the user."""
    with pytest.raises(DamagedRow) as raised:
        RowText(Label).read('{"dataset": 7}')

    assert is_damage(raised.value)


def test_rows_that_somebody_asks_for_stay_known_and_those_of_a_history_do_not() -> None:
    """Each that must be read again costs more than folding the event that asks for it."""
    asked, history = sqlite_tables(), sqlite_tables()
    for tables in (asked, history):
        for n in range(10):
            tables.put(LABELS, row(n))
    assert asked.get(LABELS, "d", 0, "box") == row(0)

    for tables in (asked, history):
        tables.flush()

    assert [len(tables._stored["labels"]._met) for tables in (asked, history)] == [10, 0]


def test_tables_that_are_up_to_the_log_keep_little_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daemon that follows for months must not grow; what is put is there all the same."""
    monkeypatch.setattr(tables_module, "FOLLOWING_BYTES_MAX", 10_000)
    tables = sqlite_tables()
    rows = [Label(dataset="d", frame=n, value="x" * 100) for n in range(200)]
    assert tables.get(LABELS, "d", 0, "box") is None

    for row in rows[:10]:
        tables.put(LABELS, row)
    tables.flush()
    tables.trim()
    few = len(tables._stored["labels"]._met)
    for row in rows:
        tables.put(LABELS, row)
    tables.flush()
    tables.trim()

    assert (few, len(tables._stored["labels"]._met)) == (10, 0)
    assert [tables.get(LABELS, "d", row.frame, "box") for row in rows] == rows
