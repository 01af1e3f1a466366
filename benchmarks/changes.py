"""The unit of every figure: label changes, 20 to an event; adds, moves, relabels, deletes 4:4:1:1.

What is added, moved or deleted exists: the events are those of a job that people work in, and fold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from events.annotations import Shape
from events.job import AnnotationsObserved, Change, JobDiscovered
from events.registry import Fact
from projections.facets import change_between

CHANGES_AN_EVENT = 20
SHARES = ("add", "add", "add", "add", "move", "move", "move", "move", "relabel", "delete")
CLASSES = ("car", "bus", "pedestrian", "cyclist")
FIRST_US = 1_795_342_684_000_000


class Job:
    """One job that is worked in, on one seed."""

    def __init__(self, number: int, *, boxes: int = 100) -> None:
        self.stream = f"job/main/{number}"
        self._random = random.Random(number)
        self._number = number
        self._next = number * 10_000_000
        self._saves = 0
        self._shapes: dict[int, Shape] = {}
        self._boxes = boxes

    def opening(self) -> Iterator[Fact]:
        """Yield what is recorded before anybody works in the job."""
        yield JobDiscovered(task=1, start_frame=0, stop_frame=99)
        shapes = tuple(self._draw() for _ in range(self._boxes))
        yield AnnotationsObserved(updated_date=self._date(), baseline=True, added=shapes)

    def save(self) -> AnnotationsObserved:
        """Return what one save changed: CHANGES_AN_EVENT labels."""
        since = self._date()
        self._saves += 1
        added: list[Shape] = []
        changed: list[Change] = []
        removed: list[Shape] = []
        untouched = self._random.sample(list(self._shapes), CHANGES_AN_EVENT)
        for nth in range(CHANGES_AN_EVENT):
            match SHARES[nth % len(SHARES)]:
                case "add":
                    added.append(self._draw())
                case "delete":
                    removed.append(self._shapes.pop(untouched.pop()))
                case edit:
                    changed.append(self._edit(untouched.pop(), edit))
        return AnnotationsObserved(
            updated_date=self._date(),
            since=since,
            added=tuple(added),
            changed=tuple(changed),
            removed=tuple(removed),
        )

    def _draw(self) -> Shape:
        self._next += 1
        left, top = self._random.uniform(0, 1800), self._random.uniform(0, 1000)
        wide, high = self._random.uniform(8, 120), self._random.uniform(8, 80)
        shape = Shape(
            id=self._next,
            frame=self._random.randrange(100),
            label=self._random.choice(CLASSES),
            type="rectangle",
            points=(left, top, left + wide, top + high),
            attributes={"label_id": f"{self._next:024x}", "occlusion": "partly"},
        )
        self._shapes[shape.id] = shape
        return shape

    def _edit(self, id: int, edit: str) -> Change:
        old = self._shapes[id]
        if edit == "move":
            points = tuple(value + self._random.uniform(-9, 9) for value in old.points)
            new = msgspec.structs.replace(old, points=points)
        else:
            new = msgspec.structs.replace(old, label=old.label[::-1])
        self._shapes[id] = new
        change = change_between(old, new)
        assert change is not None
        return change

    def _date(self) -> str:
        return f"2026-11-22T10:{self._saves // 60 % 60:02}:{self._saves % 60:02}.{self._number:06}Z"


def saves(jobs: int, count: int) -> Iterator[tuple[str, Fact]]:
    """Yield the opening of some jobs, then so many saves, one job after the other."""
    worked = [Job(number) for number in range(1, jobs + 1)]
    for job in worked:
        for fact in job.opening():
            yield job.stream, fact
    for nth in range(count):
        job = worked[nth % jobs]
        yield job.stream, job.save()
