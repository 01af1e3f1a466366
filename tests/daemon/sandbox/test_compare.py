"""The comparison with recordings sees what it is there to see."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conformance.answers import difference_of_answers
from tests.conformance.compare import Known, difference, table_of_path
from tests.conformance.deliveries import heard_deliveries, order
from tests.conformance.recording import Exchange, mp4, read
from tests.conformance.replay import Outcome, Replay
from tests.conformance.schema import SCHEMA

EARLY, LATE = "2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:01Z"
MOVED, STAYED = "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": None}, {"a": 0}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"shapes": [{"x": 1}]}, {"shapes": [{"x": 2}]}),
        ({"shapes": [{"x": 1}, {"x": 1}]}, {"shapes": [{"x": 1}, {"x": 2}]}),
        ({"id": 1, "x": [{"id": 1}]}, {"id": 5, "x": [{"id": 6}]}),
        ({"url": "http://a/api/tasks/1"}, {"url": "http://b/api/jobs/1"}),
        ({"a": EARLY}, {"a": "yesterday"}),
        ({"a": EARLY, "b": LATE}, {"a": MOVED, "b": STAYED}),
        ({"a": EARLY, "b": EARLY}, {"a": EARLY, "b": LATE}),
        ({"color": "#ffffff"}, {"color": "white"}),
        # The value of an attribute is no id.
        ({"id": 5, "value": "5"}, {"id": 7, "value": "7"}),
        # Nor may an url name another row than the one it stands beside.
        ({"id": 5, "url": "http://a/api/tasks/5"}, {"id": 7, "url": "http://a/api/tasks/8"}),
        ({"detail": "task 5 of 4"}, {"detail": "task 5 of 3"}),
        ({"started_date": None}, {"started_date": EARLY}),
    ],
)
def test_a_difference_is_found(theirs: Any, ours: Any) -> None:
    """Members, types, values, order where there is one, and dates that (did not) move."""
    assert difference(theirs, ours, Known(), table="task") is not None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"id": 1, "x": [{"id": 1}]}, {"id": 5, "x": [{"id": 5}]}),
        (
            {"shapes": [{"id": 1, "x": 1}, {"id": 2, "x": 2}]},
            {"shapes": [{"id": 8, "x": 2}, {"id": 7, "x": 1}]},
        ),
        ({"id": 1, "url": "http://a/api/tasks/1"}, {"id": 7, "url": "http://b:1/api/tasks/7"}),
        ({"request_duration": 4}, {"request_duration": 0}),
        ({"a": EARLY, "b": LATE}, {"a": LATE, "b": EARLY}),
        ({"color": "#ffffff"}, {"color": "#000000"}),
    ],
)
def test_what_may_differ_may_differ(theirs: Any, ours: Any) -> None:
    """Ids, hosts, dates and colours, as long as one stands for one."""
    assert difference(theirs, ours, Known(), table="task") is None


def test_the_order_of_members_counts_for_deliveries() -> None:
    """The signature is made over them."""
    assert order({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}) is not None
    assert order({"a": 1, "b": 2}, {"a": 1, "b": 2}) is None


TUS = {"tus-resumable": "1.0.0", "upload-offset": "3"}


def exchange(recorded: Any, **members: Any) -> Exchange:
    """A recorded answer to a request for pictures of task 1."""
    told: dict[str, Any] = {
        "seq": 1,
        "method": "GET",
        "path": "/api/tasks/1/data",
        "query": [["type", "chunk"], ["number", "1"], ["quality", "original"]],
        "request_headers": {},
        "request_body": None,
        "status": 200,
        "response_headers": {},
        "response_body": recorded,
    }
    return Exchange(**told | members)


META = exchange(
    {
        "json": {
            "size": 5,
            "chunk_size": 3,
            "stop_frame": 4,
            "frames": [{"name": "clip.mp4", "width": 32, "height": 16}],
        }
    },
    path="/api/tasks/1/data/meta",
)


@pytest.mark.parametrize(
    ("recorded", "status", "headers", "content"),
    [
        (exchange(None), 404, {}, b""),
        (exchange(None), 200, {}, b"something"),
        (exchange({"json": {}}), 200, {"Content-Type": "text/html"}, b"{}"),
        (exchange(None, response_headers=TUS), 200, {"Tus-Resumable": "1.0.0"}, b""),
        (exchange(None, response_headers={"location": "/api/tasks/1"}), 200, {}, b""),
        (exchange(None), 200, {"Location": "/api/tasks/1"}, b""),
        (exchange({"text": "a\n"}), 200, {}, b"b\n"),
        (exchange({"bytes": 9}), 200, {}, mp4(32, 16, 3)),
        (exchange({"bytes": 9}), 200, {}, mp4(64, 16, 2)),
    ],
)
def test_a_different_answer_is_found(
    recorded: Exchange, status: int, headers: dict[str, str], content: bytes
) -> None:
    """Also where the body is no JSON, and where there is none."""
    answer = (status, headers, content)

    found = difference_of_answers(
        recorded, answer, Known(), exchanges=[META, recorded], version="2.15"
    )

    assert found is not None


@pytest.mark.parametrize(
    ("recorded", "headers", "content"),
    [
        (exchange(None, response_headers=TUS), {name.title(): TUS[name] for name in TUS}, b""),
        (exchange({"bytes": 9}), {}, mp4(32, 16, 2)),
    ],
)
def test_an_answer_may_be_written_otherwise(
    recorded: Exchange, headers: dict[str, str], content: bytes
) -> None:
    """Names of headers have no case; bytes of pictures are not compared."""
    found = difference_of_answers(
        recorded, (200, headers, content), Known(), exchanges=[META, recorded], version="2.15"
    )

    assert found is None


@pytest.mark.skipif(not SCHEMA.exists(), reason="the schema is not on this machine")
def test_an_answer_that_breaks_the_schema_is_no_equal() -> None:
    """Though the recorded one broke it in the same way."""
    broken = exchange({"json": {"count": "1"}}, path="/api/tasks", query=[])

    found = difference_of_answers(
        broken, (200, {}, b'{"count":"1"}'), Known(), exchanges=[broken], version="2.15"
    )

    assert found is not None
    assert found.startswith("schema: ")


def test_deliveries_are_compared_in_order_and_retries_by_their_bytes() -> None:
    """A retry that did not come, and a delivery too many, are differences."""
    first, second = ({"event": "ping", "webhook_id": 1, "n": n} for n in (1, 2))
    texts = [json.dumps(each) for each in (first, second, first)]

    def compared(ours: list[str]) -> Outcome:
        replay = SimpleNamespace(
            known=Known({("webhook", 1): 1}), received=[each.encode() for each in ours]
        )
        recorded = [{"body": text} for text in texts]
        return heard_deliveries(cast("Replay", replay), recorded, is_whole=True)

    assert compared(texts).equal == 3
    assert len(compared(texts[:2]).differences) == 1
    assert len(compared([texts[1], texts[0], texts[0]]).differences) == 2
    more = json.dumps(first | {"n": 3})
    assert compared([*texts, more]).differences == ["1 deliveries more than recorded"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the path and the value of each leaf of a document."""
    if isinstance(value, dict | list):
        names = value if isinstance(value, dict) else range(len(value))
        for name in names:
            yield from leaves(value[name], (*path, name))
    else:
        yield path, value


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value at a path."""
    if not path:
        return value
    made = copy.copy(document)
    made[path[0]] = changed(document[path[0]], path[1:], value)
    return made


def another(value: Any) -> Any:
    """Return a value of the same type that is not the same."""
    match value:
        case None:
            return 0
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return str(int(value) + 1) if value.isdigit() else f"{value}x"


@pytest.mark.parametrize(
    ("name", "version"), [("edge-cases", "2.15"), ("sync-daemon-2.73", "2.73")]
)
def test_a_change_of_any_value_of_a_recorded_answer_is_found(name: str, version: str) -> None:
    """Once the ids are known, nothing may differ but how long something took, and secrets."""
    exchanges = read(name, version)
    assert exchanges is not None
    unseen = set()

    for exchange in exchanges:
        table, known = table_of_path(exchange.path), Known()
        difference(exchange.answered, exchange.answered, known, table=table)
        # Every seventh: a recording has thousands, and each costs a whole comparison.
        for path, value in [*leaves(exchange.answered)][exchange.seq % 7 :: 7]:
            ours = changed(exchange.answered, path, another(value))
            if difference(exchange.answered, ours, known.copy(), table=table) is None:
                unseen.add((path[-1], value))

    assert {(name, value) for name, value in unseen if name != "request_duration"} <= {
        ("key", "<redacted>"),
        ("value", "<redacted>"),
    }
