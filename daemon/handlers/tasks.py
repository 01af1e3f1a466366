"""Look at tasks for what their jobs do not show: names, projects, deleted frames, the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.handlers.aside import set_aside
from daemon.handlers.carry_out import Journal
from daemon.handlers.dates import date_in, earlier, latest
from daemon.ports.cvat import (
    Aside,
    CvatApi,
    Forbidden,
    NotFound,
    ServerTrouble,
    UnreadableAnswer,
)
from projections import tasks
from projections.jobs import JobRow

# Tasks whose frames are asked for in one round; the next round goes on with the next ones.
METAS_MAX: Final = 20
# One look in so many is at all tasks, the others at what has another date than before.
WHOLE_EVERY: Final = 60
# A date is set before the commit: a long transaction shows up late with an early date.
OVERLAP_S: Final = 600


@dataclass
class TaskWatch:
    """Watches the tasks of one server's recorded jobs."""

    cvat: CvatApi
    journal: Journal
    _turn: int = field(default=0, init=False)
    _looks: int = field(default=0, init=False)
    _cursor: str = field(default="", init=False)

    @property
    def server(self) -> str:
        """The server's name in the settings and in the log."""
        return self.cvat.name

    async def look(self) -> None:
        """Compare the tasks that changed lately, and the deleted frames of some; raises CvatError.

        Now and then all tasks in sight are compared, and those that are missing looked for.
        """
        watched = await self.journal.projections.ask(
            lambda tables: tasks.watched_tasks(tables, self.server)
        )
        if not watched:
            return
        is_whole = self._looks % WHOLE_EVERY == 0
        since = None if is_whole else earlier(self._cursor, OVERLAP_S)
        aside: Aside = []
        seen = {row["id"]: row async for row in self.cvat.tasks(since=since, aside=aside)}
        news = await set_aside(self.journal, self.server, "tasks", aside, seen, whole=since is None)
        for task in watched.keys() & seen.keys():
            await self._members(task, seen[task])
        unseen = watched.keys() - seen.keys() if is_whole else watched.keys() & set(news)
        for task in sorted(unseen):
            await self._absent(task)
        dates = [date_in(row, "updated_date") for row in seen.values()]
        self._cursor = latest([self._cursor, *dates], self.journal.clock.now_us())
        self._looks += 1
        await self._frames_of_some(watched)

    async def _members(self, task: int, row: Mapping[str, Any]) -> None:
        await self.journal.carry_out(
            lambda tables: tasks.observe_task(tables, self.server, task, row)
        )

    async def _absent(self, task: int) -> None:
        """A task that no list shows is deleted only on 404 by its own URL, while we are known."""
        try:
            await self._members(task, await self.cvat.task(task))
        except (Forbidden, UnreadableAnswer):
            return
        except NotFound:
            await self.cvat.self_user()
            await self.journal.carry_out(
                lambda tables: tasks.observe_end(tables, self.server, task)
            )

    async def _frames_of_some(self, watched: Mapping[int, Sequence[JobRow]]) -> None:
        still_open = sorted(task for task, rows in watched.items() if tasks.is_open(rows))
        for task in self._next(still_open):
            await self.look_at_frames(task, watched[task])

    def _next(self, numbers: Sequence[int]) -> Sequence[int]:
        """Return the tasks whose turn it is."""
        first = self._turn if self._turn < len(numbers) else 0
        self._turn = first + METAS_MAX
        return numbers[first : first + METAS_MAX]

    async def look_at_frames(self, task: int, rows: Iterable[JobRow]) -> None:
        """Record which frames of a task are deleted; trouble with one holds up no other."""
        try:
            deleted = await self._deleted(task, rows)
        except (Forbidden, NotFound, ServerTrouble):
            # A task without data answers 500.
            return
        await self.journal.carry_out(
            lambda tables: tasks.observe_frames(tables, self.server, task, deleted)
        )

    async def _deleted(self, task: int, rows: Iterable[JobRow]) -> list[int]:
        try:
            return _frames(await self.cvat.task_meta(task))
        except Forbidden:
            # An assignee may read his job alone. Some servers show him frames of other jobs, too.
            found: list[int] = []
            for row in rows:
                span = range(row.start_frame, row.stop_frame + 1)
                frames = _frames(await self.cvat.job_meta(row.job))
                found += [frame for frame in frames if frame in span]
            return found


def _frames(meta: Mapping[str, Any]) -> list[int]:
    found = meta.get("deleted_frames")
    return [frame for frame in found if isinstance(frame, int)] if isinstance(found, list) else []
