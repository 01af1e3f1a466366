"""Ana and Ben, and what they do in CVAT: the script of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from daemon.demo.editor import Editor
from daemon.demo.following import Seen
from daemon.demo.telling import Teller
from daemon.sandbox import Sandbox

Json = dict[str, Any]

PAUSE_S: Final = 1.0


class Annotators:
    """Two people, and the administrator who lets them in.

    users  name → password: the administrator's, Ana's, Ben's
    """

    def __init__(self, sandbox: Sandbox, users: dict[str, str], teller: Teller) -> None:
        self.sandbox = sandbox
        self.teller = teller
        self.jobs: Sequence[int] = ()
        self.moved_box = 0
        self.moved_label = ""
        self._users = users
        self._stack = AsyncExitStack()
        self._half_saved: Json = {}

    async def __aenter__(self) -> Annotators:
        editors = [Editor(self.sandbox.url, name, self._note_classes) for name in self._users]
        self.boss, self.ana, self.ben = editors
        for editor in editors:
            await self._stack.enter_async_context(editor)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _note_classes(self, job: int, labels: list[Json]) -> None:
        # The journal holds what is written. Without names nobody could count from it alone.
        self.sandbox.journal.write({"job": job, "labels": labels})

    async def begin(self) -> None:
        """Log in. Ben leads the project; the jobs are Ana's, so both may save all of them."""
        for editor in (self.boss, self.ana, self.ben):
            await editor.login(self._users[editor.name])
        jobs = (await self.boss.ask("GET", "/api/jobs?sort=id"))["results"]
        self.jobs = [job["id"] for job in jobs]
        ana, ben = [(await one.ask("GET", "/api/users/self"))["id"] for one in (self.ana, self.ben)]
        project = jobs[0]["project_id"]
        await self.boss.ask("PATCH", f"/api/projects/{project}", {"assignee_id": ben})
        for job in self.jobs:
            await self.boss.ask("PATCH", f"/api/jobs/{job}", {"assignee": ana})

    def last(self) -> list[Seen]:
        """Return each job with the date of its last save."""
        both = (self.ana.dates, self.ben.dates)
        return [Seen(job, max(dates[job] for dates in both if job in dates)) for job in self.jobs]

    # Act one: the daemon listens.

    async def save_in_three_requests(self) -> Seen:
        """Save as the web editor does, with time to look between the requests."""
        job = self.jobs[1]
        boxes, _ = await self._open(job)
        self.moved_box = boxes[0]["id"]
        self.moved_label = self.ana.value_of(job, boxes[0], "label_id")
        self.teller.says(f"ana moves box {self.moved_box} of job {job}, deletes one, draws one;")
        self.teller.says(f"    her editor saves in three requests with {PAUSE_S:g} s between them")
        person = self.ana.drawn(job, "person", boxes[-1]["frame"], [30.5, 180, 71.75, 260])
        await self.ana.save(
            job,
            update=[self.ana.moved(boxes[0], -7, 4.125)],
            delete=[boxes[1]],
            create=[person],
            pause_s=PAUSE_S,
        )
        return Seen(job, self.ana.dates[job])

    async def save_side_by_side(self) -> Seen:
        """Two people save one job in the same second."""
        job = self.jobs[0]
        boxes, _ = await self._open(job)
        moved = self.ana.moved(boxes[0], 12.5, -3.25)
        parked = self.ana.with_value(job, boxes[1], "parked", "true")
        await self.ana.save(job, update=[moved, parked])
        await self.ben.save(job, update=[self.ben.relabelled(job, boxes[2], "bus")])
        self.teller.says(f"ana moves a box of job {job} and says that a car is parked;")
        self.teller.says("    ben gives a box of the same job another class, in the same second")
        return Seen(job, self.ben.dates[job])

    async def lose_a_webhook(self) -> Seen:
        """Delete a box; the network drops the delivery that would tell."""
        job = self.jobs[2]
        boxes, _ = await self._open(job)
        await self.sandbox.deliveries_idle()
        self.sandbox.faults.lose.add(self.sandbox.faults.next_delivery)
        await self.ben.save(job, delete=[boxes[0]])
        self.teller.says(f"ben deletes a box of job {job}; the webhook that would tell is LOST")
        return Seen(job, self.ben.dates[job])

    async def repeat_a_webhook(self) -> Seen:
        """Copy a box and change scenes; a delivery arrives twice."""
        job = self.jobs[2]
        boxes, scenes = await self._open(job)
        await self.sandbox.deliveries_idle()
        self.sandbox.faults.repeat.add(self.sandbox.faults.next_delivery)
        rain = self.ben.relabelled(job, scenes[0], "rain")
        night = self.ben.relabelled(job, scenes[1], "night")
        copied = self.ben.copied(boxes[1], boxes[1]["frame"] + 1)
        await self.ben.save(job, update=[rain, night], create=[copied])
        self.teller.says(
            "ben copies a box to the next image, its `label_id` comes along, and gives"
        )
        self.teller.says("    two images another scene; a webhook arrives TWICE")
        return Seen(job, self.ben.dates[job])

    # Act two: the daemon dies.

    async def begin_a_save(self) -> None:
        """Send the first of the three requests of a save."""
        job = self.jobs[0]
        boxes, _ = await self._open(job)
        self._half_saved = {"delete": [boxes[5]], "create": [self.ana.copied(boxes[6], 0)]}
        await self.ana.send(job, "update", [self.ana.with_value(job, boxes[3], "plate", "LT-1")])
        self.teller.says(f"ana saves job {job}; the first of three requests is through, and …")

    async def go_on(self) -> None:
        """Send the rest of that save, and more, while nobody listens."""
        first, _, third = self.jobs
        for action, items in self._half_saved.items():
            await self.ana.send(first, action, items)
            await asyncio.sleep(PAUSE_S / 2)
        self.teller.says(f"ana's editor sends the rest: a box of job {first} is gone, one is new")
        boxes, _ = await self._open(third)
        await self.ben.save(third, update=[self.ben.moved(boxes[-1], 3, 3)], delete=[boxes[2]])
        self.teller.says(f"ben moves a box of job {third} and deletes another")

    async def renumber(self) -> Seen:
        """Give all annotations of a job new ids."""
        job = self.jobs[1]
        await self.ben.renumber(job)
        self.teller.says(
            f"ben's script writes job {job} back without ids: CVAT renumbers all of it"
        )
        return Seen(job, self.ben.dates[job])

    async def go_on_after_that(self) -> None:
        """Edit a renumbered job."""
        job = self.jobs[1]
        boxes, _ = await self._open(job)
        await self.ana.save(job, update=[self.ana.moved(boxes[2], 0, -9.0625)])
        self.teller.says("ana moves a box that has a new id")

    async def _open(self, job: int) -> tuple[list[Json], list[Json]]:
        """Open a job in both editors; return its boxes and its scenes."""
        await self.ben.open(job)
        found = await self.ana.open(job)
        return found["shapes"], found["tags"]
