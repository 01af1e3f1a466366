"""A project with a task of two jobs in a sandbox without sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from daemon.sandbox import Sandbox
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
