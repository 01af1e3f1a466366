"""Webhook deliveries: who hears an event, in which order, and how it ends.

One worker sends one delivery at a time, as CVAT's queue does: a slow receiver
holds up all later deliveries. Version 2.15 sends each event once; 2.73 tries
again what failed, after newer events.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from daemon.sandbox.faults import Faults
from daemon.sandbox.journal import Journal
from daemon.sandbox.model import Delivery, Json, Webhook
from daemon.sandbox.present_webhooks import in_stored_order
from daemon.sandbox.state import State

# How a send ends where no answer came: refused or cut, and too late.
NOT_REACHED = 502
TOO_SLOW = 504
# A real server keeps all; this one lives in memory.
DELIVERIES_KEPT = 100_000
# Pauses before the attempts of 2.73 (cvat, PR 10578), and the statuses below 500 that it repeats.
RETRY_S = (5.0, 300.0, 1_800.0, 10_800.0, 86_400.0, 86_400.0, 86_400.0, 86_400.0)
RETRIED_STATUS = (408, 429)

# (url, headers, body) → status, or status and the text of the answer.
OnDelivery: TypeAlias = Callable[[str, dict[str, str], bytes], Awaitable[int | tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened, as a webhook tells it.

    before   update events: the old value of each member that changed, else None
    changes  2.73: old and new value of each column that changed
    """

    event: str
    shown: Json
    sender: Json
    project: int | None
    organization: int | None
    before: Json | None = None
    changes: Json | None = None


