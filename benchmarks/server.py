"""A task with boxes on a CVAT server, made over REST as an annotator's browser would.

The soak of the tests makes its task here, too.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Any

import aiohttp
from PIL import Image

LOOKS_MAX = 300
BOXES = 100


@dataclass
class Job:
    """One job with boxes."""

    project: int
    job: int
    shapes: list[dict[str, Any]]
    moved: int = 0

    async def move(self, http: aiohttp.ClientSession) -> None:
        """Save one moved box."""
        shape = self.shapes[self.moved % len(self.shapes)]
        self.moved += 1
        shape["points"][0] += 1.5
        path = f"/api/jobs/{self.job}/annotations?action=update"
        await call(http, "PATCH", path, document([shape]))


@dataclass
class Run:
    """Jobs of one frame with BOXES boxes each: job → its boxes."""

    jobs: dict[int, list[dict[str, Any]]]

    async def move(self, http: aiohttp.ClientSession, nth: int) -> int:
        """Save one moved box in one of the jobs; return which."""
        job = list(self.jobs)[nth * 7919 % len(self.jobs)]
        shape = self.jobs[job][nth % BOXES]
        shape["points"][0] += 1.5
        path = f"/api/jobs/{job}/annotations?action=update"
        await call(http, "PATCH", path, document([shape]))
        return job


async def run_of(http: aiohttp.ClientSession, *, jobs: int) -> Run:
    """Log in, make one task with so many jobs, and draw BOXES boxes in each."""
    await login(http, "admin", "admin")
    _, task = await new_task(http, images=jobs, segment_size=1)
    found = await jobs_of(http, task, jobs)
    label = (await call(http, "GET", f"/api/labels?task_id={task}"))["results"][0]["id"]
    run = Run({})
    for job in found:
        boxes = [_box(label, nth, frame=job["start_frame"]) for nth in range(BOXES)]
        path = f"/api/jobs/{job['id']}/annotations?action=create"
        run.jobs[job["id"]] = (await call(http, "PATCH", path, document(boxes)))["shapes"]
    return run


async def labelled_task(http: aiohttp.ClientSession, *, boxes: int) -> Job:
    """Log in, make a project with one task of one image, and draw boxes."""
    await login(http, "admin", "admin")
    project, task = await new_task(http, images=1, segment_size=0)
    job = (await jobs_of(http, task, 1))[0]["id"]
    label = (await call(http, "GET", f"/api/labels?job_id={job}"))["results"][0]["id"]
    drawn = document([_box(label, nth) for nth in range(boxes)])
    written = await call(http, "PATCH", f"/api/jobs/{job}/annotations?action=create", drawn)
    return Job(project, job, written["shapes"])


async def login(http: aiohttp.ClientSession, name: str, password: str) -> None:
    """Let a session be a person's."""
    sent = {"username": name, "password": password}
    key = (await call(http, "POST", "/api/auth/login", sent))["key"]
    http.headers["Authorization"] = f"Token {key}"


async def new_task(
    http: aiohttp.ClientSession, *, images: int, segment_size: int
) -> tuple[int, int]:
    """Return the ids of a new project, with the label `car`, and of its task."""
    labels = [{"name": "car", "attributes": []}]
    project = await call(http, "POST", "/api/projects", {"name": "bench", "labels": labels})
    wanted = {"name": "t", "project_id": project["id"], "segment_size": segment_size}
    task = await call(http, "POST", "/api/tasks", wanted)
    form = aiohttp.FormData()
    form.add_field("image_quality", "75")
    image = _jpeg()
    for nth in range(images):
        form.add_field(f"client_files[{nth}]", image, filename=f"{nth:06}.jpg")
    async with http.post(f"/api/tasks/{task['id']}/data", data=form) as answer:
        answer.raise_for_status()
    return project["id"], task["id"]


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    """Return the answer to a request."""
    async with http.request(method, path, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def jobs_of(http: aiohttp.ClientSession, task: int, count: int) -> list[dict[str, Any]]:
    """Wait until the task has its jobs, and return them."""
    for _ in range(LOOKS_MAX):
        found: list[dict[str, Any]] = []
        path: str | None = f"/api/jobs?task_id={task}&page_size=500"
        while path:
            page = await call(http, "GET", path)
            found += page["results"]
            path = page["next"]
        if len(found) == count:
            return found
        await asyncio.sleep(0.1)
    raise TimeoutError("the task did not get its jobs")


def document(shapes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the body of a request that writes boxes."""
    return {"version": 0, "tags": [], "shapes": shapes, "tracks": []}


def _box(label: int, nth: int, *, frame: int = 0) -> dict[str, Any]:
    left, top = nth % 40 * 7.5, nth // 40 * 9.5
    points = [left, top, left + 6.25, top + 8.75]
    return {
        "type": "rectangle",
        "frame": frame,
        "label_id": label,
        "points": points,
        "attributes": [],
    }


def _jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (320, 240)).save(made, "JPEG")
    return made.getvalue()
