"""What every event store promises. A store's test file only says how to make one.

A subclass gives the fixture `store`; all facts here are of the type `Noted`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from daemon.ports.store import (
    EventRefused,
    EventStore,
    IdReused,
    StoreClosed,
    WrongVersion,
)
from events.canonical import NotCanonical
from events.envelope import NewEvent
from tests.contract.noted import FakeClock, Noted, noted

HOSTILE_VALUES = [
    math.inf,
    -math.inf,
    -0.0,
    2**63,
    2**70,
    -(2**64),
    "",
    "\0",
    "\N{PILE OF POO}" * 5_000,
    {"$blob": "00"},
    {"$numberDouble": "NaN"},
    {"$literal": {"$blob": ["x" * 9_000]}},
    {"": None, "$": None},
    [[0.1] * 3_000, [1] * 3_000, ["a"] * 3_000, [None] * 3_000],
    {"mask": "9" * 100_000, "again": "9" * 100_000},
]


class StoreContract:
    """The promises, one a test."""

    async def test_an_event_comes_back_as_it_was_given(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """The envelope is evidence: none of its fields may be lost or mixed up."""
        work, cause = clock.new_id(), clock.new_id()
        given_event = NewEvent(
            id=clock.new_id(),
            stream="job/main/7",
            fact=Noted(value="moved"),
            occurred_at=-5,
            actor="main/3",
            evidence="webhook",
            correlation=work,
            causation=cause,
        )

        await store.append([given_event])
        reader = store.reader()
        [found] = reader.read()

        assert (found.position, found.stream, found.version) == (1, "job/main/7", 1)
        assert (found.id, found.type, found.schema) == (given_event.id, "Noted", 1)
        assert (found.recorded_at, found.occurred_at) == (clock.now, -5)
        assert (found.actor, found.evidence) == ("main/3", "webhook")
        assert (found.correlation, found.causation) == (work, cause)
        assert reader.fact(found) == Noted(value="moved")
        assert reader.event(given_event.id) == found
        reader.close()

    async def test_an_append_is_written_whole_or_not_at_all(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A half-written observation would be a state that never was."""
        with pytest.raises(NotCanonical):
            await store.append([noted(clock), noted(clock, value="\ud800")])

        assert await store.head() == 0

    async def test_a_decision_on_a_stream_that_moved_is_refused(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Two merges must not both be decided on the same state of a run."""
        await store.append([noted(clock, "run/a")], expects={"run/a": 0})

        with pytest.raises(WrongVersion) as refused:
            await store.append([noted(clock, "run/a")], expects={"run/a": 0})

        assert (refused.value.version_expected, refused.value.version_actual) == (0, 1)
        assert refused.value.stream == "run/a"
        assert await store.head() == 1

    async def test_expectations_hold_on_streams_that_are_not_written(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A merge is decided on dataset and job too, and writes only the run."""
        await store.append([noted(clock, "job/7"), noted(clock, "dataset/d")])

        with pytest.raises(WrongVersion) as refused:
            await store.append([noted(clock, "run/a")], expects={"dataset/d": 1, "job/7": 0})

        assert refused.value.stream == "job/7"
        assert await store.version("run/a") == 0

    async def test_one_refusal_does_not_fail_its_neighbours(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Appends of strangers share a transaction; a conflict of one is no matter of the rest."""
        outcomes = await asyncio.gather(
            store.append([noted(clock, "a")]),
            store.append([noted(clock, "b")], expects={"a": 7}),
            store.append([noted(clock, "c")]),
            return_exceptions=True,
        )

        assert [type(one).__name__ for one in outcomes] == ["Appended", "WrongVersion", "Appended"]
        assert await store.head() == 2
        assert await store.version("b") == 0

    async def test_exactly_one_of_many_rivals_wins_each_version(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Optimistic concurrency must hold inside one group commit as well."""
        rivals = [store.append([noted(clock, "run/a")], expects={"run/a": 0}) for _ in range(50)]

        outcomes = await asyncio.gather(*rivals, return_exceptions=True)

        assert sum(not isinstance(one, WrongVersion) for one in outcomes) == 1
        assert await store.version("run/a") == 1

    async def test_the_same_ids_again_give_the_same_positions(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """After a lost answer the sender asks again; the log must not hold the work twice."""
        events = [noted(clock, "a"), noted(clock, "b")]
        first = await store.append(events, expects={"a": 0})
        await store.append([noted(clock, "a")])

        again = await store.append(events, expects={"a": 0})

        assert (again.positions, again.repeated) == (first.positions, True)
        assert await store.head() == 3

    async def test_the_same_ids_at_once_are_written_once(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A retry may overtake the answer and sit in the same group commit."""
        events = [noted(clock, "a")]

        outcomes = await asyncio.gather(*[store.append(events) for _ in range(20)])

        assert {one.positions for one in outcomes} == {(1,)}
        assert sum(not one.repeated for one in outcomes) == 1
        assert await store.head() == 1

    async def test_an_append_that_is_known_in_part_is_refused(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Some ids old and some new is a mistake of the sender, not a repetition."""
        known = noted(clock, "a")
        await store.append([known])

        with pytest.raises(IdReused):
            await store.append([known, noted(clock, "a")])
        with pytest.raises(IdReused):
            await store.append([noted(clock, "elsewhere", id=known.id)])

        assert await store.head() == 1

    async def test_an_older_id_is_taken_when_it_is_new(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Ids are made before they are queued, so they may arrive out of their order."""
        early, late = noted(clock, "a"), noted(clock, "a")

        await store.append([late])
        appended = await store.append([early])

        assert (appended.positions, appended.repeated) == ((2,), False)

    async def test_hundreds_of_writers_leave_no_gap(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A gap would make a follower wait, or skip, for ever."""
        sizes = [1 + index % 3 for index in range(300)]

        outcomes = await asyncio.gather(
            *[
                store.append([noted(clock, f"job/{index % 7}") for _ in range(size)])
                for index, size in enumerate(sizes)
            ]
        )

        assert sorted(p for one in outcomes for p in one.positions) == list(
            range(1, sum(sizes) + 1)
        )
        for one in outcomes:
            assert list(one.positions) == list(range(one.positions[0], one.positions[-1] + 1))
        reader = store.reader()
        versions: dict[str, int] = {}
        for position, event in enumerate(reader.read(), start=1):
            assert event.position == position
            assert event.version == versions.get(event.stream, 0) + 1
            versions[event.stream] = event.version
        assert dict(reader.streams()) == versions
        reader.close()

    async def test_ranges_and_streams_give_just_what_was_asked(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """As-of answers and folds of one stream rest on exact bounds."""
        names = ["job/main/1", "job/main/10", "job/mainly/1", "run/a", "job/main/1", "job/main"]
        await store.append([noted(clock, name) for name in names])
        reader = store.reader()

        def positions(**which: Any) -> list[int]:
            return [event.position for event in reader.read(**which)]

        assert positions() == [1, 2, 3, 4, 5, 6]
        assert positions(after=2, upto=4) == [3, 4]
        assert positions(after=9) == []
        assert positions(upto=99, limit=2) == [1, 2]
        assert positions(limit=0) == []
        assert positions(stream="job/main/1") == [1, 5]
        assert positions(stream="job/main/1", after=1, limit=1) == [5]
        assert positions(stream="never") == []
        assert positions(prefix="job/main/") == [1, 2, 5]
        assert positions(prefix="job/main/", after=1, upto=4) == [2]
        assert positions(prefix="job/", limit=3) == [1, 2, 3]
        assert positions(prefix="") == [1, 2, 3, 4, 5, 6]
        assert positions(stream="run/a", prefix="job/") == []
        assert list(reader.streams("job/main/")) == [("job/main/1", 2), ("job/main/10", 1)]
        reader.close()

    async def test_a_reading_ends_at_the_head_it_began_with(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A fold over a growing log must end, and at a position it can name."""
        await store.append([noted(clock) for _ in range(3)])
        reader = store.reader()
        reading = reader.read()
        next(reading)

        await store.append([noted(clock)])

        assert [event.position for event in reading] == [2, 3]
        assert reader.head() == 4
        reader.close()

    async def test_a_follower_is_woken_by_what_was_appended(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Projections follow the log by this; a lost wake-up would stop them quietly."""
        waiting = [asyncio.ensure_future(store.wait_beyond(0)) for _ in range(3)]
        further = asyncio.ensure_future(store.wait_beyond(1))
        await store.append([noted(clock)])

        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await store.wait_beyond(0) == 1
        assert not further.done()

        await store.append([noted(clock), noted(clock)])

        assert await further == 3

    async def test_a_cancelled_follower_leaves_the_others_waiting(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """A page that was closed must not take the projector with it."""
        gone, stays = (asyncio.ensure_future(store.wait_beyond(0)) for _ in range(2))
        await asyncio.sleep(0)

        gone.cancel()
        await store.append([noted(clock)])

        assert await stays == 1
        assert gone.cancelled()

    async def test_recorded_time_never_goes_back(self, store: EventStore, clock: FakeClock) -> None:
        """A time is turned into one position by halving: that needs an order."""
        clock.now = 1_000
        await store.append([noted(clock)])
        clock.now = 400
        await store.append([noted(clock)])
        clock.now = 2_000
        await store.append([noted(clock)])

        reader = store.reader()
        assert [event.recorded_at for event in reader.read()] == [1_000, 1_000, 2_000]
        reader.close()
        times = [0, 999, 1_000, 1_999, 2_000, 2**60]
        assert [await store.position_at(time) for time in times] == [0, 0, 2, 2, 3, 3]

    async def test_an_empty_log_answers(self, store: EventStore) -> None:
        """The first start of a daemon asks all of this before anything was written."""
        reader = store.reader()

        assert (await store.head(), await store.version("a"), reader.head()) == (0, 0, 0)
        assert await store.position_at(2**60) == 0
        assert list(reader.read()) == []
        assert list(reader.streams()) == []
        assert reader.event(b"\0" * 16) is None
        reader.close()

    @pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: repr(value)[:30])
    async def test_hostile_values_come_back_exactly(
        self, store: EventStore, clock: FakeClock, value: Any
    ) -> None:
        """A value that the log bends is a label that somebody changed."""
        await store.append([noted(clock, value=value)])

        reader = store.reader()
        [event] = reader.read()
        fact = reader.fact(event)
        assert isinstance(fact, Noted)
        assert exact(fact.value) == exact(value)
        reader.close()

    async def test_nan_is_not_null(self, store: EventStore, clock: FakeClock) -> None:
        """The JSON encoder turns NaN into null without a word; the log must not."""
        await store.append([noted(clock, value=[math.nan, None])])

        reader = store.reader()
        [event] = reader.read()
        assert repr(reader.fact(event)) == "Noted(value=[nan, None])"
        reader.close()

    async def test_a_large_value_is_stored_once(self, store: EventStore, clock: FakeClock) -> None:
        """Ten events about one mask must not hold ten masks."""
        mask = "".join(chr(33 + index * 7919 % 90) for index in range(50_000))

        await store.append([noted(clock, value={"mask": mask, "n": n}) for n in range(10)])
        await store.append([noted(clock, value=mask)])

        reader = store.reader()
        found = list(reader.read())
        assert sum(len(event.payload) for event in found) < 2_000
        assert [reader.fact(event) for event in found] == [
            *(Noted(value={"mask": mask, "n": n}) for n in range(10)),
            Noted(value=mask),
        ]
        reader.close()

    async def test_long_payloads_are_compressed(self, store: EventStore, clock: FakeClock) -> None:
        """The log grows with the work; JSON of many small shapes packs well."""
        shapes = [{"frame": n, "label": "car", "points": [n, n, n + 1, n + 1]} for n in range(500)]

        await store.append([noted(clock, value=shapes)])

        reader = store.reader()
        [event] = reader.read()
        assert event.codec == "json+zlib"
        assert len(event.payload) < 10_000
        assert reader.fact(event) == Noted(value=shapes)
        reader.close()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"id": b"short"},
            {"id": "text, sixteen ch"},
            {"stream": ""},
            {"stream": "a" * 513},
            {"stream": "a\0b"},
            {"stream": "\udfff"},
            {"actor": ""},
            {"actor": "\ud800"},
            {"evidence": "hearsay"},
            {"correlation": b"x"},
            {"causation": b""},
            {"occurred_at": 2**63},
        ],
        ids=repr,
    )
    async def test_a_broken_envelope_is_refused(
        self, store: EventStore, clock: FakeClock, wrong: dict[str, Any]
    ) -> None:
        """Ids and names come from outside; what is in the log cannot be repaired."""
        with pytest.raises(EventRefused):
            await store.append([noted(clock, **wrong)])

        assert await store.head() == 0

    async def test_an_append_of_nothing_or_of_twins_is_refused(
        self, store: EventStore, clock: FakeClock
    ) -> None:
        """Both are a mistake of the caller; writing nothing must not look like success."""
        twin = noted(clock)

        with pytest.raises(EventRefused):
            await store.append([])
        with pytest.raises(EventRefused):
            await store.append([twin, twin])

        assert await store.head() == 0

    async def test_a_closed_store_refuses(self, store: EventStore, clock: FakeClock) -> None:
        """What comes after the last sync would be lost; it must not look written."""
        following = asyncio.ensure_future(store.wait_beyond(0))
        await asyncio.sleep(0)
        await store.close()
        await store.close()

        with pytest.raises(StoreClosed):
            await store.append([noted(clock)])
        with pytest.raises(StoreClosed):
            await following


def exact(value: Any) -> str:
    """Spell a value so that NaN is NaN, 1 is not 1.0, 0.0 is not -0.0 and keys have an order."""
    if isinstance(value, dict):
        return repr(sorted((key, exact(one)) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return repr([exact(one) for one in value])
    return repr(value)
