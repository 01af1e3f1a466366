"""Recorded sessions, played again against the sandbox."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from daemon.sandbox import Faults, Sandbox
from tests.conformance.answers import difference_of_answers
from tests.conformance.clock import StepClock
from tests.conformance.compare import Known, table_of_path
from tests.conformance.recording import Exchange, jpeg
from tests.conformance.translation import Translation, without_ids
from tests.conformance.uploads import FORM, form, recorded_file, recorded_form

USERS = {"admin": "pw-admin", "annotator1": "pw-1", "annotator2": "pw-2"}
HOST = "127.0.0.1:8090"
QUEUE_S = 0.1
CREATION_S = 0.5


@dataclass
class Outcome:
    """How a replay went."""

    exchanges: int = 0
    equal: int = 0
    skipped: int = 0
    differences: list[str] = field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.exchanges + other.exchanges,
            self.equal + other.equal,
            self.skipped + other.skipped,
            self.differences + other.differences,
        )

    def note(self, found: str | None, what: str) -> None:
        """Count one comparison; `found` is the difference, if there is one."""
        if found is None:
            self.equal += 1
        else:
            self.differences.append(f"{what}: {found}")


@dataclass
class Plan:
    """What a recording does not say of itself.

    users  who made the requests that were not made by the admin
    skip   exchanges that the sandbox does not do, by number, with the reason
    bridge an exchange after whose skipping the next answer tells the annotations
    """

    users: dict[int, str] = field(default_factory=dict)
    skip: dict[int, str] = field(default_factory=dict)
    bridge: int | None = None


@dataclass
class Receiver:
    """What received the webhooks of a recorded session.

    answer  what it says
    failing delivery → the status that it says instead; counted from 1
    slow    a delivery, and the exchange before which the receiver takes it
    """

    answer: tuple[int, str] = (204, "")
    failing: dict[int, int] = field(default_factory=dict)
    slow: tuple[int, int] | None = None


class Replay:
    """One sandbox, and all that was learned about its ids."""

    def __init__(self, version: str, receiver: Receiver) -> None:
        self.version = version
        self.clock = StepClock()
        self.receiver = receiver
        self.received: list[bytes] = []
        self.slow, self.taken = asyncio.Event(), asyncio.Event()
        self.sending: asyncio.Task[None] | None = None
        self.sandbox = Sandbox(
            version=version,
            users=USERS,
            clock=self.clock,
            faults=Faults(task_queue_s=QUEUE_S, task_creation_s=CREATION_S),
            port=None,
            on_delivery=self._receive,
        )
        self.known = Known()
        self.ours = Translation(self.known)
        self.uploads: dict[str, bytes] = {}
        self.token = ""
        for row in self.sandbox.state.users.values():
            self.known.ids["user", row.id] = row.id

    async def _receive(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> int | tuple[int, str]:
        number = len(self.received) + 1
        if self.receiver.slow is not None and number == self.receiver.slow[0]:
            self.slow.set()
            await self.taken.wait()
            self.slow.clear()
        self.received.append(body)
        status, text = self.receiver.answer
        return self.receiver.failing.get(number, status), text

    async def warm_up(self, names: tuple[str, ...]) -> None:
        """Log people in who were on the recorded server before."""
        for name in names:
            body = json.dumps({"username": name, "password": USERS[name]}).encode()
            await self.sandbox.dispatch("POST", "/api/auth/login", "", {}, body)

    async def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Any:
        """Make a request of the admin's that no recording holds; returns its JSON."""
        path, _, query = target.partition("?")
        row = next(iter(self.sandbox.state.users.values()))
        headers |= {"authorization": f"Token {row.key}", "host": HOST}
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        status, _, content = await self.sandbox.dispatch(method, path, query, headers, raw)
        assert status < 400, (method, target, status, content)
        return json.loads(content) if content else None

    async def upload(self, task: int, names: list[str]) -> None:
        """Give a task of an earlier time its images."""
        files = [(f"client_files[{n}]", name, jpeg(160, 120)) for n, name in enumerate(names)]
        body = form([("image_quality", None, b"75"), *files])
        await self.ask("POST", f"/api/tasks/{task}/data", body, **FORM)
        await self.settle()

    async def settle(self) -> None:
        """Let time pass until all tasks are made and all webhooks are with their receiver."""
        # The work behind the last answer goes to sleep before time passes.
        await asyncio.sleep(0)
        self.clock.advance(2 * CREATION_S)
        await self.sandbox.created()
        if self.sending is None or self.sending.done():
            self.sending = asyncio.create_task(self.sandbox.outbox.drain())
        held = asyncio.create_task(self.slow.wait())
        await asyncio.wait({self.sending, held}, return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if self.sending.done():
            self.sending.result()

    async def bridge(self, exchange: Exchange) -> None:
        """Put a task's annotations into the state that the next answer shows; nobody hears it."""
        path = self.ours.path(exchange.path)
        await self.settle()
        heard = len(self.received)
        await self.ask("DELETE", path)
        await self.ask("PUT", path, self.ours.body(without_ids(exchange.answered), "task"))
        await self.settle()
        del self.received[heard:]

    async def play(self, exchanges: list[Exchange], plan: Plan) -> Outcome:
        """Play a session; each difference is noted, and the play goes on."""
        outcome = Outcome(exchanges=len(exchanges))
        for place, exchange in enumerate(exchanges):
            if exchange.seq in plan.skip:
                outcome.skipped += 1
                if exchange.seq == plan.bridge:
                    await self.bridge(exchanges[place + 1])
                continue
            await self._pass_time(exchange)
            found = await self._one(exchanges, place, plan.users.get(exchange.seq, "admin"))
            outcome.note(found, f"#{exchange.seq} {exchange.method} {exchange.path}")
        return outcome

    async def _pass_time(self, exchange: Exchange) -> None:
        """Let the sandbox finish what the real server had finished by now."""
        self.clock.advance(0.01)
        if self.receiver.slow is not None and exchange.seq == self.receiver.slow[1]:
            self.taken.set()
        body = exchange.answered if isinstance(exchange.answered, dict) else {}
        state = str(body.get("state", body.get("status"))).lower()
        if state == "started":
            self.clock.advance(QUEUE_S)
        waits = exchange.path.rstrip("/") == "/api/jobs" and body.get("count") == 0
        if state not in {"queued", "started"} and not waits:
            await self.settle()

    async def _one(self, exchanges: list[Exchange], place: int, user: str) -> str | None:
        exchange = exchanges[place]
        headers, body = self._body(exchanges, place)
        answer = await self.sandbox.dispatch(
            exchange.method,
            self.ours.path(exchange.path),
            self.ours.query(exchange.query),
            headers | self._identity(exchange, user),
            body,
        )
        if exchange.path.endswith("/access_tokens") and exchange.method == "POST":
            self.token = json.loads(answer[2]).get("value", "")
        return difference_of_answers(
            exchange, answer, self.known, exchanges=exchanges, version=self.version
        )

    def _identity(self, exchange: Exchange, user: str) -> dict[str, str]:
        sent = exchange.request_headers
        headers = {
            name: value
            for name, value in sent.items()
            if name == "x-organization" or name.startswith(("upload-", "tus-"))
        }
        headers["host"] = HOST
        if user == "token":
            return headers | {"authorization": f"Bearer {self.token}"}
        row = next(row for row in self.sandbox.state.users.values() if row.username == user)
        if "authorization" in sent:
            headers["authorization"] = f"Token {row.key}"
        elif "cookie" in sent:
            headers["cookie"] = f"sessionid={row.session}"
        return headers

    def _body(self, exchanges: list[Exchange], place: int) -> tuple[dict[str, str], bytes]:
        exchange = exchanges[place]
        match exchange.request_body:
            case None:
                return {}, b""
            case {"json": sent}:
                if exchange.path.rstrip("/").endswith("/auth/login"):
                    right = exchange.status == 200
                    sent |= {"password": USERS[sent["username"]] if right else "wrong"}
                sent = self.ours.body(sent, table_of_path(exchange.path))
                return {}, json.dumps(sent).encode()
            case {"multipart": _}:
                return FORM, recorded_form(exchanges, place)
            case {"bytes": int(length)}:
                return {}, self._part(exchanges, place, length)
            case body:
                return {}, body["text"].encode()

    def _part(self, exchanges: list[Exchange], place: int, length: int) -> bytes:
        """Make the bytes of one part of a tus upload."""
        exchange = exchanges[place]
        if exchange.path not in self.uploads:
            self.uploads[exchange.path] = recorded_file(exchanges, place)
        start = int(exchange.request_headers["upload-offset"])
        return self.uploads[exchange.path][start : start + length]
