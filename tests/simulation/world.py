"""The world outside the process: a server, annotators, a dataset, and a network that loses things.

One seed decides everything in it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from daemon.ports.store import Appended
from daemon.sandbox import Faults, Sandbox
from daemon.sandbox.annotations import Reader
from daemon.store.memory import MemoryStore
from events.dataset import DatasetOpened, SamplesAdded
from events.envelope import NewEvent, Recorded
from events.registry import Fact
from tests.fakes.clock import FakeClock
from tests.simulation.truth import Facets, Key, Truth

USERS = {"admin": "admin", "bob": "bob", "carol": "carol"}
WIDTH_PX, HEIGHT_PX = 320, 240
DELIVERIES = 600
CLASSES = ("bus", "car", "dog")
WEATHER = ("rain", "sun")
KINDS = {"tags": "tag", "shapes": "shape", "tracks": "track"}

Receive = Callable[[bytes, str | None], Awaitable[None]]


@cache
def picture() -> bytes:
    """Return one small image."""
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH_PX, HEIGHT_PX)).save(buffer, "PNG")
    return buffer.getvalue()


def oid(number: int) -> str:
    """Return a document id."""
    return f"{number:024x}"


def sample(number: int, folder: Path) -> dict[str, Any]:
    """Return a sample with three boxes, one of them with an odd number, and a class."""
    path = folder / f"{number}.png"
    if not path.exists():
        path.write_bytes(picture())
    boxes = [
        {
            "_id": {"$oid": oid(1000 + number * 10 + k)},
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": CLASSES[k % 2],
            "bounding_box": [0.1 + k / 7, 0.1 * k, 0.2, {"$number": "0.250"}],
            "score": k / 3,
            "crowd": k == 1,
        }
        for k in range(3)
    ]
    weather = {
        "_id": {"$oid": oid(2000 + number)},
        "_cls": "Classification",
        "tags": [],
        "label": WEATHER[number % 2],
    }
    document = {
        "_id": {"$oid": oid(number)},
        "filepath": str(path),
        "tags": [],
        "gt": {"_cls": "Detections", "detections": boxes},
    }
    return document | ({"weather": weather} if number % 2 else {})


FIELDS = [
    {"name": "gt", "embedded_doc_type": "fiftyone.core.labels.Detections"},
    {"name": "weather", "embedded_doc_type": "fiftyone.core.labels.Classification"},
]


class Disk(MemoryStore):
    """The log, which outlives the process; each event that comes to be on it is looked at."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.witnesses: list[Callable[[Recorded, Fact], None]] = []

    async def append(self, *args: Any, **options: Any) -> Appended:
        before = await self.head()
        appended = await super().append(*args, **options)
        reader = self.reader()
        for event in reader.read(after=before):
            fact = reader.fact(event)
            for witness in self.witnesses:
                witness(event, fact)
        return appended


