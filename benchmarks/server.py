"""A task with boxes on a CVAT server, made over REST as an annotator's browser would."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Any

import aiohttp
from PIL import Image

LOOKS_MAX = 300


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
        await call(http, "PATCH", path, _labeled([shape]))


async def labelled_task(http: aiohttp.ClientSession, *, boxes: int) -> Job:
    """Log in, make a project with one task of one image, and draw boxes."""
    login = await call(http, "POST", "/api/auth/login", {"username": "admin", "password": "admin"})
    http.headers["Authorization"] = f"Token {login['key']}"
    labels = [{"name": "car", "attributes": []}]
    project = await call(http, "POST", "/api/projects", {"name": "bench", "labels": labels})
    task = await call(http, "POST", "/api/tasks", {"name": "t", "project_id": project["id"]})
    form = aiohttp.FormData()
    form.add_field("image_quality", "75")
    form.add_field("client_files[0]", _jpeg(), filename="a.jpg")
    async with http.post(f"/api/tasks/{task['id']}/data", data=form) as answer:
        answer.raise_for_status()
    job = await _first_job(http, task["id"])
    label = (await call(http, "GET", f"/api/labels?job_id={job}"))["results"][0]["id"]
    drawn = _labeled([_box(label, nth) for nth in range(boxes)])
    written = await call(http, "PATCH", f"/api/jobs/{job}/annotations?action=create", drawn)
    return Job(project["id"], job, written["shapes"])


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    """Return the answer to a request."""
    async with http.request(method, path, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _first_job(http: aiohttp.ClientSession, task: int) -> int:
    for _ in range(LOOKS_MAX):
        found = (await call(http, "GET", f"/api/jobs?task_id={task}"))["results"]
        if found:
            return int(found[0]["id"])
        await asyncio.sleep(0.1)
    raise TimeoutError("the task got no job")


def _labeled(shapes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": 0, "tags": [], "shapes": shapes, "tracks": []}


def _box(label: int, nth: int) -> dict[str, Any]:
    left, top = nth % 40 * 7.5, nth // 40 * 9.5
    points = [left, top, left + 6.25, top + 8.75]
    return {"type": "rectangle", "frame": 0, "label_id": label, "points": points, "attributes": []}


def _jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (320, 240)).save(made, "JPEG")
    return made.getvalue()
