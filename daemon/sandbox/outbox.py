"""Webhook deliveries: who hears an event, in which order, and how it ends.

One worker sends one delivery at a time, as CVAT's queue does: a slow receiver
holds up all later deliveries. Version 2.15 sends each event once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from daemon.sandbox.faults import Faults
from daemon.sandbox.journal import Journal
from daemon.sandbox.model import Delivery, Json, Webhook
from daemon.sandbox.present import delivery as shown_delivery
from daemon.sandbox.present import in_stored_order
from daemon.sandbox.state import State

# How a send ends where no answer came: refused or cut, and too late.
NOT_REACHED = 502
TOO_SLOW = 504

# (url, headers, body) → status, or status and the text of the answer.
OnDelivery: TypeAlias = Callable[[str, dict[str, str], bytes], Awaitable[int | tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened, as a webhook tells it.

    before  update events: the old value of each member that changed, else None
    """

    event: str
    shown: Json
    sender: Json
    project: int | None
    organization: int | None
    before: Json | None = None


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
        self.held: list[tuple[int, Delivery, bytes]] = []
        self.arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

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
                self.queue(webhook, payload(signal, webhook), changed=signal.before)

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
        while True:
            await self.arrived.wait()
            await self.drain()

    async def drain(self) -> None:
        """Send all that waits, and what is held back last."""
        while self.waiting:
            await self._attempt(self.waiting.popleft())
        for _, row, body in sorted(self.held, key=lambda held: held[0]):
            await self._send(row, body, fault="reordered")
        self.held = []
        self.arrived.clear()
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
        webhook = self.state.webhooks.get(row.webhook) or self._deleted(row)
        status, answer = await self.attempt(webhook, body)
        self.record(row, status, answer)
        self.journal.delivery(row, fault=fault)

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

    def shown(self, row: Delivery) -> Json:
        """Show a delivery as its list does."""
        return shown_delivery(row)


def payload(signal: Signal, webhook: Webhook) -> Json:
    """Build the JSON of an event, with its members in CVAT's order."""
    kind = signal.event.partition(":")[2]
    body = {"event": signal.event, kind: signal.shown, "sender": signal.sender}
    if signal.before:
        body["before_update"] = signal.before
    return body | {"webhook_id": webhook.id}


def signature(secret: str, body: bytes) -> str:
    """Sign a body as CVAT does (webhooks/signals.py, send_webhook)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
