"""Names of ours stand for classes, and old schemas are brought up to date."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from events import registry
from events.canonical import NotCanonical
from events.registry import Fact, MalformedFact, UnknownEvent, decode, encode, event, upcaster


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

    assert encoded == ("TestJobWeighed", 3, b'{"grams":2.5,"job":7}')
    assert decode(*encoded) == fact


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

    assert decode(*encode(fact)) == fact


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