class Outbox:
    """The queue between changes and receivers."""

    def __init__(
        self, state: State, faults: Faults, journal: Journal, version: str, send: OnDelivery
    ) -> None:
        self.state = state
        self.faults = faults
        self.journal = journal
        self.version = version
        self.send = send
        self.waiting: deque[Delivery] = deque()
        # 2.73: failed deliveries that are tried again, by the date when they are due.
        self.retries: list[tuple[int, int, Delivery, bytes]] = []
        self.alarms: set[asyncio.Task[None]] = set()
        self.runs = False
        self.held: list[tuple[int, Delivery, bytes]] = []
        # One delivery at a time, whoever asks for them to be sent.
        self.sending = asyncio.Lock()
        self.arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def is_new(self) -> bool:
        """Tell whether this is the newer of the two versions."""
        return self.state.version != "2.15"

    def is_heard(self, event: str, *, project: int | None, organization: int | None) -> bool:
        """Tell whether any webhook wants this event."""
        return bool(self.hearers(event, project=project, organization=organization))

    def hearers(
        self, event: str, *, project: int | None, organization: int | None
    ) -> list[Webhook]:
        """Return the webhooks that want an event: the organization's, then the project's."""
        rows = [
            row
            for row in self.state.webhooks.values()
            if row.is_active
            and event in row.events
            # 2.73 tells the end of a project to its organization alone.
            and not (event == "delete:project" and row.type == "project" and self.is_new)
            and (
                (row.type == "organization" and row.organization == organization is not None)
                or (row.type == "project" and row.project == project is not None)
            )
        ]
        return sorted(rows, key=lambda row: (row.type, row.id))

    def post(self, signals: list[Signal]) -> None:
        """Queue the deliveries of events, in the order in which they happened."""
        for signal in signals:
            heard = {"project": signal.project, "organization": signal.organization}
            for webhook in self.hearers(signal.event, **heard):
                self.queue(
                    webhook, payload(signal, webhook, self.state.version), changed=signal.before
                )

    def queue(
        self, webhook: Webhook, body: Json, *, changed: Json = None, redelivery: bool = False
    ) -> Delivery:
        """Queue one delivery."""
        now = self.state.last_us
        row = Delivery(0, webhook.id, body["event"], body, redelivery, now, now)
        row.changed_fields = ",".join(changed or ())
        self.waiting.append(row)
        self.idle.clear()
        self.arrived.set()
        return row

    async def run(self) -> None:
        """Send deliveries for ever."""
        self.runs = True
        try:
            while True:
                await self.arrived.wait()
                await self.drain()
        finally:
            for alarm in self.alarms:
                alarm.cancel()

    async def drain(self) -> None:
        """Send all that waits, what is held back last, and retries that are due."""
        async with self.sending:
            self.arrived.clear()
            while self.waiting or self.held:
                while self.waiting:
                    await self._attempt(self.waiting.popleft())
                    if self.waiting and self.faults.pace_s:
                        await self.state.clock.sleep(self.faults.pace_s)
                held, self.held = sorted(self.held, key=lambda each: each[0]), []
                for _, row, body in held:
                    await self._send(row, body, fault="reordered")
            await self._send_retries()
            if not self.waiting:
                self.idle.set()

    async def _attempt(self, row: Delivery) -> None:
        number = self.faults.next_delivery
        self.faults.next_delivery += 1
        if pause := self.faults.delay_s.get(number):
            await self.state.clock.sleep(pause)
        shuffled = number in self.faults.shuffle_keys or row.redelivery
        body = json.dumps(in_stored_order(row.request) if shuffled else row.request).encode()
        if number in self.faults.lose:
            self.journal.delivery(row, fault="lost")
            return
        if number in self.faults.hold_back:
            self.held.append((number + self.faults.hold_back[number], row, body))
            return
        await self._send(row, body, fault="delayed" if pause else None)
        if number in self.faults.repeat:
            await self._send(row, body, fault="repeated")
        await self._release(number)

    async def _release(self, number: int) -> None:
        due = [held for held in self.held if held[0] <= number]
        self.held = [held for held in self.held if held[0] > number]
        for _, row, body in due:
            await self._send(row, body, fault="reordered")

    async def _send(self, row: Delivery, body: bytes, *, fault: str | None) -> None:
        row = replace(row)
        webhook = self.state.webhooks.get(row.webhook) or self._deleted(row)
        started = self.state.clock.monotonic_s()
        status, answer = await self.attempt(webhook, body)
        row.duration_ms = int((self.state.clock.monotonic_s() - started) * 1000)
        self.record(row, status, answer)
        self._plan_retry(row, body, status)
        self.journal.delivery(row, fault=fault)

    def _plan_retry(self, row: Delivery, body: bytes, status: int) -> None:
        """Try a failed delivery again later, with the same bytes (2.73)."""
        fails = status >= 500 or status in RETRIED_STATUS
        if not self.is_new or not fails or row.attempt > len(RETRY_S):
            return
        pause = RETRY_S[row.attempt - 1]
        again = replace(row, attempt=row.attempt + 1)
        due = self.state.clock.now_us() + int(pause * 1e6)
        self.retries.append((due, row.id, again, body))
        if self.runs:
            alarm = asyncio.get_running_loop().create_task(self._wake(pause))
            self.alarms.add(alarm)
            alarm.add_done_callback(self.alarms.discard)

    async def _wake(self, pause_s: float) -> None:
        await self.state.clock.sleep(pause_s)
        self.arrived.set()

    async def _send_retries(self) -> None:
        now = self.state.clock.now_us()
        due = sorted(each for each in self.retries if each[0] <= now)
        self.retries = [each for each in self.retries if each[0] > now]
        for _, _, row, body in due:
            await self._send(row, body, fault="retried")

    def _deleted(self, row: Delivery) -> Webhook:
        return self.state.deleted_webhooks[row.webhook]

    async def attempt(self, webhook: Webhook, body: bytes) -> tuple[int, str]:
        """Send bytes to a webhook; returns status and text, or the status CVAT logs instead."""
        headers = {
            "User-Agent": f"CVAT/{self.version} python-requests/2.31.0",
            "Content-Type": "application/json",
        }
        if webhook.secret:
            headers["X-Signature-256"] = signature(webhook.secret, body)
        try:
            answer = await self.send(webhook.target_url, headers, body)
        except TimeoutError:
            return TOO_SLOW, ""
        except OSError:
            return NOT_REACHED, ""
        return (answer, "") if isinstance(answer, int) else answer

    def record(self, row: Delivery, status: int, answer: str) -> None:
        """Keep how a delivery ended; the row is new after the exchange, as in CVAT."""
        row.id = self.state.next_id("deliveries")
        row.status_code = status
        row.response = answer
        row.created = self.state.now()
        row.updated = self.state.now()
        self.state.deliveries[row.id] = row
        if len(self.state.deliveries) > DELIVERIES_KEPT:
            del self.state.deliveries[next(iter(self.state.deliveries))]


def payload(signal: Signal, webhook: Webhook, version: str) -> Json:
    """Build the JSON of an event, with its members in the order of the version."""
    kind = signal.event.partition(":")[2].partition("[")[0]
    head = {"event": signal.event, kind: signal.shown, "sender": signal.sender}
    if version == "2.15":
        before = {"before_update": signal.before} if signal.before else {}
        return head | before | {"webhook_id": webhook.id}
    head = {"event": signal.event, "webhook_id": webhook.id, kind: signal.shown}
    if signal.sender is not None:
        head["sender"] = signal.sender
    if signal.changes:
        head |= {"before_update": signal.before, "changes": signal.changes}
    return head


def signature(secret: str, body: bytes) -> str:
    """Sign a body as CVAT does (webhooks/signals.py, send_webhook)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
