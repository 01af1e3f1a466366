"""What keeps a daemon busy while it acknowledges deliveries: a scan, and a large job that changes.

Both go on until they are cancelled, through the product's own handlers: the manifest is read, all
its samples are appended, again and again as another dataset; the job's body is decoded in the
process pool, compared, and recorded. They have begun when samples are being appended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator, Sequence
from itertools import count
from pathlib import Path

import orjson

from benchmarks.changes import CLASSES
from config.settings import Dataset
from daemon.app import App
from daemon.handlers.carry_out import Journal
from daemon.handlers.scan import scan
from events.annotations import LabelSpec
from events.dataset import SamplesAdded
from events.envelope import NewEvent
from events.job import JobDiscovered
from events.registry import name_of
from projections.questions import WhatChanged

LABELS_A_SAMPLE = 10
SAMPLES_ADDED = name_of(SamplesAdded)
CREATED = "2026-11-22T10:00:00.000000Z"
LABELS = tuple(LabelSpec(id=number, name=name) for number, name in enumerate(CLASSES, 1))


def prepare(folder: Path, *, quick: bool) -> None:
    """Write a manifest of 1 GB, and two bodies of a job of 100,000 shapes.

    quick  10 MB and 5,000 shapes
    """
    dice = random.Random(7)
    manifest = folder / "manifest"
    manifest.mkdir()
    size_max = 10**7 if quick else 10**9
    with (manifest / "samples.json").open("wb") as file:
        for number, sample in enumerate(_samples(dice)):
            file.write((b", " if number else b'{"samples": [') + sample)
            if file.tell() > size_max:
                break
        file.write(b"]}")
    fields = [{"name": "filepath"}, {"name": "ground_truth"}]
    document = {"name": "busy", "media_type": "image", "sample_fields": fields}
    (manifest / "metadata.json").write_bytes(orjson.dumps(document))
    shapes = [_shape(dice, number) for number in range(1, (5_000 if quick else 100_000) + 1)]
    for name in ("before", "after"):
        body = {"version": 0, "tags": [], "shapes": shapes, "tracks": []}
        (folder / f"{name}.json").write_bytes(orjson.dumps(body))
        shapes[len(shapes) // 2]["points"] = [1.0, 2.0, 30.0, 40.0]


class Load:
    """What runs beside the deliveries."""

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._folder = folder
        self._saved = asyncio.Event()
        self._appending = asyncio.Event()
        self.appends = 0  # of samples
        app.store.hear(self._heard)

    def work(self) -> list[Coroutine[None, None, None]]:
        """Return what is to run until it is cancelled."""
        return [_scan(self._app, self._folder), _edit(self._app, self._folder, self._saved)]

    async def begun(self) -> None:
        """Wait until a save was recorded, and samples are being appended."""
        await self._saved.wait()
        self._appending.clear()
        await self._appending.wait()

    def _heard(self, events: Sequence[NewEvent], _seconds: float) -> None:
        # Decided in another process, they come as they are stored.
        kinds = [event.encoded.type for event in events if event.encoded is not None]
        if found := kinds.count(SAMPLES_ADDED):
            self.appends += found
            self._appending.set()


async def _scan(app: App, folder: Path) -> None:
    settings = Dataset(manifest=folder / "manifest", quiet_s=0.01)
    for number in count():
        report = await scan(
            f"busy{number}",
            settings,
            store=app.store,
            projections=app.projections,
            clock=app.clock,
            pool=app.pool,
            scratch=app.scratch,
        )
        assert report.outcome == "taken", report


async def _edit(app: App, folder: Path, saved: asyncio.Event) -> None:
    bodies = [(folder / f"{name}.json").read_bytes() for name in ("before", "after")]
    journal = Journal(app.store, app.projections, app.clock)
    saves = 0
    while True:
        read = WhatChanged(
            server="main",
            job=1,
            body=bodies[saves % 2],
            version=None,
            members=JobDiscovered(task=1, start_frame=0, stop_frame=99, created_date=CREATED),
            updated_date=f"2026-11-22T11:{saves // 60 % 60:02}:{saves % 60:02}.000000Z",
            labels=LABELS,
        )
        decision = await journal.carry_out(read, apart=app.pool)
        assert decision.drafts, "the save was not recorded"
        saves += 1
        saved.set()


def _samples(dice: random.Random) -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        detections = [
            {
                "_id": {"$oid": f"{number * LABELS_A_SAMPLE + nth:024x}"},
                "_cls": "Detection",
                "label": dice.choice(CLASSES),
                "bounding_box": [dice.random() for _ in range(4)],
            }
            for nth in range(LABELS_A_SAMPLE)
        ]
        yield orjson.dumps(
            {
                "_id": {"$oid": f"{number:024x}"},
                "filepath": f"images/{number:09}.jpg",
                "ground_truth": {"_cls": "Detections", "detections": detections},
            }
        )


def _shape(dice: random.Random, id: int) -> dict[str, object]:
    return {
        "id": id,
        "frame": id % 100,
        "label_id": id % len(CLASSES) + 1,
        "type": "rectangle",
        "points": [dice.uniform(0, 1000) for _ in range(4)],
        "attributes": [],
    }
