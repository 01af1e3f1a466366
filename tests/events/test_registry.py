"""Names of ours stand for classes, and old schemas are brought up to date."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple

from events import registry
from events.canonical import NotCanonical, canonical, parse
from events.registry import (
    Encoded,
    Fact,
    MalformedFact,
    UnknownEvent,
    decode,
    decode_outline,
    encode,
    event,
    outline_of,
    upcaster,
)


@event("TestJobWeighed", schema=3)
class JobWeighed(Fact, kw_only=True):
    """A fact that was recorded in three ways over time."""

    job: int
    grams: float
    scale: str = "kitchen"


@upcaster("TestJobWeighed", 1)
def _kilograms_to_grams(fields: dict[str, Any]) -> dict[str, Any]:
    return {"job": fields["job"], "grams": fields["kilograms"] * 1000}


@upcaster("TestJobWeighed", 2)
def _name_the_scale(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "scale": "unknown"}


def test_a_fact_comes_back_and_its_defaults_are_not_written() -> None:
    """Defaults cost no bytes in a log of millions; that is why they may never change."""
    fact = JobWeighed(job=7, grams=2.5)

    encoded = encode(fact)

    assert encoded == Encoded("TestJobWeighed", 3, b'{"grams":2.5,"job":7}')
    assert decode(*astuple(encoded)) == fact


def test_encoded_facts_take_no_more_memory_than_their_bytes() -> None:
    """What waits to be written is bounded by its length: 128 MiB must not be 1.5 GiB in truth."""
    facts = [JobWeighed(job=number, grams=0.5, scale="x" * 300) for number in range(1_000)]

    tracemalloc.start()
    encoded = [encode(fact) for fact in facts]
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken_bytes < 2 * sum(len(one.payload) for one in encoded)


@pytest.mark.parametrize(
    ("schema", "payload", "fact"),
    [
        (1, b'{"job":7,"kilograms":2}', JobWeighed(job=7, grams=2000, scale="unknown")),
        (2, b'{"grams":5.5,"job":7}', JobWeighed(job=7, grams=5.5, scale="unknown")),
        (3, b'{"grams":5.5,"job":7}', JobWeighed(job=7, grams=5.5, scale="kitchen")),
    ],
)
def test_each_recorded_schema_is_brought_to_todays(schema: int, payload: bytes, fact: Fact) -> None:
    """What was recorded is never edited; the steps are walked on reading."""
    assert decode("TestJobWeighed", schema, payload) == fact


def test_infinite_numbers_reach_their_fields() -> None:
    """A FiftyOne export holds NaN; typed fields must see it as the number it is."""
    fact = JobWeighed(job=7, grams=float("-inf"))

    assert decode(*astuple(encode(fact))) == fact


@pytest.mark.parametrize(("name", "schema"), [("TestNeverHeardOf", 1), ("TestJobWeighed", 4)])
def test_an_event_from_the_future_is_refused(name: str, schema: int) -> None:
    """An older release must not fold what it cannot read as if it were nothing."""
    with pytest.raises(UnknownEvent):
        decode(name, schema, b"{}")


def test_a_missing_step_is_refused() -> None:
    """A schema number without an upcaster is a release that was built wrong."""
    with pytest.raises(UnknownEvent):
        decode("TestJobWeighed", 0, b"{}")


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        (3, b"{}"),
        (3, b'{"grams":"5","job":7}'),
        (3, b"[]"),
        (3, b"nonsense"),
        (3, b'{"grams":{"$numberDouble":"NaN"},"job":"7"}'),
        (1, b'{"job":7}'),
        (1, b"[]"),
        (1, b'{"job":7,"kilograms":null}'),
    ],
)
def test_fields_that_do_not_fit_are_refused(schema: int, payload: bytes) -> None:
    """Damage must be an error that names the type, not a traceback in a fold."""
    with pytest.raises(MalformedFact):
        decode("TestJobWeighed", schema, payload)


def test_a_class_that_was_never_registered_is_refused() -> None:
    """Its Python path must never get into the log."""

    class Unnamed(Fact):
        pass

    with pytest.raises(UnknownEvent):
        encode(Unnamed())
    with pytest.raises(UnknownEvent):
        registry.name_of(Unnamed)


def test_a_field_that_cannot_be_written_is_refused() -> None:
    """Nothing is guessed at and nothing is dropped."""
    with pytest.raises(NotCanonical):
        encode(JobWeighed(job=7, grams=object()))  # type: ignore[arg-type]


def test_two_types_may_not_share_a_name() -> None:
    """The second would read the events of the first."""
    with pytest.raises(ValueError, match="two event types"):
        event("TestJobWeighed")(JobWeighed)
    with pytest.raises(ValueError, match="two upcasters"):
        upcaster("TestJobWeighed", 1)(_name_the_scale)


def test_names_are_known_both_ways() -> None:
    """Pages and filters speak of events by name."""
    assert "TestJobWeighed" in registry.names()
    assert registry.name_of(JobWeighed) == "TestJobWeighed"
    assert registry.name_of(JobWeighed(job=1, grams=1)) == "TestJobWeighed"


@event("TestBoxesDrawn", schema=2)
class BoxesDrawn(Fact, kw_only=True):
    """A fact that folds need to know little of."""

    job: int
    boxes: list[Any] = []


@upcaster("TestBoxesDrawn", 1)
def _one_box_to_many(fields: dict[str, Any]) -> dict[str, Any]:
    return {"job": fields["job"], "boxes": [fields["box"]]}


@outline_of(BoxesDrawn)
class BoxesOutline(Fact, kw_only=True):
    """`BoxesDrawn` with its boxes left spelled."""

    job: int
    boxes: list[msgspec.Raw] = []


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [{"x": 0.1}, None, "é\\"],
        [{"x": math.inf}, 2**70],
        [{"$blob": "ab"}, '{"$blob":"ab"}', {"$literal": 1}],
    ],
)
def test_an_outline_leaves_spelled_what_reads_back_as_the_fact(boxes: list[Any]) -> None:
    """A fold that reads less of an event must not read something else."""
    fact = BoxesDrawn(job=7, boxes=boxes)

    outline = decode_outline(*astuple(encode(fact)), blob={}.__getitem__)

    assert outline == registry.outlined(fact)
    assert isinstance(outline, BoxesOutline)
    assert (outline.job, registry.kind_of(outline)) == (7, BoxesDrawn)
    assert [parse(bytes(box)) for box in outline.boxes] == boxes


def test_what_was_stored_aside_stands_in_its_place_in_an_outline() -> None:
    """A row that named a blob of the log could not be read without the log."""
    text = '{"$blob":"ab12"}'  # in a text it is no mark
    payload = canonical({"boxes": [[0], text], "job": 7}).replace(b"[0]", b'{"$blob":"ab12"}')

    outline = decode_outline("TestBoxesDrawn", 2, payload, blob={"ab12": [1.5, 2]}.get)

    assert isinstance(outline, BoxesOutline)
    assert [parse(bytes(box)) for box in outline.boxes] == [[1.5, 2], text]


def test_an_outline_of_an_old_schema_is_todays() -> None:
    """Folds know one form of an event, like everybody."""
    outline = decode_outline("TestBoxesDrawn", 1, b'{"box":{"x":1},"job":7}')

    assert outline == BoxesOutline(job=7, boxes=[msgspec.Raw(b'{"x":1}')])


@pytest.mark.parametrize("payload", [b'{"job":"x"}', b'{"job":7,"boxes":{}}', b"{"])
def test_an_outline_that_does_not_fit_is_refused(payload: bytes) -> None:
    """What a fold does need must be there."""
    with pytest.raises(MalformedFact):
        decode_outline("TestBoxesDrawn", 2, payload)


def test_a_type_without_an_outline_is_read_whole() -> None:
    """Most events are small."""
    fact = JobWeighed(job=7, grams=2.5)

    assert decode_outline(*astuple(encode(fact))) == registry.outlined(fact) == fact
