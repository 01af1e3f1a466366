"""One person in CVAT's editor, over REST.

A save by CVAT's web editor is up to three requests, an update, a delete and a create, with pauses
between them. Whoever reads the job in such a pause sees half a save.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final, Self

import aiohttp

from events.errors import SyncError

Json = dict[str, Any]
KINDS: Final = ("tags", "shapes", "tracks")
ANSWER_S: Final = 20.0


class NotSaved(SyncError):
    """The sandbox refused what an annotator of the demo did."""


class Editor:
    """A logged-in annotator. heard: told of the classes that a job has, once a job."""

    def __init__(self, url: str, name: str, heard: Callable[[int, list[Json]], None]) -> None:
        self.name = name
        self.dates: dict[int, str] = {}
        self._heard = heard
        self._labels: dict[int, list[Json]] = {}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        self._session = aiohttp.ClientSession(url, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def login(self, password: str) -> None:
        """Log in."""
        sent = {"username": self.name, "password": password}
        key = (await self.ask("POST", "/api/auth/login", sent))["key"]
        self._session.headers["Authorization"] = f"Token {key}"

    async def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """Do one request. Raises NotSaved."""
        async with self._session.request(method, path, json=body) as response:
            if response.status >= 300:
                raise NotSaved(
                    "the sandbox refused a request of the demo",
                    user=self.name,
                    request=f"{method} {path}",
                    status=response.status,
                    answer=(await response.text())[:200],
                )
            return await response.json(content_type=None) if response.status != 204 else None

    async def open(self, job: int) -> Json:
        """Open a job: its classes once, its annotations."""
        if job not in self._labels:
            found = await self.ask("GET", f"/api/labels?job_id={job}&page_size=100")
            self._labels[job] = found["results"]
            self._heard(job, found["results"])
        found = await self.ask("GET", f"/api/jobs/{job}/annotations")
        for kind in KINDS:
            found[kind].sort(key=lambda item: item["id"])
        return dict(found)

    async def save(
        self,
        job: int,
        *,
        update: Sequence[Json] = (),
        delete: Sequence[Json] = (),
        create: Sequence[Json] = (),
        pause_s: float = 0.0,
    ) -> None:
        """Save as the web editor does."""
        for action, items in (("update", update), ("delete", delete), ("create", create)):
            if items:
                await self.send(job, action, items)
                await asyncio.sleep(pause_s)

    async def send(self, job: int, action: str, items: Sequence[Json]) -> None:
        """Send one of the requests of a save; the sender moves the job's date."""
        path = f"/api/jobs/{job}/annotations?action={action}"
        await self.ask("PATCH", path, _document(items))
        await self._note_date(job)

    async def renumber(self, job: int) -> None:
        """Write all annotations of a job back without their ids: CVAT gives each a new one."""
        found = await self.open(job)
        items = [_without_id(item) for kind in KINDS for item in found[kind]]
        await self.ask("PUT", f"/api/jobs/{job}/annotations", _document(items))
        await self._note_date(job)

    async def _note_date(self, job: int) -> None:
        self.dates[job] = (await self.ask("GET", f"/api/jobs/{job}"))["updated_date"]

    # Edits: each gives what to save, and leaves what was opened as it is.

    def moved(self, shape: Json, right_px: float, down_px: float) -> Json:
        """Drag a box."""
        x0, y0, x1, y1 = shape["points"]
        points = [x0 + right_px, y0 + down_px, x1 + right_px, y1 + down_px]
        return {**shape, "points": points}

    def relabelled(self, job: int, item: Json, name: str) -> Json:
        """Give an annotation another class; values are sent again under its spec ids."""
        names = {one["spec_id"]: self._spec_name(job, one["spec_id"]) for one in item["attributes"]}
        label = self._label(job, name)
        specs = {spec["name"]: spec["id"] for spec in label["attributes"]}
        values = [
            {"spec_id": specs[names[one["spec_id"]]], "value": one["value"]}
            for one in item["attributes"]
            if names[one["spec_id"]] in specs
        ]
        return {**item, "label_id": label["id"], "attributes": values}

    def with_value(self, job: int, item: Json, name: str, value: str) -> Json:
        """Change one attribute."""
        changed = deepcopy(item)
        for one in changed["attributes"]:
            if self._spec_name(job, one["spec_id"]) == name:
                one["value"] = value
        return changed

    def value_of(self, job: int, item: Json, name: str) -> str:
        """Return the value of an attribute."""
        values = item["attributes"]
        found = (one for one in values if self._spec_name(job, one["spec_id"]) == name)
        return str(next(found)["value"])

    def drawn(self, job: int, name: str, frame: int, points_px: Sequence[float]) -> Json:
        """Draw a box; what is not filled in, CVAT fills in."""
        return {
            "type": "rectangle",
            "label_id": self._label(job, name)["id"],
            "frame": frame,
            "points": list(points_px),
            "attributes": [],
        }

    def copied(self, shape: Json, frame: int) -> Json:
        """Paste a box onto another frame; all attributes come along, the `label_id` too."""
        return {**_without_id(shape), "frame": frame}

    def _label(self, job: int, name: str) -> Json:
        return next(label for label in self._labels[job] if label["name"] == name)

    def _spec_name(self, job: int, spec_id: int) -> str:
        specs = [spec for label in self._labels[job] for spec in label["attributes"]]
        return str(next(spec["name"] for spec in specs if spec["id"] == spec_id))


def _without_id(item: Json) -> Json:
    return {name: value for name, value in item.items() if name != "id"}


def _document(items: Sequence[Json]) -> Json:
    found: Json = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    for item in items:
        found["shapes" if "points" in item else "tags"].append(item)
    return found
