"""Streaming JSON: bounded memory, the numbers' own text, and no trust in what is read."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.manifests import jsonstream
from daemon.manifests.errors import ManifestBroken
from daemon.manifests.jsonstream import document, documents


def read(text: bytes) -> list[dict[str, Any]]:
    return list(documents(io.BytesIO(text), key="samples", file="samples.json"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES), max_size=4), st.integers(1, 40))
def test_every_document_arrives_whatever_the_chunks(found: list[Any], chunk: int) -> None:
    """A text, a number or a letter of several bytes may be cut by the end of a chunk."""
    text = json.dumps({"samples": found}, ensure_ascii=False).encode(errors="surrogatepass")
    finite = "Infinity" not in text.decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "CHUNK_BYTES", chunk)
        again = read(text)

    assert not finite or json.dumps(again) == json.dumps(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", 0.1),
        ("1.50", 1.5),
        ("1e2", 100.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("0.100000000000000005551", {"$number": "0.100000000000000005551"}),
        ("1e400", {"$number": "1e400"}),
        ("-1e-400", {"$number": "-1e-400"}),
        ("1e99999999999999999999", {"$number": "1e99999999999999999999"}),
        ("18446744073709551617", 2**64 + 1),
        ("NaN", {"$numberDouble": "NaN"}),
        ("-Infinity", {"$numberDouble": "-Infinity"}),
    ],
)  # fmt: skip
def test_numbers_keep_their_text_where_a_float_would_change_them(text: str, expected: Any) -> None:
    """What nobody touched must come out of an export as it went in."""
    (found,) = read(b'{"samples": [{"x": ' + text.encode() + b"}]}")

    assert found == {"x": expected}
    assert type(found["x"]) is type(expected)


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        (b"", "too early", 0),
        (b"[]", "instead of", 0),
        (b'{"frames": []}', "does not begin", None),
        (b'{"samples": [{"a": 1}', "too early", 21),
        (b'{"samples": [{"a": 1', "too early", None),
        (b'{"samples": [{"a": 1}]} x', "more after the end", 24),
        (b'{"samples": [{"a": 1},]}', "where a document begins", 22),
        (b'{"samples": [7]}', "where a document begins", 13),
        (b'{"samples": [{"a": tru}]}', "no JSON", 19),
        (b'{"samples": [{"a": "\xff"}]}', "not UTF-8", None),
        (b'{"samples": [{"a": 1' + b"0" * 5_000 + b"}]}", "cannot be read", None),
        (b'{"samples": [{"a": 1.' + b"0" * 5_000 + b"}]}", "cannot be read", None),
        (b'{"samples": [{"a": ' + b"[" * 150 + b"]" * 150 + b"}]}", "nested deeper", 320),
        (b'{"samples": [{"a": ' + b"[" * 100_000, "cannot be read", None),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(
    text: bytes, reason: str, offset: int | None
) -> None:
    """In a file of gigabytes, only an offset helps to find it."""
    with pytest.raises(ManifestBroken, match=reason) as refused:
        read(text)

    assert refused.value.facts["file"] == "samples.json"
    assert offset is None or refused.value.facts["offset"] == offset


def test_a_document_without_end_is_given_up_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One missing quote must not draw gigabytes into memory."""
    monkeypatch.setattr(jsonstream, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(jsonstream, "DOCUMENT_CHARS_MAX", 10_000)
    source = io.BytesIO(b'{"samples": [{"a": "' + b"x" * 1_000_000)

    with pytest.raises(ManifestBroken, match="more than 10000"):
        list(documents(source, key="samples", file="samples.json"))

    assert source.tell() < 50_000


def test_invalid_json_is_found_without_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the file cannot mend it."""
    monkeypatch.setattr(jsonstream, "CHUNK_BYTES", 4_000)
    source = io.BytesIO(b'{"samples": [{"a" 1}' + b" " * 1_000_000)

    with pytest.raises(ManifestBroken, match="no JSON"):
        list(documents(source, key="samples", file="samples.json"))

    assert source.tell() == 4_000


def test_memory_does_not_grow_with_the_file() -> None:
    """Peak memory for 8 and for 80 MB is the same, give or take a window."""

    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"samples": [{}'
        for _ in range(size // 1_000_000):
            yield b"".join((b',{"a": "', b"x" * 9_990, b'"}')) * 100
        yield b"]}"

    def peak(size: int) -> int:
        parts = chunks(size)
        source = SimpleNamespace(read=lambda _: next(parts, b""))
        tracemalloc.start()
        count = sum(1 for _ in documents(cast("Any", source), key="samples", file="x"))
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 1 + size // 1_000_000 * 100
        return top

    small, large = peak(8_000_000), peak(80_000_000)

    assert large < small + 1_000_000


def test_a_single_document_is_whole() -> None:
    """metadata.json and the lines of a manifest.jsonl."""
    assert document(b' {"a": 1} \n', file="x") == {"a": 1}
    with pytest.raises(ManifestBroken, match="more after"):
        document(b'{"a": 1} {"b": 2}', file="x")
