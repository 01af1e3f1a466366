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

    async def begin(self, project: int, jobs: Sequence[int]) -> None:
        """Log in. Ben leads the project; the jobs are Ana's, so both may save all of them."""
        self.jobs = jobs
        for editor in (self.boss, self.ana, self.ben):
            await editor.login(self._users[editor.name])
        ana, ben = [(await one.ask("GET", "/api/users/self"))["id"] for one in (self.ana, self.ben)]
        await self.boss.ask("PATCH", f"/api/projects/{project}", {"assignee_id": ben})
        for job in jobs:
            await self.boss.ask("PATCH", f"/api/jobs/{job}", {"assignee": ana})

    def last(self) -> list[Seen]:
        """Return each job with the date of its last save."""
        both = (self.ana.dates, self.ben.dates)
        return [Seen(job, max(dates[job] for dates in both if job in dates)) for job in self.jobs]

    # Act one: the daemon listens.

    async def edit_side_by_side(self) -> None:
        """Two people save one job in the same second."""
        job = self.jobs[0]
        boxes, _ = await self._open(job)
        moved = self.ana.moved(boxes[0], 12.5, -3.25)
        ticked = self.ana.with_value(job, boxes[1], "parked", "true")
        relabelled = self.ben.relabelled(job, boxes[2], "bus")
        await self.ana.save(job, update=[moved, ticked])
        await self.ben.save(job, update=[relabelled])
        self.moved_box = boxes[0]["id"]
        self.moved_label = self.ana.value_of(job, boxes[0], "label_id")
        self.teller.says(f"ana moves a box in job {job} and says that a car is parked;")
        self.teller.says("  ben gives a box of the same job another class, in the same second")

    async def pause_inside_a_save(self) -> None:
        """Save in three requests, with time to look between them."""
        job = self.jobs[1]
        boxes, _ = await self._open(job)
        self.teller.says(f"ana saves job {job}: moves a box, deletes one, draws one; her editor")
        self.teller.says(f"  sends three requests with {PAUSE_S:g} s between them")
        frame = boxes[-1]["frame"]
        await self.ana.save(
            job,
            update=[self.ana.moved(boxes[0], -7, 4.125)],
            delete=[boxes[1]],
            create=[self.ana.drawn(job, "person", frame, [30.5, 180, 71.75, 260])],
            pause_s=PAUSE_S,
        )

    async def lose_a_webhook(self) -> Seen:
        """Delete a box while the network drops a delivery."""
        job = self.jobs[2]
        boxes, _ = await self._open(job)
        await self.sandbox.deliveries_idle()
        faults = self.sandbox.faults
        faults.lose.add(faults.next_delivery)
        await self.ben.save(job, delete=[boxes[0]])
        self.teller.says(f"ben deletes a box in job {job}; the webhook that would tell is LOST")
        return Seen(job, self.ben.dates[job])

    async def repeat_a_webhook(self) -> None:
        """Copy a box and change the scene; a delivery arrives twice."""
        job = self.jobs[2]
        boxes, scenes = await self._open(job)
        await self.sandbox.deliveries_idle()
        faults = self.sandbox.faults
        faults.repeat.add(faults.next_delivery)
        copied = self.ben.copied(boxes[1], boxes[1]["frame"] + 1)
        rain = self.ben.relabelled(job, scenes[0], "rain")
        night = self.ben.relabelled(job, scenes[1], "night")
        await self.ben.save(job, update=[rain, night], create=[copied])
        self.teller.says("ben copies a box to the next image, its `label_id` comes along, and")
        self.teller.says("  gives two images another scene; a webhook arrives TWICE")

    # Act two: the daemon dies.

    async def begin_a_save(self) -> None:
        """Send the first of the three requests of a save."""
        job = self.jobs[0]
        boxes, _ = await self._open(job)
        update = [self.ana.with_value(job, boxes[3], "plate", "LT-1"), boxes[4]]
        self._half_saved = {"delete": [boxes[5]], "create": [self.ana.copied(boxes[6], 0)]}
        await self.ana.send(job, "update", update)
        self.teller.says(f"ana saves job {job}; the first of three requests is through, and …")

    async def go_on(self) -> None:
        """Save what is left of the save, and more, while nobody listens."""
        first, _, third = self.jobs
        for action, items in self._half_saved.items():
            await self.ana.send(first, action, items)
            await asyncio.sleep(PAUSE_S / 2)
        self.teller.says(f"ana's editor sends the rest: a box of job {first} is gone, one is new")
        boxes, _ = await self._open(third)
        await self.ben.save(third, update=[self.ben.moved(boxes[-1], 3, 3)], delete=[boxes[2]])
        self.teller.says(f"ben moves a box in job {third} and deletes another")

    async def renumber(self) -> None:
        """Give all annotations of a job new ids, and go on with one of them."""
        job = self.jobs[1]
        await self.ben.renumber(job)
        self.teller.says(f"ben's script writes job {job} back without ids: all get new ones")
        boxes, _ = await self._open(job)
        await self.ana.save(job, update=[self.ana.moved(boxes[2], 0, -9.0625)])
        self.teller.says("ana moves a box that has a new id")

    async def _open(self, job: int) -> tuple[list[Json], list[Json]]:
        """Open a job in both editors; return its boxes and its scenes."""
        await self.ben.open(job)
        found = await self.ana.open(job)
        return found["shapes"], found["tags"]
