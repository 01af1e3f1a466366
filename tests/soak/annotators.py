"""Many jobs on a CVAT server, and people who save them at a steady rate."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp

from benchmarks.server import call, document, jobs_of, login, new_task

Json = dict[str, Any]

PEOPLE: Final = (("annotator1", "pw1"), ("annotator2", "pw2"))
BOXES: Final = 20
# Further right than any box is drawn, so that values of saves only grow.
SAVED_FROM_PX: Final = 1_000
# So many saves are on their way at one time; a server that is slower than that falls behind.
AT_ONCE_MAX: Final = 32


class Save(NamedTuple):
    """One save of one box, in seconds since 1970 UTC: asked for, and answered.

    shape  the id of the box
    x_px   where its left side went; no other save of the box says the same
    """

    job: int
    shape: int
    x_px: float
    asked_s: float
    answered_s: float


@dataclass
class Work:
    """The jobs of one project.

    boxes  job → its boxes as they were saved last
    saves  all that were answered, in that order
    """

    project: int
    boxes: dict[int, list[Json]]
    people: list[aiohttp.ClientSession]
    saves: list[Save] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def save_for(self, seconds: float, *, per_s: float, rng: random.Random) -> None:
        """Save so many boxes a second, each in a job that nobody else saves at the moment."""
        began_s = asyncio.get_running_loop().time()
        free = list(self.boxes)
        rng.shuffle(free)
        room = asyncio.Semaphore(AT_ONCE_MAX)
        async with asyncio.TaskGroup() as saving:
            for nth in range(int(seconds * per_s)):
                due_s = began_s + nth / per_s
                await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
                await room.acquire()
                place = rng.randrange(len(free))
                free[place], free[-1] = free[-1], free[place]
                saving.create_task(self._save_next(free.pop(), free, room, rng))

    async def _save_next(
        self, job: int, free: list[int], room: asyncio.Semaphore, rng: random.Random
    ) -> None:
        try:
            await self._save(job, rng.choice(self.boxes[job]))
        finally:
            free.append(job)
            room.release()

    async def _save(self, job: int, box: Json) -> None:
        left, top, right, bottom = box["points"]
        x_px = SAVED_FROM_PX + next(self.numbers) / 1_000
        box["points"] = [x_px, top, x_px + right - left, bottom]
        asked_s = time.time()
        path = f"/api/jobs/{job}/annotations?action=update"
        await call(self.people[job % len(self.people)], "PATCH", path, document([box]))
        self.saves.append(Save(job, box["id"], x_px, asked_s, time.time()))


async def work_on(
    boss: aiohttp.ClientSession, people: list[aiohttp.ClientSession], *, jobs: int
) -> Work:
    """Make a project with one task of so many jobs, each with BOXES boxes and one of the people."""
    await login(boss, "admin", "admin")
    for session, (name, password) in zip(people, PEOPLE, strict=True):
        await login(session, name, password)
    project, task = await new_task(boss, images=jobs, segment_size=1)
    found = await jobs_of(boss, task, jobs)
    label = (await call(boss, "GET", f"/api/labels?project_id={project}"))["results"][0]["id"]
    ids = [(await call(one, "GET", "/api/users/self"))["id"] for one in people]
    boxes = {}
    for job in found:
        assignee = {"assignee": ids[job["id"] % len(ids)]}
        await call(boss, "PATCH", f"/api/jobs/{job['id']}", assignee)
        drawn = document([_box(label, nth, job["start_frame"]) for nth in range(BOXES)])
        path = f"/api/jobs/{job['id']}/annotations?action=create"
        boxes[job["id"]] = (await call(boss, "PATCH", path, drawn))["shapes"]
    return Work(project, boxes, people)


async def shown(boss: aiohttp.ClientSession, work: Work) -> dict[tuple[int, int], float]:
    """Return where the server shows the left side of each box: (job, shape) → px."""
    found = {}
    for job in work.boxes:
        annotations = await call(boss, "GET", f"/api/jobs/{job}/annotations")
        found |= {(job, box["id"]): box["points"][0] for box in annotations["shapes"]}
    return found


def _box(label: int, nth: int, frame: int) -> Json:
    left, top = nth % 5 * 50.0, nth // 5 * 50.0
    points = [left, top, left + 40.0, top + 40.0]
    return {
        "type": "rectangle",
        "frame": frame,
        "label_id": label,
        "points": points,
        "attributes": [],
    }