class World:
    """Everything that goes on when the process dies.

    careless  somebody saves with a tool that renews ids, clears `label_id` and places boxes anew
    """

    def __init__(
        self, seed: int, folder: Path, *, faulty: bool = True, careless: bool = False
    ) -> None:
        self.rng = Random(seed)
        self.careless = careless
        self.clock = FakeClock()
        self.truth = Truth()
        self.folder = folder
        self.disk = Disk(self.clock)
        self.receive: Receive | None = None
        self.faults = self._faults() if faulty else Faults(task_creation_s=0.0)
        self.sandbox = Sandbox(
            users=USERS,
            clock=self.clock,
            faults=self.faults,
            port=None,
            on_delivery=self._deliver,
        )
        for user in self.sandbox.state.users.values():
            user.is_admin = True
        self.counts = self.truth.counts

    def _faults(self) -> Faults:
        faults = Faults(task_creation_s=0.0)
        for number in range(1, DELIVERIES):
            match self.rng.random():
                case dice if dice < 0.08:
                    faults.lose.add(number)
                case dice if dice < 0.14:
                    faults.repeat.add(number)
                case dice if dice < 0.18:
                    faults.delay_s[number] = self.rng.uniform(0.1, 20)
                case dice if dice < 0.24:
                    faults.hold_back[number] = self.rng.randint(1, 6)
                case dice if dice < 0.30:
                    faults.shuffle_keys.add(number)
        return faults

    async def _deliver(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.counts["deliveries"] += 1
        if self.receive is None:
            self.counts["deliveries while down"] += 1
            raise ConnectionRefusedError
        await self.receive(body, headers.get("X-Signature-256"))
        return 204

    async def open_dataset(self, samples: int) -> None:
        """Put a dataset into the log."""
        documents = tuple(sample(number, self.folder) for number in range(samples))
        facts = (
            DatasetOpened(format="fiftyone", metadata={"sample_fields": FIELDS}),
            SamplesAdded(samples=documents),
        )
        events = [NewEvent(id=self.clock.new_id(), stream="dataset/d", fact=fact) for fact in facts]
        await self.disk.append(events)

    # Requests

    def user(self, name: str) -> int:
        """Return the id of a user."""
        return next(u.id for u in self.sandbox.state.users.values() if u.username == name)

    def jobs(self) -> list[int]:
        """Return the jobs on the server."""
        return sorted(self.sandbox.state.jobs)

    async def ask(
        self, user: str, method: str, path: str, query: str = "", body: Any = None
    ) -> Any:
        """Make a request as somebody."""
        key = next(u.key for u in self.sandbox.state.users.values() if u.username == user)
        headers = {"Authorization": f"Token {key}", "Content-Type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        status, _, answer = await self.sandbox.dispatch(method, path, query, headers, content)
        assert 200 <= status < 300, (status, answer)
        return json.loads(answer) if answer else None

    async def annotate(
        self,
        user: str,
        job: int,
        method: str,
        action: str,
        body: Mapping[str, Any],
        renamed: Callable[[Any], Mapping[Key, Key]] = lambda _: {},
    ) -> Any:
        """Write annotations as somebody, and note the truth about it."""
        query = f"action={action}" if action else ""
        answer = await self.ask(user, method, f"/api/jobs/{job}/annotations", query, body)
        self.note(job, self.user(user), renamed(answer))
        return answer

    def note(self, job: int, user: int, renamed: Mapping[Key, Key] | None = None) -> None:
        """Note the job as it is now, as somebody's doing."""
        row = self.sandbox.state.jobs[job]
        self.truth.write(job, row.updated, user, self.shown(job), renamed or {})

    def overhear(self, method: str, path: str) -> None:
        """Note what our own process wrote."""
        if method != "GET" and path.endswith("/annotations"):
            self.note(int(path.split("/")[3]), self.user("admin"))

    def shown(self, job: int) -> dict[Key, Facets]:
        """Return what a job shows, by kind and id."""
        row = self.sandbox.state.jobs[job]
        labels = self.sandbox.state.labels_of(self.sandbox.state.tasks[row.task])
        document = Reader(labels).document(row)
        classes = {label.id: label.name for label in labels}
        specs = {spec.id: spec.name for label in labels for spec in label.specs.values()}
        return {
            (kind, item["id"]): _facets(item, classes, specs)
            for plural, kind in KINDS.items()
            for item in document[plural]
        }

    def specs_of(self, job: int, name: str) -> tuple[int, dict[str, int]]:
        """Return the id of a class and of its attributes."""
        row = self.sandbox.state.jobs[job]
        labels = self.sandbox.state.labels_of(self.sandbox.state.tasks[row.task])
        label = next(label for label in labels if label.name == name)
        return label.id, {spec.name: spec.id for spec in label.specs.values()}


def _facets(
    item: Mapping[str, Any], classes: Mapping[int, str], specs: Mapping[int, str]
) -> Facets:
    facets: Facets = {"class": classes[item["label_id"]], "frame": item["frame"]}
    if "points" in item:
        facets |= {"geometry": item["points"], "rotation": item["rotation"]}
        facets |= {"occluded": item["occluded"]}
    for value in item["attributes"]:
        facets["attribute:" + specs[value["spec_id"]]] = value["value"]
    return facets


def date_us(text: str) -> int:
    """Read a date as CVAT writes it."""
    if not text:
        return 0
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)
