"""A long steady day: so many saves a second over so many jobs, webhooks on, until it is over."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.soak.annotators import PEOPLE, Work, shown, work_on
from tests.soak.processes import Taken, run, sandbox, serving, watch
from tests.soak.reckoning import (
    HANDLES_GROWTH_MAX,
    LAG_GROWTH_MAX,
    LAG_P99_S_MAX,
    LAG_SLACK_S,
    RSS_GROWTH_MAX,
    Log,
    judged,
    lag_of,
    needs_of,
)

Json = dict[str, Any]

LOOK_EVERY_S: Final = 1.0
# After the last save all is recorded within this.
DRAIN_S: Final = 60.0


@dataclass(frozen=True)
class Plan:
    """How much happens. warm_up_s: saves before anything is measured."""

    seconds: float
    saves_per_s: float = 100.0
    jobs: int = 500
    warm_up_s: float = 0.0
    seed: int = 1


async def play(folder: Path, plan: Plan) -> Json:
    """Play in an empty folder; return what was counted and measured."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(sandbox())
        sessions = [
            await stack.enter_async_context(aiohttp.ClientSession(url)) for _ in (*PEOPLE, "boss")
        ]
        boss, *people = sessions
        work = await work_on(boss, people, jobs=plan.jobs)
        before = {(job, box["id"]) for job, boxes in work.boxes.items() for box in boxes}
        log = Log()
        path = folder / "data" / "log.db"
        seen: list[Taken] = []
        async with serving(folder, url) as pid:
            await run(folder / "labeltrail.toml", "hook", "install", str(work.project))
            await _until(log, path, lambda: log.told.keys() >= before)
            rng = random.Random(plan.seed)
            await work.save_for(plan.warm_up_s, per_s=plan.saves_per_s, rng=rng)
            warmed_up = len(work.saves)
            seconds = await _measured(work, plan, pid, seen, rng)
            at_end = await shown(boss, work)
            drained_s = await _until(log, path, lambda: log.shown() == at_end)
        log.read_on(path)
    counts, lags = judged(work.saves[warmed_up:], log)
    return {
        **counts,
        "planned_per_s": plan.saves_per_s,
        "saves_per_s": round(counts["saves"] / seconds, 1),
        "server_equal": log.shown() == at_end,
        "gaps": log.gaps,
        "observations": dict(log.authors),
        "learned": log.learned,
        "deliveries": log.deliveries,
        "drained_s": round(drained_s, 1),
        "lag": lag_of(lags),
        "needs": needs_of(seen),
        "said": (folder / "serve.log").read_text().splitlines()[:20],
    }


def flaws(found: Json, *, flat: bool) -> list[str]:
    """Return which claims do not hold. flat: also those that take a while to show."""
    lag, needs = found["lag"], found["needs"]
    claims = {
        "no save is lost": found["lost"] == 0,
        "the log shows what the server shows": found["server_equal"],
        "each observation begins where the one before ended": found["gaps"] == 0,
        "the load was as heavy as planned": found["saves_per_s"] > found["planned_per_s"] * 0.95,
        "the lag is bounded": lag["last_p99_s"] <= LAG_P99_S_MAX,
        "the service's log has no complaint": found["said"] == [],
    }
    if flat:
        lag_max_s = lag["first_p50_s"] * LAG_GROWTH_MAX + LAG_SLACK_S
        rss_max_mib = needs["rss_first_mib"] * RSS_GROWTH_MAX
        claims |= {
            "the lag does not grow": lag["last_p50_s"] <= lag_max_s,
            "memory is flat": needs["rss_last_mib"] <= rss_max_mib,
            "handles are flat": needs["handles_last"]
            <= needs["handles_first"] + HANDLES_GROWTH_MAX,
        }
    return [claim for claim, holds in claims.items() if not holds]


async def _measured(
    work: Work, plan: Plan, pid: int, seen: list[Taken], rng: random.Random
) -> float:
    """Save and look at the daemon; return how many seconds it took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    watching = asyncio.create_task(watch(pid, LOOK_EVERY_S, seen))
    try:
        await work.save_for(plan.seconds, per_s=plan.saves_per_s, rng=rng)
        return loop.time() - began_s
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _until(log: Log, path: Path, met: Any) -> float:
    """Read the log until something is met, DRAIN_S at most; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < DRAIN_S:
        await asyncio.to_thread(log.read_on, path)
        if met():
            break
        await asyncio.sleep(0.5)
    return loop.time() - began_s
