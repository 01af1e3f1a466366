"""What became of each save, as the log tells it; and whether the daemon's needs stayed flat."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from daemon.app import know_all_events
from daemon.store.reader import SqliteReader
from events.annotations import Shape
from events.job import AnnotationsObserved
from projections.attribution import date_us
from tests.soak.annotators import SAVED_FROM_PX, Save
from tests.soak.processes import Taken

Json = dict[str, Any]
Box = tuple[int, int]

# The last third of the time against the first one.
RSS_GROWTH_MAX: Final = 1.10
HANDLES_GROWTH_MAX: Final = 8
LAG_GROWTH_MAX: Final = 1.5
LAG_SLACK_S: Final = 2.0
# From the answer to a save until its event is on disk; a job that is saved without a pause is
# read after ten seconds.
LAG_P99_S_MAX: Final = 30.0
# Two clocks of one machine, and dates that are cut to microseconds.
CLOCKS_S: Final = 0.005


class Told(NamedTuple):
    """One value of a box in the log, with the observation's window (seconds since 1970 UTC)."""

    x_px: float
    since_s: float
    until_s: float
    recorded_s: float


@dataclass
class Log:
    """What the log tells of boxes.

    told     box → its values, in order
    gaps     observations that do not begin where the one before ended
    authors  evidence → observations with it
    learned  how many of them were given an author later
    """

    position: int = 0
    told: defaultdict[Box, list[Told]] = field(default_factory=lambda: defaultdict(list))
    gaps: int = 0
    authors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    deliveries: int = 0
    learned: int = 0
    _dates: dict[int, str] = field(default_factory=dict)

    def read_on(self, path: Path) -> None:
        """Read what was appended since the last time."""
        know_all_events()
        reader = SqliteReader(path)
        for row in reader.read(after=self.position):
            self.position = row.position
            self.deliveries += row.type == "DeliveryReceived"
            self.learned += row.type == "ActorLearned"
            if row.type == "AnnotationsObserved":
                fact = reader.fact(row)
                assert isinstance(fact, AnnotationsObserved)
                self.authors["baseline" if fact.baseline else row.evidence] += 1
                self._observed(int(row.stream.rpartition("/")[2]), fact, row.recorded_at / 1e6)
        reader.close()

    def _observed(self, job: int, fact: AnnotationsObserved, recorded_s: float) -> None:
        known = self._dates.get(job)
        self.gaps += known is not None and known not in (fact.since, fact.updated_date)
        self._dates[job] = fact.updated_date
        window = (_seconds(fact.since), _seconds(fact.updated_date), recorded_s)
        for shape in fact.added:
            assert isinstance(shape, Shape)
            self.told[job, shape.id].append(Told(shape.points[0], *window))
        for change in fact.changed:
            self.told[job, change.id].append(Told(change.new["geometry"][0], *window))

    def shown(self) -> dict[Box, float]:
        """Return the last value of each box."""
        return {box: values[-1].x_px for box, values in self.told.items()}


def judged(saves: Iterable[Save], log: Log) -> tuple[Json, list[tuple[float, float]]]:
    """Count what became of saves; return also (answered, lag) of each, in seconds.

    recorded  an event has its value
    covered   a later save of the same box has, and the event's window begins before this save
    lost      neither
    """
    count = {"saves": 0, "recorded": 0, "covered": 0, "lost": 0}
    lags = []
    of_box: defaultdict[Box, list[Save]] = defaultdict(list)
    for save in saves:
        of_box[save.job, save.shape].append(save)
    for box, mine in of_box.items():
        values = [value for value in log.told[box] if value.x_px >= SAVED_FROM_PX]
        places = [value.x_px for value in values]
        for save in mine:
            count["saves"] += 1
            place = bisect_left(places, save.x_px)
            fate = _fate(save, values[place]) if place < len(values) else "lost"
            count[fate] += 1
            if fate != "lost":
                # Also where another save stands for it: until then nobody could see it.
                lags.append((save.answered_s, values[place].recorded_s - save.answered_s))
    return count, sorted(lags)


def _fate(save: Save, value: Told) -> str:
    """Tell what became of a save whose box shows a value, its own or the next that is told."""
    if value.until_s < save.asked_s - CLOCKS_S:
        return "lost"
    if value.x_px == save.x_px:
        return "recorded"
    return "covered" if value.since_s <= save.answered_s + CLOCKS_S else "lost"


def lag_of(lags: Sequence[tuple[float, float]]) -> Json:
    """Return how long it took, in the first third of the time and in the last."""
    first, last = _thirds([lag for _, lag in lags])
    return {
        "first_p50_s": round(statistics.median(first), 2),
        "last_p50_s": round(statistics.median(last), 2),
        "last_p99_s": round(statistics.quantiles(last, n=100)[98], 2),
        "max_s": round(max(lag for _, lag in lags), 2),
    }


def needs_of(seen: Sequence[Taken]) -> Json:
    """Return what the daemon took, in the first third of the time and in the last."""
    rss_first, rss_last = _thirds([one.rss_bytes for one in seen])
    handles_first, handles_last = _thirds([one.handles for one in seen])
    return {
        "rss_first_mib": round(statistics.median(rss_first) / 2**20, 1),
        "rss_last_mib": round(statistics.median(rss_last) / 2**20, 1),
        "rss_mib": [round(one.rss_bytes / 2**20) for one in seen[:: max(1, len(seen) // 30)]],
        "handles_first": statistics.median(handles_first),
        "handles_last": statistics.median(handles_last),
    }


def _thirds(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    third = len(values) // 3
    return values[:third], values[-third:]


def _seconds(date: str | None) -> float:
    return date_us(date) / 1e6 if date else 0.0
