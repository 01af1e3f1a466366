"""Four annotators who save without end, and whose own requests fail, too."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from daemon.demo.editor import Editor, NotSaved

Json = dict[str, Any]

BOXES_MIN: Final = 3
BOXES_MAX: Final = 9
# How often one person saves a job before turning to another, on average.
STAY: Final = 4
ATTEMPTS_MAX: Final = 100
STEP_PAUSE_S: Final = 0.05
CLASSES: Final = ("car", "bus", "person")
WEATHER: Final = ("sun", "rain", "night")


class Person(Editor):
    """One annotator. What cannot be read is read again; what was not saved is begun anew.

    jobs  job id → its first frame
    """

    def __init__(
        self, url: str, name: str, heard: Callable[[int, list[Json]], None], rng: random.Random
    ) -> None:
        super().__init__(url, name, heard)
        self.rng = rng
        self.jobs: dict[int, int] = {}
        self.counts: Counter[str] = Counter()

    async def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """Do a request; repeat it on trouble where it only reads. Raises NotSaved."""
        for _ in range(ATTEMPTS_MAX):
            try:
                return await super().ask(method, path, body)
            except (NotSaved, aiohttp.ClientError, TimeoutError) as exc:
                if method != "GET":
                    raise NotSaved("not saved", user=self.name, reason=repr(exc)) from exc
        raise NotSaved("the sandbox answers nothing", user=self.name, path=path)

    async def _note_date(self, job: int) -> None:
        """Nobody here follows dates."""

    async def work(self, is_over: Callable[[], bool], pause_s: float) -> None:
        """Save jobs, several times each, until it is over; pauses are random, this long."""
        job = self.rng.choice(list(self.jobs))
        while not is_over():
            if self.rng.random() < 1 / STAY:
                job = self.rng.choice(list(self.jobs))
            try:
                await self.save_something(job)
                self.counts["saves"] += 1
            except NotSaved:
                self.counts["failed"] += 1
            await asyncio.sleep(self.rng.expovariate(1 / pause_s))

    async def save_something(self, job: int) -> None:
        """Open a job, change something, save it. Raises NotSaved where any request failed."""
        found = await self.open(job)
        boxes, scenes = found["shapes"], found["tags"]
        if len(boxes) < BOXES_MIN:
            await self.save(job, create=[self._drawn(job)])
            return
        if len(boxes) > BOXES_MAX:
            await self.save(job, delete=boxes[BOXES_MIN:])
            return
        acts = {self._edit: 60, self._create: 14, self._delete: 10, self._all_three: 12}
        act = self.rng.choices(list(acts), list(acts.values()))[0]
        if self.rng.random() < 0.03:
            await self.renumber(job)
        elif scenes and self.rng.random() < 0.06:
            scene = self.relabelled(job, self.rng.choice(scenes), self.rng.choice(WEATHER))
            await self.save(job, update=[scene])
        else:
            await act(job, boxes)

    async def _edit(self, job: int, boxes: list[Json]) -> None:
        chosen = self.rng.sample(boxes, self.rng.randint(1, 3))
        await self.save(job, update=[self._edited(job, box) for box in chosen])

    async def _create(self, job: int, boxes: list[Json]) -> None:
        box = self.rng.choice(boxes)
        copied = self.copied(self.moved(box, 2, 2), box["frame"])
        await self.save(job, create=[self.rng.choice([self._drawn(job), copied])])

    async def _delete(self, job: int, boxes: list[Json]) -> None:
        await self.save(job, delete=[self.rng.choice(boxes)])

    async def _all_three(self, job: int, boxes: list[Json]) -> None:
        one, other = self.rng.sample(boxes, 2)
        await self.save(
            job,
            update=[self._edited(job, one)],
            delete=[other],
            create=[self._drawn(job)],
            pause_s=STEP_PAUSE_S,
        )

    def _edited(self, job: int, box: Json) -> Json:
        match self.rng.randrange(4):
            case 0:
                return self.with_value(job, box, "parked", self.rng.choice(["true", "false"]))
            case 1:
                return self.with_value(job, box, "plate", f"LT-{self.rng.randrange(1000)}")
            case 2:
                return self.relabelled(job, box, self.rng.choice(CLASSES))
        return self.moved(box, self.rng.uniform(-9, 9), self.rng.uniform(-9, 9))

    def _drawn(self, job: int) -> Json:
        x, y = self.rng.uniform(0, 300), self.rng.uniform(0, 200)
        width, height = self.rng.uniform(10, 90), self.rng.uniform(10, 90)
        points_px = [x, y, x + width, y + height]
        return self.drawn(job, self.rng.choice(CLASSES), self.jobs[job], points_px)
