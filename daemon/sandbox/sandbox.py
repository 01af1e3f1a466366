"""The sandbox: a CVAT-compatible server in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from daemon.clock import Clock, SystemClock
from daemon.sandbox import resources
from daemon.sandbox.answers import Answer, rendered
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.edge import Edge, Sender
from daemon.sandbox.errors import Refused, crashed, forbidden, not_found
from daemon.sandbox.faults import Faults, RequestFault
from daemon.sandbox.identity import caller_of
from daemon.sandbox.journal import Journal
from daemon.sandbox.outbox import OnDelivery, Outbox
from daemon.sandbox.routes import OPEN, SINCE, TABLE, template
from daemon.sandbox.state import State
from daemon.sandbox.unsupported import ENDPOINTS, unsupported

VERSIONS = ("2.15", "2.73")
DEFAULT_USERS = {"admin": "admin", "annotator1": "pw1", "annotator2": "pw2"}
assert resources, "the endpoints are registered by their import"


class ConnectionLost(ConnectionError):
    """A fault ended the connection; the edge closes it without an answer."""


class Sandbox:
    """A CVAT server in memory, over a socket or without one.

    `async with Sandbox(...)` listens on 127.0.0.1 and sends webhooks from a
    task of its own. With `port=None` there is no socket: requests come in by
    `dispatch`, webhooks go out by `on_delivery`, and nothing runs besides; the
    caller sends what waits with `await sandbox.outbox.drain()`.

    version      "2.15"
    users        user name → password; the first one is admin
    clock        all dates and pauses
    faults       what goes wrong; may be changed at any time
    journal      file for a line per request and delivery
    public_host  host in the links of answers that no request's Host names
    port         0 picks a free one; None: no socket
    on_delivery  receives webhook deliveries (url, headers, body) → status
    """

    def __init__(
        self,
        *,
        version: str = "2.15",
        users: Mapping[str, str] = DEFAULT_USERS,
        clock: Clock | None = None,
        faults: Faults | None = None,
        journal: Path | None = None,
        public_host: str = "127.0.0.1",
        port: int | None = 0,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        if version not in VERSIONS:
            raise ValueError(f"no such version: {version!r}; there are {', '.join(VERSIONS)}")
        self.version = version
        self.clock = clock or SystemClock()
        self.faults = faults or Faults()
        self.state = State(dict(users), self.clock, version)
        self.journal = Journal(journal, self.state)
        self.sender = Sender()
        send = on_delivery or self.sender.send
        full = f"{version}.0"
        self.outbox = Outbox(self.state, self.faults, self.journal, full, send)
        self.public_host = public_host
        self.port = port
        self.edge: Edge | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://{self.public_host}:{self.port or 8080}"

    async def __aenter__(self) -> Self:
        if self.port is not None:
            self.edge = Edge(self.dispatch)
            self.port = await self.edge.start(self.port)
        self._spawn(self.outbox.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.edge is not None:
            await self.edge.stop()
        await self.sender.close()
        self.journal.close()

    async def deliveries_idle(self) -> None:
        """Wait until every queued webhook delivery was attempted."""
        await self.outbox.idle.wait()

    async def created(self) -> None:
        """Wait until the jobs of all uploaded tasks were made."""
        while waiting := [task for task in self.tasks if task.get_name() == "creation"]:
            await asyncio.wait(waiting)

    def _spawn(self, work: Coroutine[None, None, None], name: str | None = None) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _later(self, work: Callable[[], None]) -> None:
        """Run the creation of a task after the time it takes."""
        if self.faults.task_creation_s <= 0:
            work()
            return

        async def wait() -> None:
            await self.clock.sleep(self.faults.task_creation_s)
            work()

        self._spawn(wait(), name="creation")

    async def dispatch(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer one request.

        path     without the query, percent-decoded
        query    as it stands after the question mark
        headers  names in any case
        returns  status, headers, body

        Raises ConnectionLost where a fault cuts the connection.
        """
        fault = self.faults.of_request(method, path)
        if self.faults.latency_s:
            await self.clock.sleep(self.faults.latency_s)
        if fault is not None and fault.kind == "reset":
            raise ConnectionLost("a fault reset the connection")
        call = self._call(method, path, query, headers, body)
        if fault is not None and fault.kind == "before":
            answer = rendered(_broken(fault))
        else:
            answer = await self._answer(call)
        if fault is not None and fault.kind == "after":
            answer = rendered(_broken(fault))
        self._note(call, answer)
        if fault is not None and fault.kind == "reset-after":
            raise ConnectionLost("a fault cut the answer")
        return answer

    def _call(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Call:
        lowered = {name.lower(): value for name, value in headers.items()}
        host = lowered.get("host")
        return Call(
            state=self.state,
            outbox=self.outbox,
            method=method,
            path=path.rstrip("/"),
            query=parse_qsl(query, keep_blank_values=True),
            headers=lowered,
            raw=body,
            base=f"http://{host}" if host else self.url,
            version=self.version,
            journaled=self.journal.file is not None,
        )

    async def _answer(self, call: Call) -> Answer:
        try:
            reply = await self._handled(call)
        except Refused as refused:
            return rendered(Reply(refused.status, refused.body))
        call.commit()
        for work in call.background:
            self._later(work)
        reply.body = self.faults.spoil(call.path, reply.body)
        try:
            return rendered(reply)
        except ValueError:
            # A number beyond a double was stored and cannot be written as JSON:
            # the change is made, its webhooks are on their way, the answer is 500.
            return rendered(Reply(500, crashed().body))

    async def _handled(self, call: Call) -> Reply:
        shape, call.ids = template(call.path)
        handler = TABLE.get((call.method, shape))
        if SINCE.get((call.method, shape), "") > self.version:
            handler = None
        call.caller = caller_of(call)
        if handler is None:
            raise _no_handler(call, shape)
        if handler not in OPEN:
            user, named = call.user, call.organization
            if named is not None and not (user.is_admin or user.id in named.members):
                raise forbidden()
        if call.read_only and call.method not in {"GET", "HEAD", "OPTIONS"}:
            raise forbidden()
        return await handler(call)

    def _note(self, call: Call, answer: Answer) -> None:
        """Write the journal's line of a request; media and secrets stay out of it."""
        if not call.journaled:
            return
        writes = call.path.endswith("/annotations") and call.method != "GET"
        known = {"before": call.before} if call.before else {}
        secret = call.path == "/api/auth/login"
        self.journal.write(
            {
                "user": call.caller.username if call.caller else None,
                "method": call.method,
                "path": call.path,
                "query": call.query,
                "status": answer[0],
                "committed": call.committed,
                "request": None if secret else _json_or_none(call.raw),
                "response": _json_or_none(answer[2]) if writes else None,
                **known,
            }
        )


def _no_handler(call: Call, shape: str) -> Refused:
    """Make the answer to a request that no endpoint takes."""
    listed = call.method in ENDPOINTS.get(shape, ())
    if listed or (call.is_new and shape.startswith("/api/")):
        # The list is of 2.15. A 404 for what only 2.73 has could be taken for a deletion.
        return unsupported(f"{call.method} {shape}")
    if any(known == shape for _, known in TABLE):
        return Refused(405, {"detail": f'Method "{call.method}" not allowed.'})
    return not_found()


def _broken(fault: RequestFault) -> Reply:
    return Reply(fault.status, crashed().body)


def _json_or_none(content: bytes) -> object:
    with contextlib.suppress(ValueError):
        return json.loads(content)
    return None


async def serve_forever(sandbox: Sandbox, *, ready: Callable[[str], None]) -> None:
    """Run a sandbox until the task is cancelled; `ready` is told its address."""
    async with sandbox:
        ready(sandbox.url)
        await asyncio.Event().wait()
