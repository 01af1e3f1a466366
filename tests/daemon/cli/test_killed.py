"""Real processes, killed with SIGKILL while the server answers them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from daemon.sandbox import Faults, Sandbox
from daemon.sandbox.sandbox import Answer
from tests.daemon.cli.conftest import Desk

FIELD = {"name": "gt", "embedded_doc_type": "fiftyone.core.labels.Detections"}


class Deadly(Sandbox):
    """Calls `kill` at one request, before or after it was carried out; then waits a moment."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.requests = 0
        self.kills_at = 0
        self.after = False
        self.kill: Callable[[], None] = lambda: None

    async def dispatch(self, *args: Any) -> Answer:
        self.requests += 1
        hit = self.requests == self.kills_at
        if hit and not self.after:
            self.kill()
            raise ConnectionResetError
        answer = await super().dispatch(*args)
        if hit:
            self.kill()
        return answer


@pytest.fixture
def sandbox() -> Iterator[Deadly]:
    """Run a sandbox in a thread, as another machine would."""
    started, stop = threading.Event(), threading.Event()
    made: list[Deadly] = []

    async def run() -> None:
        async with Deadly(faults=Faults(task_creation_s=0.0)) as one:
            made.append(one)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait()
    try:
        yield made[0]
    finally:
        stop.set()
        thread.join()


def export(folder: Path) -> Path:
    """Write a FiftyOneDataset export of three images with a box each."""
    folder.mkdir()
    samples = []
    for number in range(3):
        Image.new("RGB", (64, 48)).save(folder / f"{number}.png")
        box = {
            "_id": {"$oid": f"{100 + number:024x}"},
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": "car",
            "bounding_box": [0.1, 0.1, 0.2, 0.3],
        }
        samples.append(
            {
                "_id": {"$oid": f"{number:024x}"},
                "filepath": str(folder / f"{number}.png"),
                "tags": [],
                "gt": {"_cls": "Detections", "detections": [box]},
            }
        )
    (folder / "samples.json").write_text(json.dumps({"samples": samples}))
    metadata = {
        "name": "d",
        "version": "1.8",
        "media_type": "image",
        "sample_fields": [FIELD],
        "info": {},
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_annotate_and_cleanup_survive_sigkill(desk: Desk, sandbox: Deadly, after: bool):
    """A sample of moments with real processes; each moment has its turn in `test_crashes`."""
    desk.run("server", "add", "main", sandbox.url, "--user", "admin", typed="admin\n")
    assert desk.run("dataset", "add", "d", str(export(desk.folder / "d"))).code == 0
    assert desk.run("dataset", "scan", "d").code == 0
    sandbox.after = after
    deaths = 0
    for words in (
        ["annotate", "d", "k", "--field", "gt", "--task-size", "2"],
        ["run", "cleanup", "d", "k", "--discard"],
    ):
        step = 0
        while True:
            step += 4
            process = desk.popen(*words)
            sandbox.kill, sandbox.kills_at = process.kill, sandbox.requests + step
            _, err = process.communicate(timeout=60)
            if process.returncode == 0:
                break
            assert process.returncode == -9, err
            deaths += 1
        sandbox.kills_at = 0
        if words[0] == "annotate":
            state = sandbox.state
            assert [task.subset for task in state.tasks.values()] == ["", ""]
            assert (len(state.projects), len(state.tasks), len(state.webhooks)) == (1, 2, 1)
            (run,) = desk.run("run", "info", "d", "k", "--json").objects
            assert (run["state"], [job["annotations"] for job in run["jobs"]]) == ("open", [2, 1])

    assert (sandbox.state.projects, sandbox.state.tasks, sandbox.state.webhooks) == ({}, {}, {})
    assert deaths >= 5
