"""Recorded sessions, played again against the sandbox."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from daemon.sandbox import Faults, Sandbox
from tests.conformance.compare import (
    HOLDERS,
    REFERENCES,
    RESOURCES,
    UUID,
    Known,
    difference,
    table_of_path,
)
from tests.conformance.recording import Exchange, jpeg, media_of, upload_length

BOUNDARY = "conformance"
USERS = {"admin": "pw-admin", "annotator1": "pw-1", "annotator2": "pw-2"}
CREATION_S = 0.5


class StepClock:
    """A clock that stands still until it is moved; who sleeps wakes when it has."""

    def __init__(self) -> None:
        self.us = 1_795_342_000_000_000
        self.ids = 0
        self.sleepers: list[tuple[int, asyncio.Future[None]]] = []
        # Set as soon as anybody sleeps.
        self.asleep = asyncio.Event()

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6

    def new_id(self) -> bytes:
        self.ids += 1
        return bytes(6) + b"\x70\x00\x80" + self.ids.to_bytes(7)

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.us + int(seconds * 1e6), done))
        self.asleep.set()
        await done

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)
        for due, done in self.sleepers:
            if due <= self.us and not done.done():
                done.set_result(None)
        self.sleepers = [each for each in self.sleepers if each[0] > self.us]


@dataclass
class Outcome:
    """How a replay went: `differences` by the number of the exchange."""

    exchanges: int = 0
    equal: int = 0
    skipped: int = 0
    differences: dict[int, str] = field(default_factory=dict)


@dataclass
class Plan:
    """What a recording does not say of itself.

    users  who made the requests that were not made by the admin
    skip   exchanges that the sandbox does not do, by number, with the reason
    answer what the receiver of webhooks said
    broken exchange → what the receiver said to the first deliveries after it
    bridge an exchange after whose skipping the next answer tells the annotations
    """

    users: dict[int, str] = field(default_factory=dict)
    skip: dict[int, str] = field(default_factory=dict)
    answer: tuple[int, str] = (204, "")
    broken: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bridge: int | None = None


class Replay:
    """One sandbox, and all that was learned about its ids."""

    def __init__(self, version: str) -> None:
        self.clock = StepClock()
        self.received: list[dict[str, Any]] = []
        self.answer: tuple[int, str] = (204, "")
        self.broken: list[int] = []
        self.sandbox = Sandbox(
            version=version,
            users=USERS,
            clock=self.clock,
            faults=Faults(task_creation_s=CREATION_S),
            port=None,
            on_delivery=self._receive,
        )
        self.known = Known()
        self.uploads: dict[str, bytes] = {}
        self.token = ""
        for row in self.sandbox.state.users.values():
            self.known.ids["user", row.id] = row.id

    async def _receive(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> int | tuple[int, str]:
        self.received.append({"url": url, "headers": headers, "body": json.loads(body)})
        return (self.broken.pop(0), self.answer[1]) if self.broken else self.answer

    async def warm_up(self, names: tuple[str, ...]) -> None:
        """Log people in who were on the recorded server before."""
        for name in names:
            body = json.dumps({"username": name, "password": USERS[name]}).encode()
            await self.sandbox.dispatch("POST", "/api/auth/login", "", {}, body)

    async def ask(self, method: str, target: str, body: Any = None) -> Any:
        """Make a request of the admin's that no recording holds; returns its JSON."""
        path, _, query = target.partition("?")
        row = next(iter(self.sandbox.state.users.values()))
        headers = {"authorization": f"Token {row.key}", "host": "127.0.0.1:8090"}
        raw = b"" if body is None else json.dumps(body).encode()
        status, _, content = await self.sandbox.dispatch(method, path, query, headers, raw)
        assert status < 400, (method, target, status, content)
        return json.loads(content) if content else None

    async def upload(self, task: int, names: list[str]) -> None:
        """Give a task of an earlier time its images."""
        row = next(iter(self.sandbox.state.users.values()))
        headers = {
            "authorization": f"Token {row.key}",
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        }
        fields = [("image_quality", None, b"75")]
        files = [(f"client_files[{n}]", name, jpeg(160, 120)) for n, name in enumerate(names)]
        body = form([*fields, *files])
        await self.sandbox.dispatch("POST", f"/api/tasks/{task}/data", "", headers, body)
        await self.settle()

    async def settle(self) -> None:
        """Let time pass until all tasks are made and all webhooks delivered."""
        # The work behind the last answer goes to sleep before time passes.
        await asyncio.sleep(0)
        self.clock.advance(2 * CREATION_S)
        await self.sandbox.created()
        await self.sandbox.outbox.drain()

    async def bridge(self, exchange: Exchange) -> None:
        """Put a task's annotations into the state that the next answer shows."""
        path = self._path(exchange.path)
        await self.ask("DELETE", path)
        await self.ask("PUT", path, self._ours(_without_ids(exchange.answered), "task"))

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
            self.answer, self.broken = plan.answer, list(plan.broken.get(exchange.seq, ()))
            found = await self._one(exchanges, place, plan.users.get(exchange.seq, "admin"))
            if found is None:
                outcome.equal += 1
            else:
                outcome.differences[place] = (
                    f"#{exchange.seq} {exchange.method} {exchange.path}: {found}"
                )
        return outcome

    async def _pass_time(self, exchange: Exchange) -> None:
        """Let the sandbox finish what the real server had finished by now."""
        body = exchange.answered
        early = isinstance(body, dict) and body.get("state") in {"Started", "Queued"}
        early = early or (isinstance(body, dict) and body.get("status") in {"queued", "started"})
        waiting = exchange.path.rstrip("/") == "/api/jobs" and isinstance(body, dict)
        early = early or (waiting and body.get("count") == 0)
        if not early:
            await self.settle()
        self.clock.advance(0.01)

    async def _one(self, exchanges: list[Exchange], place: int, user: str) -> str | None:
        exchange = exchanges[place]
        path = self._path(exchange.path)
        headers, body = self._body(exchanges, place)
        headers |= self._identity(exchange, user)
        query = urlencode([(name, self._query(name, value)) for name, value in exchange.query])
        status, answered, content = await self.sandbox.dispatch(
            exchange.method, path, query, headers, body
        )
        if status != exchange.status:
            return f"{exchange.status} is not {status}: {content[:300]!r}"
        if (
            "location" in {name.lower() for name in exchange.response_headers}
            and "Location" in answered
        ):
            self._learn_location(exchange, answered["Location"])
        if exchange.answered is None:
            return None
        if exchange.path.endswith("/access_tokens") and exchange.method == "POST":
            self.token = json.loads(content)["value"]
        return difference(
            exchange.answered,
            json.loads(content),
            self.known,
            table=table_of_path(exchange.path),
        )

    def _learn_location(self, exchange: Exchange, ours: str) -> None:
        theirs = next(v for k, v in exchange.response_headers.items() if k.lower() == "location")
        left, right = UUID.search(theirs), UUID.search(ours)
        if left and right:
            self.known.texts[left[0]] = right[0]

    def _path(self, path: str) -> str:
        parts = path.split("/")
        for place, part in enumerate(parts):
            if part.isdigit():
                table = RESOURCES.get(parts[place - 1], "?")
                parts[place] = str(self.known.id(table, int(part)))
            parts[place] = self.known.texts.get(parts[place], parts[place])
            if found := re.fullmatch(r"(action=.*&target_id=)(\d+)", part):
                parts[place] = f"{found[1]}{self.known.id('task', int(found[2]))}"
        return "/".join(parts)

    def _query(self, name: str, value: str) -> str:
        if name == "filter":
            try:
                return json.dumps(self._rule(json.loads(value)))
            except ValueError:
                return value
        if value.isdigit() and name in REFERENCES:
            return str(self.known.id(REFERENCES[name], int(value)))
        return value

    def _rule(self, rule: Any) -> Any:
        if isinstance(rule, list):
            variable = rule[0].get("var") if rule and isinstance(rule[0], dict) else None
            if variable in REFERENCES and isinstance(rule[1], int):
                return [rule[0], self.known.id(REFERENCES[variable], rule[1])]
            return [self._rule(each) for each in rule]
        if isinstance(rule, dict):
            return {name: self._rule(value) for name, value in rule.items()}
        return self.known.dates.get(rule, rule) if isinstance(rule, str) else rule

    def _ours(self, value: Any, table: str) -> Any:
        """Translate the ids of a request."""
        if isinstance(value, list):
            return [self._ours(each, table) for each in value]
        if not isinstance(value, dict):
            return value
        made = {}
        for name, content in value.items():
            if isinstance(content, int) and not isinstance(content, bool):
                kind = table if name == "id" else REFERENCES.get(name)
                made[name] = content if kind is None else self.known.id(kind, content)
                continue
            inner = HOLDERS.get(name, table)
            inner = "inner" if name == "shapes" and table == "track" else inner
            inner = table if name == "elements" else inner
            made[name] = self._ours(content, inner)
        return made

    def _identity(self, exchange: Exchange, user: str) -> dict[str, str]:
        headers = {
            name: value
            for name, value in exchange.request_headers.items()
            if name == "x-organization" or name.startswith(("upload-", "tus-"))
        }
        has = exchange.request_headers
        if user == "token":
            headers["authorization"] = f"Bearer {self.token}"
            return headers
        row = next(row for row in self.sandbox.state.users.values() if row.username == user)
        if "authorization" in has:
            headers["authorization"] = f"Token {row.key}"
        elif "cookie" in has:
            headers["cookie"] = f"sessionid={row.session}"
        headers["host"] = "127.0.0.1:8090"
        return headers

    def _body(self, exchanges: list[Exchange], place: int) -> tuple[dict[str, str], bytes]:
        exchange = exchanges[place]
        body = exchange.request_body
        if body is None:
            return {}, b""
        if "json" in body:
            sent = body["json"]
            if exchange.path.rstrip("/").endswith("/auth/login"):
                right = exchange.status == 200
                password = USERS[sent["username"]] if right else "wrong"
                sent = sent | {"password": password}
            return {}, json.dumps(self._ours(sent, table_of_path(exchange.path))).encode()
        if "multipart" in body:
            return self._form(exchanges, place)
        if "bytes" in body:
            return {}, self._part(exchanges, place)
        return {}, body["text"].encode()

    def _task(self, exchange: Exchange) -> str:
        found = re.match(r"/api/tasks/(\d+)", exchange.path)
        assert found, exchange.path
        return found[1]

    def _form(self, exchanges: list[Exchange], place: int) -> tuple[dict[str, str], bytes]:
        exchange = exchanges[place]
        media = media_of(exchanges, place, self._task(exchange))
        # 2.15 says in its answer how the media were to be read; later ones in the meta.
        told = exchange.answered or {}
        told = media.meta if "rq_id" in told and media.meta.get("frame_filter") else told
        values = {
            "image_quality": str(told.get("image_quality", 75)),
            "start_frame": str(told.get("start_frame", 0)),
            "stop_frame": str(told.get("stop_frame", 0)),
            "frame_filter": told.get("frame_filter", ""),
            "sorting_method": told.get("sorting_method", "lexicographical"),
            "use_zip_chunks": str(media.zip_chunks).lower(),
            "use_cache": "true",
        }
        parts = [
            (name, file, media.file(file) if file else values.get(name, "").encode())
            for name, file in exchange.request_body["multipart"]
        ]
        return {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}, form(parts)

    def _part(self, exchanges: list[Exchange], place: int) -> bytes:
        """Make the bytes of one part of a tus upload."""
        exchange = exchanges[place]
        key = exchange.path
        if key not in self.uploads:
            begun = [
                each
                for each in exchanges[:place]
                if each.method == "POST" and "upload-length" in each.request_headers
            ][-1]
            length = upload_length(begun.request_headers)
            media = media_of(exchanges, place, self._task(exchange))
            self.uploads[key] = media.file("", length)
        start = int(exchange.request_headers["upload-offset"])
        return self.uploads[key][start : start + exchange.request_body["bytes"]]


def form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    """Write a multipart form of (field, file name or None, content)."""
    written = []
    for name, file, content in parts:
        extra = f'; filename="{file}"' if file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        written.append(head.encode() + content + b"\r\n")
    return b"".join(written) + f"--{BOUNDARY}--\r\n".encode()


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_ids(each) for name, each in value.items() if name != "id"}
    return value
