"""One value has one spelling, and the spelling gives the value back."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.canonical import DEPTH_MAX, NotCanonical, canonical, parse

GOLDEN = Path(__file__).parent / "golden" / "canonical.jsonl"

MARKS = ["$blob", "$literal", "$numberDouble", "$numberInteger"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.sampled_from(MARKS), inner, max_size=2)
    ),
    max_leaves=15,
)


def exact(value: Any) -> str:
    """Spell a value so that NaN is NaN, 1 is not 1.0, 0.0 is not -0.0 and keys have an order."""
    if isinstance(value, dict):
        return repr(sorted((key, exact(one)) for key, one in value.items()))
    if isinstance(value, list | tuple):  # a tuple comes back as a list
        return repr([exact(one) for one in value])
    return repr(value)


def shuffled(value: Any) -> Any:
    """Return the same value with all keys in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(one) for key, one in reversed(value.items())}
    return [shuffled(one) for one in value] if isinstance(value, list) else value


@given(VALUES)
def test_every_value_comes_back_exactly(value: Any) -> None:
    """Whatever people typed into attributes; a value bent by the log is a silent edit."""
    assert exact(parse(canonical(value))) == exact(value)


@given(VALUES)
def test_equal_values_have_equal_bytes(value: Any) -> None:
    """Deliveries and observations are compared by their bytes; key order is chance."""
    assert canonical(shuffled(value)) == canonical(value)


@given(VALUES)
def test_the_spelling_of_a_read_value_is_the_one_that_was_read(value: Any) -> None:
    """Reading and writing again must change no byte, else no leaf would fit."""
    spelled = canonical(value)

    assert canonical(parse(spelled)) == spelled


@given(VALUES)
def test_canonical_bytes_are_json(value: Any) -> None:
    """Anybody must be able to read a log in twenty years with any JSON reader."""

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    json.loads(canonical(value), parse_constant=refuse)


@pytest.mark.parametrize("line", GOLDEN.read_text(encoding="utf-8").strip().split("\n"))
def test_the_spelling_never_changes(line: str) -> None:
    """The golden file was written once; another spelling would break every leaf in every log."""
    golden = json.loads(line)

    # The file holds Python expressions, for JSON cannot say what is tested here.
    value = eval(golden["value"], {"nan": math.nan, "inf": math.inf})
    assert canonical(value).decode() == golden["spelled"]
    assert exact(parse(golden["spelled"].encode())) == exact(value)


@dataclasses.dataclass
class Point:
    x: int


class Text(str):
    pass


def deep(levels: int, inside: object = None) -> object:
    value = inside
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udc00": 1},
        {1: "a"},
        {None: "a"},
        {("a",): 1},
        [{1, 2}],
        b"bytes",
        object(),
        Point(1),
        Text("a"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        1j,
        [math.nan, "\ud800"],
        [math.nan, {1: 2}],
        [None, Point(1)],
        10**5_000,
        deep(DEPTH_MAX + 1),
        deep(5_000, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_spelling_is_refused(value: object) -> None:
    """A guess (a date as text, a key 1 as "1") could not be told from the real thing later."""
    with pytest.raises(NotCanonical):
        canonical(value)


def test_depth_up_to_the_limit_is_taken() -> None:
    """The limit must refuse bombs, not labels."""
    assert parse(canonical(deep(DEPTH_MAX))) == deep(DEPTH_MAX)


@pytest.mark.parametrize(
    "spelled",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a":1}{"b":2}',
        b'{"$numberDouble":"1.5"}',
        b'{"$numberDouble":1}',
        b'{"$numberInteger":"7"}',
        b'{"$numberInteger":"0x10000000000000000"}',
        b'{"$numberInteger":"+18446744073709551616"}',
        b'{"$numberInteger":"' + b"9" * 5_000 + b'"}',
        b'{"$blob":"00"}',
        b'{"$literal":1}',
        b'{"$literal":{"a":1}}',
        b'"\xff"',
    ],
)
def test_bytes_that_are_never_written_are_refused(spelled: bytes) -> None:
    """Two spellings of one value would be two leaves for one fact."""
    with pytest.raises(NotCanonical):
        parse(spelled)


def test_a_blob_is_looked_up_by_its_name() -> None:
    """A value that was stored aside appears where it was."""
    aside = {"00ff": [1, 2]}

    assert parse(b'{"mask":{"$blob":"00ff"}}', blob=aside.__getitem__) == {"mask": [1, 2]}


def test_a_value_that_looks_like_a_mark_never_reaches_the_blobs() -> None:
    """An attribute named $blob is what somebody typed, not a name of ours."""

    def never(name: str) -> object:
        raise AssertionError(name)

    assert parse(canonical({"$blob": "00ff"}), blob=never) == {"$blob": "00ff"}
