"""No input from outside breaks anything; `make fuzz` tries a million."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import answers, deliveries
from tests.fuzz.first_readers import take
from tests.fuzz.mutate import hostile_json
from tests.fuzz.targets import TARGETS, run, scratch, target

FIXED: dict[str, int] = {"webhooks": 1_000, "answers": 1_000, "manifests": 400, "merges": 1_000}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with scratch() as made:
        yield Path(made)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_from_outside_is_taken_or_refused_in_words(name: str, folder: Path) -> None:
    """A server that is broken, or taken over, must not stop the daemon or spoil its log."""
    counts = asyncio.run(run(name, iter(range(FIXED[name])), 1, folder))

    assert counts.total() == FIXED[name]
    assert len(counts) > 2, f"all inputs ended alike: {counts}"


@pytest.mark.parametrize("name", TARGETS)
def test_so_it_is_for_inputs_that_hypothesis_finds(name: str, folder: Path) -> None:
    """It looks where no seed of ours led, and makes what it finds small."""
    chosen = target(name, folder)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rng=st.randoms(use_true_random=False))
    def taken(rng: random.Random) -> None:
        asyncio.run(chosen.take(rng))

    taken()

    assert chosen.counts.total() >= 200


def test_the_mutations_are_hostile_and_repeat() -> None:
    """Inputs that are all sound, or other ones each time, would show nothing."""
    documents = [*deliveries(), *answers()["/api/jobs/N/annotations"]]

    bodies, again = (
        [
            hostile_json(random.Random(seed), documents[seed % len(documents)])
            for seed in range(2_000)
        ]
        for _ in range(2)
    )

    assert bodies == again
    joined = b"".join(bodies)
    for mark in (b"1e400", b"NaN", b"[[[[[[[[", b"\\ud800", b"-Infinity", b"2026-99-99"):
        assert mark in joined, mark
    assert len(set(bodies)) > 1_500


@pytest.mark.parametrize("which", range(4))
def test_the_first_readers_of_bytes_let_errors_of_ours_pass_alone(which: int) -> None:
    """What the coverage-guided run calls is held here, too, where that cannot be installed."""
    rng = random.Random(which)
    documents = [*deliveries(), *answers()["/api/jobs/N/annotations"]]

    for number in range(500):
        take(bytes([which]) + hostile_json(rng, documents[number % len(documents)]))
