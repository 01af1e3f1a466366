"""A project with a task in a sandbox without sockets, of 2.15 and of 2.73."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from daemon.sandbox import Faults, Sandbox
from tests.conformance.clock import StepClock
from tests.daemon.sandbox.client import Client, Heard, jpeg, sandbox

CAR: list[dict[str, Any]] = [
    {"name": "label_id", "mutable": True, "input_type": "text", "values": [""]},
    {
        "name": "kind",
        "mutable": True,
        "input_type": "select",
        "default_value": "a",
        "values": ["a", "b"],
    },
]
COUNT: dict[str, Any] = {
    "name": "count",
    "mutable": True,
    "input_type": "number",
    "default_value": "0",
    "values": ["0", "9", "1"],
}


@dataclass
class World:
    """One project "p", its task of 4 frames in two jobs, a webhook that hears all."""

    sandbox: Sandbox
    heard: Heard
    admin: Client
    annotator: Client
    stranger: Client
    project: int
    task: int
    first: int
    second: int
    car: int
    truck: int
    text: int
    kind: int

    @property
    def annotations(self) -> str:
        return f"/api/jobs/{self.first}/annotations"

    def box(self, **members: Any) -> dict[str, Any]:
        """Write a rectangle as a client would."""
        shape = {"type": "rectangle", "frame": 0, "label_id": self.car, "points": [1, 2, 3, 4]}
        return shape | members

    async def create(self, *shapes: dict[str, Any]) -> Any:
        return await self.admin.patch(self.annotations, {"shapes": shapes}, action="create")

    async def read(self) -> Any:
        return await self.admin.get(self.annotations)

    async def date(self, kind: str, row: int) -> str:
        return str((await self.admin.get(f"/api/{kind}s/{row}"))["updated_date"])

    async def dates(self) -> tuple[str, str, str]:
        """Return the dates of job, task and project."""
        return (
            await self.date("job", self.first),
            await self.date("task", self.task),
            await self.date("project", self.project),
        )

    async def hears(self) -> list[str]:
        """Return the events since the last call."""
        await self.sandbox.outbox.drain()
        events = self.heard.events
        self.heard.requests.clear()
        return events


@pytest.fixture
async def world() -> World:
    """Build the project over REST, as a client would."""
    heard = Heard()
    server = sandbox(heard)
    admin = await Client(server).login()
    annotator = await Client(server, "annotator1", "pw1").login()
    stranger = await Client(server, "annotator2", "pw2").login()
    labels = [{"name": "car", "attributes": CAR}, {"name": "truck", "attributes": []}]
    project = (await admin.post("/api/projects", {"name": "p", "labels": labels}))["id"]
    wanted = {"name": "t", "project_id": project, "segment_size": 2}
    task = (await admin.post("/api/tasks", wanted))["id"]
    await admin.upload(task, {f"{n}.jpg": jpeg(64, 48) for n in range(4)})
    jobs = (await admin.get("/api/jobs", task_id=task))["results"]
    shown = (await admin.get("/api/labels", task_id=task))["results"]
    specs = [spec["id"] for spec in shown[0]["attributes"]]
    events = (await admin.get("/api/webhooks/events", type="project"))["events"]
    hook = {"target_url": "http://127.0.0.1:1/x", "type": "project", "project_id": project}
    await admin.post("/api/webhooks", hook | {"secret": "s3cret", "events": events})
    return World(
        server,
        heard,
        admin,
        annotator,
        stranger,
        project,
        task,
        jobs[1]["id"],
        jobs[0]["id"],
        shown[0]["id"],
        shown[1]["id"],
        specs[0],
        specs[1],
    )


class Newer:
    """A project with a hooked task in a sandbox of 2.73."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.clock = StepClock()
        self.sandbox: Sandbox = sandbox(
            self.heard, version="2.73", clock=self.clock, faults=Faults(task_creation_s=0)
        )
        self.admin = Client(self.sandbox)

    async def build(self) -> Newer:
        admin = await self.admin.login()
        labels = [{"name": "car", "attributes": [*CAR, COUNT]}, {"name": "truck"}]
        self.project = (await admin.post("/api/projects", {"name": "p", "labels": labels}))["id"]
        listed = (await admin.get("/api/webhooks/events", type="project"))["events"]
        hook = {"target_url": "http://127.0.0.1:1/x", "type": "project"}
        events = [event["key"] for event in listed]
        await admin.post("/api/webhooks", hook | {"project_id": self.project, "events": events})
        wanted = {"name": "t", "project_id": self.project}
        self.task = (await admin.post("/api/tasks", wanted))["id"]
        self.accepted = await admin.upload(self.task, {"a.jpg": jpeg(8, 8)})
        self.job = (await admin.get("/api/jobs", task_id=self.task))["results"][0]["id"]
        shown = (await admin.get("/api/labels", task_id=self.task))["results"]
        self.car, self.truck = (label["id"] for label in shown)
        self.specs = [spec["id"] for spec in shown[0]["attributes"]]
        self.path = f"/api/jobs/{self.job}/annotations"
        return self

    def box(self, **members: Any) -> dict[str, Any]:
        shape = {"type": "rectangle", "frame": 0, "label_id": self.car, "points": [1, 2, 3, 4]}
        return shape | members

    async def create(self, *shapes: dict[str, Any]) -> Any:
        return await self.admin.patch(self.path, {"shapes": shapes}, action="create")

    async def read(self) -> Any:
        return await self.admin.get(self.path)

    async def hears(self) -> list[dict[str, Any]]:
        """Return the bodies since the last call."""
        await self.sandbox.outbox.drain()
        bodies = self.heard.bodies
        self.heard.requests.clear()
        return bodies


@pytest.fixture
async def newer() -> Newer:
    return await Newer().build()
