"""A short day of chaos; the long one is `make chaos`."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from tests.chaos.__main__ import holds
from tests.chaos.reckoning import completed
from tests.chaos.story import Plan, play
from tests.chaos.weather import KINDS, LATE, LOST, OVERTAKEN, REPEATED, Weather

SAVES = 200
KILLS = 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_on_a_day_of_faults_and_kills(tmp_path: Path) -> None:
    """The network, the server and the process fail at once, which no other test does."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")

    found = asyncio.run(play(tmp_path, Plan(saves=SAVES, kills=KILLS, seed=seed)))

    print(json.dumps(found))
    assert holds(found), found
    assert found["saves"] >= SAVES
    assert found["kills"] >= KILLS
    assert found["edits_recorded"] == found["edits_made"] > SAVES
    assert {"lost", "repeated", "delayed", "reordered"} <= found["faults_of_deliveries"].keys()


def test_the_weather_is_as_bad_as_it_is_said_to_be() -> None:
    """A day on which nothing fails would prove nothing."""
    weather = Weather(rng=random.Random(1), rages=True)

    weather.forecast(1, 10_000)
    faults = [weather.of_request("GET", "/api/jobs") for _ in range(10_000)]

    parts = [weather.lose, weather.repeat, weather.delay_s, weather.hold_back]
    shares = [LOST, REPEATED, LATE, OVERTAKEN]
    assert sum(shares) == pytest.approx(0.3)
    for part, share in zip(parts, shares, strict=True):
        assert len(part) == pytest.approx(share * 10_000, rel=0.2)
    assert {fault.kind for fault in faults if fault} == set(KINDS)
    assert weather.counts["requests: latency"] > 50
    assert 400 < len(list(filter(None, faults))) + weather.counts["requests: latency"] < 600


def test_a_save_that_was_made_and_answered_500_is_judged_too(tmp_path: Path) -> None:
    """The journal notes the error, so without a completion the judge would miss the edit."""
    empty, one, two = (
        {"tags": [], "shapes": [{"id": n} for n in range(many)]} for many in (0, 1, 2)
    )
    write = {"method": "PATCH", "path": "/api/jobs/7/annotations"}
    lines = [
        {**write, "status": 500, "committed": True, "response": None, "before": {"7": empty}},
        {**write, "status": 500, "committed": False, "response": None},
        {**write, "status": 200, "committed": True, "response": two, "before": {"7": one}},
        {**write, "status": 503, "committed": True, "response": None, "before": {"7": two}},
    ]
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))

    completed(journal, tmp_path / "completed.jsonl", {7: one})

    told = [json.loads(line) for line in (tmp_path / "completed.jsonl").read_text().splitlines()]
    assert [line["status"] for line in told] == [200, 500, 200, 200]
    assert [line["response"] for line in told] == [one, None, two, one]
