"""Large values are lifted out, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.blobs import BLOB_BYTES_MIN, blob_name, lift
from events.canonical import canonical, parse

SALT = b"salt of this log"


def back(payload: bytes, blobs: dict[bytes, bytes]) -> Any:
    return parse(payload, blob=lambda name: orjson.loads(blobs[bytes.fromhex(name)]))


@pytest.mark.parametrize(
    ("value", "lifted"),
    [
        ("x" * BLOB_BYTES_MIN, 1),
        ("é" * (BLOB_BYTES_MIN // 2), 1),
        ('"' * (BLOB_BYTES_MIN // 2), 1),
        ("x" * (BLOB_BYTES_MIN - 3), 0),
        ([1] * BLOB_BYTES_MIN, 1),
        ([0.123456789012345] * 300, 1),
        ([1] * 1_000, 0),
        (["a"] * BLOB_BYTES_MIN, 0),
        ([True] * BLOB_BYTES_MIN, 0),
        ([[1] * BLOB_BYTES_MIN, ["x" * BLOB_BYTES_MIN]], 2),
        ({"a": "x" * 9_000, "b": {"c": "x" * 9_000}}, 1),
        ({str(n): n for n in range(2_000)}, 0),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_large_texts_and_lists_of_numbers_are_lifted(value: Any, lifted: int) -> None:
    """A mask is one value, whatever event carries it; many small shapes are not one value."""
    payload, blobs = lift(canonical(value), SALT)

    assert len(blobs) == lifted
    assert back(payload, blobs) == value
    assert all(blob_name(spelled, SALT) == name for name, spelled in blobs.items())
    if lifted:
        assert len(payload) < 400


@given(st.lists(st.text() | st.floats(allow_nan=True) | st.integers(), max_size=5))
def test_small_payloads_stay_as_they_are(values: list[Any]) -> None:
    """Lifting is for the few large values; it may not rewrite the many small ones."""
    payload = canonical(values)

    assert lift(payload, SALT) == (payload, {})


@pytest.mark.parametrize("text", ["x", "é", '"', "\\", '\\"', "\n"])
@given(place=st.integers(0, BLOB_BYTES_MIN), over=st.sampled_from([0, 1]))
def test_the_shortest_large_text_is_found_wherever_it_stands(
    text: str, place: int, over: int
) -> None:
    """The quick look that spares decoding goes by steps; no value may slip between two of them."""
    each = len(orjson.dumps(text)) - 2
    large = text * ((BLOB_BYTES_MIN - 2) // each) + "x" * ((BLOB_BYTES_MIN - 2) % each + over)
    before = ["x" * (place % 100), *[""] * (place // 3), '"']

    _, blobs = lift(canonical([*before, large, "after"]), SALT)

    assert list(blobs.values()) == [orjson.dumps(large)][:over]


@given(place=st.integers(0, BLOB_BYTES_MIN), over=st.sampled_from([0, 1]))
def test_the_shortest_large_list_is_found_wherever_it_stands(place: int, over: int) -> None:
    """As for texts: a list of numbers is spelled without any quotation mark."""
    large = [*[1] * (BLOB_BYTES_MIN // 2 - 2), 10 + 90 * over]
    before = ["x" * (place % 100), *[""] * (place // 3)]

    _, blobs = lift(canonical([*before, large, "after"]), SALT)

    assert list(blobs.values()) == [orjson.dumps(large)][:over]


def test_what_holds_nothing_large_is_not_even_decoded() -> None:
    """A scan appends 256 KiB at a time: decoding that kept the event loop waiting for 16 ms."""
    no_json = b'{"small": "value"} and ' * 50_000

    assert lift(no_json, SALT) == (no_json, {})


def test_what_remains_is_canonical() -> None:
    """The stored payload must have one spelling too."""
    payload, blobs = lift(canonical({"z": "x" * 9_000, "a": [float("nan")], "$blob": 1}), SALT)

    assert canonical(back(payload, blobs)) == canonical(
        {"z": "x" * 9_000, "a": [float("nan")], "$blob": 1}
    )
    assert payload.startswith(b'{"$blob":1,"a":[{"$numberDouble":"NaN"}],"z":{"$blob":"')


def test_another_log_has_another_name_for_the_same_value() -> None:
    """From a name nobody can tell whether a guessed text is in a log."""
    assert blob_name(b'"a text"', SALT) != blob_name(b'"a text"', b"another salt")
