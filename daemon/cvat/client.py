"""Speak to one CVAT server in the words of the `CvatApi` port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from daemon.clock import Clock
from daemon.cvat.answers import Answer
from daemon.cvat.server import ServerConfig
from daemon.cvat.shapes import checked, place_of, sound
from daemon.cvat.uploads import await_task_data, upload
from daemon.cvat.wire import Call, Query, Wire, encode, open_wire
from daemon.ports.cvat import Action, Aside, Row, ServerTrouble, Sorting, WebhookType

Decoded = TypeVar("Decoded")

EVENTS_MAX = 1_000
INLINE_BYTES_MAX: Final = 256 * 1024


async def connect(config: ServerConfig, clock: Clock) -> CvatClient:
    """Prepare a client; nothing is sent before the first call."""
    return CvatClient(await open_wire(config, clock))


class CvatClient:
    """A `CvatApi` over HTTP, for servers from 2.15 on."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def name(self) -> str:
        return self._wire.config.name

    async def about(self) -> Row:
        return await self._row("/api/server/about")

    async def clock_us(self) -> int | None:
        date = (await self._wire.get("/api/server/about")).headers.get("Date", "")
        try:
            return int(parsedate_to_datetime(date).timestamp() * 1e6)
        except ValueError:
            return None

    async def self_user(self) -> Row:
        return await self._row("/api/users/self")

    def users(self, search: str) -> AsyncIterator[Row]:
        return self._pages("/api/users", {"search": search})

    # Jobs.

    async def job(self, job: int) -> Row:
        return await self._row(f"/api/jobs/{job:d}")

    def jobs(
        self,
        *,
        since: str | None = None,
        project: int | None = None,
        task: int | None = None,
        aside: Aside | None = None,
    ) -> AsyncIterator[Row]:
        return self._by_date("/api/jobs", since, aside, project_id=project, task_id=task)

    async def job_annotations(self, job: int) -> bytes:
        bytes_max = self._wire.config.limits.annotation_bytes_max
        answer = await self._wire.get(f"/api/jobs/{job:d}/annotations", bytes_max=bytes_max)
        return answer.body

    async def job_labels(self, job: int) -> Sequence[Row]:
        return await self._all("/api/labels", {"job_id": job})

    async def job_meta(self, job: int) -> Row:
        return await self._row(f"/api/jobs/{job:d}/data/meta")

    async def job_issues(self, job: int, *, aside: Aside | None = None) -> Sequence[Row]:
        return await self._all("/api/issues", {"job_id": job}, aside)

    async def job_comments(self, job: int, *, aside: Aside | None = None) -> Sequence[Row]:
        return await self._all("/api/comments", {"job_id": job}, aside)

    def issues(self, *, aside: Aside | None = None) -> AsyncIterator[Row]:
        # CVAT offers no date to go by here (2.15, 2.73).
        return self._pages("/api/issues", {"sort": "id"}, aside)

    def comments(self, *, aside: Aside | None = None) -> AsyncIterator[Row]:
        return self._pages("/api/comments", {"sort": "id"}, aside)

    async def patch_annotations(self, job: int, action: Action, data: Row | bytes) -> Row:
        return await self._annotate("PATCH", job, data, {"action": action})

    async def put_annotations(self, job: int, data: Row | bytes) -> Row:
        # Twice is as once, but for the ids when none were sent (measured on 2.15 and 2.73).
        return await self._annotate("PUT", job, data, {}, repeatable=True)

    async def _annotate(
        self,
        method: str,
        job: int,
        data: Row | bytes,
        query: Mapping[str, str],
        *,
        repeatable: bool = False,
    ) -> Row:
        call = Call(
            method,
            f"/api/jobs/{job:d}/annotations",
            query,
            encode(data),
            repeatable=repeatable,
            bytes_max=self._wire.config.limits.annotation_bytes_max,
        )
        return await _decoded(await self._wire.send(call), Answer.row)

    async def patch_job(self, job: int, changes: Row) -> Row:
        return await self._change(f"/api/jobs/{job:d}", changes)

    # Tasks.

    async def task(self, task: int) -> Row:
        return await self._row(f"/api/tasks/{task:d}")

    def tasks(
        self,
        *,
        since: str | None = None,
        project: int | None = None,
        subset: str | None = None,
        aside: Aside | None = None,
    ) -> AsyncIterator[Row]:
        return self._by_date("/api/tasks", since, aside, project_id=project, subset=subset)

    async def create_task(self, spec: Row) -> Row:
        return await self._create("/api/tasks", spec)

    async def patch_task(self, task: int, changes: Row) -> Row:
        return await self._change(f"/api/tasks/{task:d}", changes)

    async def delete_task(self, task: int) -> None:
        await self._wire.write("DELETE", f"/api/tasks/{task:d}")

    async def task_labels(self, task: int) -> Sequence[Row]:
        return await self._all("/api/labels", {"task_id": task})

    async def task_meta(self, task: int) -> Row:
        return await self._row(f"/api/tasks/{task:d}/data/meta")

    async def upload_media(
        self,
        task: int,
        files: Sequence[tuple[str, Path]],
        *,
        image_quality: int = 75,
        sorting: Sorting = "predefined",
        use_cache: bool = True,
        options: Row | None = None,
    ) -> str | None:
        fields = {
            "image_quality": image_quality,
            "use_cache": use_cache,
            "use_zip_chunks": True,
            "sorting_method": sorting,
            **(options or {}),
        }
        return await upload(self._wire, task, files, fields)

    async def await_task_data(
        self, task: int, *, size: int | None, timeout_s: float, request: str | None = None
    ) -> Row:
        return await await_task_data(
            self._wire, task, size=size, timeout_s=timeout_s, request=request
        )

    # Projects.

    async def project(self, project: int) -> Row:
        return await self._row(f"/api/projects/{project:d}")

    def projects(self, *, name: str | None = None) -> AsyncIterator[Row]:
        return self._by_date("/api/projects", None, None, name=name)

    async def create_project(self, spec: Row) -> Row:
        return await self._create("/api/projects", spec)

    async def patch_project(self, project: int, changes: Row) -> Row:
        return await self._change(f"/api/projects/{project:d}", changes)

    async def delete_project(self, project: int) -> None:
        await self._wire.write("DELETE", f"/api/projects/{project:d}")

    async def project_labels(self, project: int) -> Sequence[Row]:
        return await self._all("/api/labels", {"project_id": project})

    # Webhooks.

    def webhooks(
        self, *, project: int | None = None, aside: Aside | None = None
    ) -> AsyncIterator[Row]:
        query = {} if project is None else {"project_id": project}
        return self._pages("/api/webhooks", query, aside)

    async def create_webhook(self, spec: Row) -> Row:
        return await self._create("/api/webhooks", spec)

    async def patch_webhook(self, webhook: int, changes: Row) -> Row:
        return await self._change(f"/api/webhooks/{webhook:d}", changes)

    async def delete_webhook(self, webhook: int) -> None:
        await self._wire.write("DELETE", f"/api/webhooks/{webhook:d}")

    async def ping_webhook(self, webhook: int) -> Row:
        return (await self._wire.write("POST", f"/api/webhooks/{webhook:d}/ping")).row()

    async def deliveries(
        self, webhook: int, *, after: int = 0, aside: Aside | None = None
    ) -> AsyncIterator[Row]:
        # Newest first, and no filter is offered: new deliveries push old ones to later pages,
        # so that some come twice; ids only fall.
        last: int | None = None
        async for row in self._pages(f"/api/webhooks/{webhook:d}/deliveries", aside=aside):
            if (number := row["id"]) <= after:
                return
            if last is None or number < last:
                last = number
                yield row

    async def webhook_events(self, kind: WebhookType) -> frozenset[str]:
        events = (await self._row("/api/webhooks/events", {"type": kind})).get("events")
        if not isinstance(events, list):
            raise ServerTrouble("the server lists no webhook events", server=self.name)
        # Strings before 2.73, {"key": …, "group": …} from there on.
        names = (row.get("key") if isinstance(row, dict) else row for row in events[:EVENTS_MAX])
        return frozenset(name for name in names if isinstance(name, str))

    async def close(self) -> None:
        await self._wire.close()

    # How lists and objects are asked for.

    async def _row(self, path: str, query: Query | None = None) -> Row:
        answer = await self._wire.get(path, query)
        return checked(await _decoded(answer, Answer.row), path, answer.facts)

    async def _create(self, path: str, spec: Row) -> Row:
        return (await self._wire.write("POST", path, spec)).row()

    async def _change(self, path: str, changes: Row) -> Row:
        return (await self._wire.write("PATCH", path, changes)).row()

    async def _all(self, path: str, query: Query, aside: Aside | None = None) -> list[Row]:
        return [row async for row in self._pages(path, query, aside)]

    async def _pages(
        self, path: str, query: Query | None = None, aside: Aside | None = None
    ) -> AsyncIterator[Row]:
        """Walk a list that has no date to go by. The server's `next` url is never followed."""
        limits = self._wire.config.limits
        for page in range(1, limits.pages_max + 1):
            numbered = {**(query or {}), "page": page, "page_size": limits.page_size}
            answer = await self._wire.get(path, numbered, bytes_max=limits.page_bytes_max)
            rows, more = await _decoded(answer, partial(Answer.page, rows_max=limits.page_size))
            for row in sound(rows, path, answer.facts, aside):
                yield row
            if not more or not rows:
                return
        raise self._endless(path)

    async def _by_date(
        self, path: str, since: str | None, aside: Aside | None, **equal: str | int | None
    ) -> AsyncIterator[Row]:
        """Walk a list by (updated_date, id).

        Rows move to the end when they change while one pages, so that numbered pages would skip
        others. Each page is the first one of what comes after the last row seen. The id is part
        of it because one label change gives all jobs of a project the same date.
        """
        limits = self._wire.config.limits
        query: dict[str, str | int] = {k: v for k, v in equal.items() if v is not None}
        query |= {"sort": "updated_date,id", "page_size": limits.page_size}
        start = None if since is None else {">=": [{"var": "updated_date"}, since]}
        page = 1
        for _ in range(limits.pages_max):
            where = {} if start is None else {"filter": json.dumps({"and": [start]})}
            numbered = {"page": page} if page > 1 else {}
            asked = {**query, **where, **numbered}
            answer = await self._wire.get(path, asked, bytes_max=limits.page_bytes_max)
            rows, more = await _decoded(answer, partial(Answer.page, rows_max=limits.page_size))
            for row in sound(rows, path, answer.facts, aside):
                yield row
            if not more or not rows:
                return
            # A page on which no row tells its place is stepped over by its number.
            last = next(filter(None, map(place_of, reversed(rows))), None)
            start, page = (start, page + 1) if last is None else (_after(*last), 1)
        raise self._endless(path)

    def _endless(self, path: str) -> ServerTrouble:
        return ServerTrouble(
            "the server's list does not end",
            server=self.name,
            path=path,
            pages=self._wire.config.limits.pages_max,
        )


async def _decoded(answer: Answer, decode: Callable[[Answer], Decoded]) -> Decoded:
    """Decode an answer; a large one in a thread, since the loop never decodes so much."""
    if len(answer.body) <= INLINE_BYTES_MAX:
        return decode(answer)
    return await asyncio.to_thread(decode, answer)


def _after(date: str, number: int) -> dict[str, Any]:
    """Return the JsonLogic filter for what sorts after (updated_date, id)."""
    same_date = {"==": [{"var": "updated_date"}, date]}
    later_id = {">": [{"var": "id"}, number]}
    return {"or": [{">": [{"var": "updated_date"}, date]}, {"and": [same_date, later_id]}]}
