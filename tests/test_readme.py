"""The README's sessions, typed into a shell as they stand there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image

README = Path(__file__).parents[1] / "README.md"
BIN = Path(sys.executable).parent
COMMAND_S = 60
REACTION_S = 30
BLOCK = re.compile(r"(?:<!-- (?P<stage>[^>]*) -->\n)?```console\n(?P<session>.*?)```", re.DOTALL)


@dataclass
class Shell:
    """A shell in an empty folder, with a free port in place of the README's."""

    folder: Path
    port: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, line: str) -> str:
        """Type a line; return what it printed. A line that ends in `&` goes on."""
        line = line.replace("8080", str(self.port))
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}
        if line.endswith("&"):
            self._start(line.removesuffix("&"), environment)
            return ""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        # 3: there are differences, or something waits for a decision.
        assert done.returncode in (0, 3), f"{line}: {done.stderr.decode()}"
        return done.stdout.decode().replace(str(self.port), "8080")

    def _start(self, line: str, environment: dict[str, str]) -> None:
        said = self.folder / f"{len(self.running)}.log"
        with said.open("wb") as log:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.running.append(started)
        wanted = b"CVAT sandbox" if "sandbox" in line else b'"serving"'
        _until(lambda: wanted in said.read_bytes(), f"{line}: it does not start")

    def stop(self) -> None:
        """End what still runs."""
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            process.wait(COMMAND_S)

    def observations(self) -> int:
        """Count the reads of jobs that the log holds."""
        return self.run("labeltrail log --type AnnotationsObserved --json").count("\n")


def _until(condition: Any, complaint: str) -> None:
    """Look until something in another process is so."""
    end = time.monotonic() + REACTION_S
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.05)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Begin in a folder with settings that keep everything inside."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "labeltrail.toml").write_text('[data]\nfolder = "data"\n[http]\nport = 0\n')
    shell = Shell(tmp_path, port)
    with contextlib.ExitStack() as stack:
        stack.callback(shell.stop)
        yield shell


@pytest.mark.timeout(180)
def test_the_readmes_sessions_run_as_they_stand_there(shell: Shell) -> None:
    """A newcomer types these lines first; one that is wrong costs the newcomer."""
    blocks = list(BLOCK.finditer(README.read_text("utf-8")))

    for block in blocks:
        if block["stage"]:
            STAGES[block["stage"]](shell)
        for line, expected in _lines(block["session"]):
            printed = shell.run(line)
            assert _matches(printed, expected), f"$ {line}\n{printed}"

    assert len(blocks) == 5
    assert {block["stage"] for block in blocks} - {None} == STAGES.keys()


def _lines(session: str) -> Iterator[tuple[str, str]]:
    for part in session.split("$ ")[1:] if session.startswith("$ ") else []:
        line, _, expected = part.partition("\n")
        yield line, expected


def _matches(printed: str, expected: str) -> bool:
    """Compare as doctest does: "…" stands for anything, runs of blanks are one."""
    if not expected.strip():
        return True
    pieces = [" ".join(line.split()) for line in expected.strip().splitlines()]
    pattern = "\n".join(re.escape(piece).replace("…", ".*?") for piece in pieces)
    shown = "\n".join(" ".join(line.split()) for line in printed.strip().splitlines())
    return re.fullmatch(pattern, shown, re.DOTALL) is not None


# What people do in CVAT, and what a user has on disk, between the README's blocks.


async def _session(shell: Shell, *requests: Any) -> Any:
    url = f"http://127.0.0.1:{shell.port}"
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        login = {"username": "annotator1", "password": "pw1"}
        async with http.post("/api/auth/login", json=login) as answer:
            http.headers["Authorization"] = f"Token {(await answer.json())['key']}"
        return [await request(http) for request in requests]


async def _json(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with http.request(method, path, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


def _makes_a_project(shell: Shell) -> None:
    async def make(http: aiohttp.ClientSession) -> None:
        spec = {"name": "street", "labels": [{"name": "car", "attributes": []}]}
        project = await _json(http, "POST", "/api/projects", spec)
        task = await _json(
            http, "POST", "/api/tasks", {"name": "monday", "project_id": project["id"]}
        )
        form = aiohttp.FormData()
        form.add_field("image_quality", "75")
        for number in range(2):
            name = f"{number}.jpg"
            form.add_field(f"client_files[{number}]", _jpeg(), filename=name)
        async with http.post(f"/api/tasks/{task['id']}/data", data=form) as answer:
            answer.raise_for_status()

    asyncio.run(_session(shell, make))


def _draws_and_moves(shell: Shell) -> None:
    box: dict[str, Any] = {}

    async def draw(http: aiohttp.ClientSession) -> None:
        labels = await _json(http, "GET", "/api/labels?job_id=1")
        shape = {
            "type": "rectangle",
            "frame": 0,
            "label_id": labels["results"][0]["id"],
            "points": [10, 20, 110, 80],
            "attributes": [],
        }
        written = await _save(http, 1, "create", shape)
        box.update(written["shapes"][0])

    async def move(http: aiohttp.ClientSession) -> None:
        await _save(http, 1, "update", {**box, "points": [30, 20, 110, 80]})

    _until(lambda: shell.observations() == 1, "job 1 was not recorded")
    asyncio.run(_session(shell, draw))
    _until(lambda: shell.observations() == 2, "the box was not recorded")
    asyncio.run(_session(shell, move))
    _until(lambda: shell.observations() == 3, "the move was not recorded")


def _edits_the_run(shell: Shell) -> None:
    async def edit(http: aiohttp.ClientSession) -> None:
        http.headers["Authorization"] = f"Token {await _admin_key(shell)}"
        jobs = await _json(http, "GET", "/api/jobs?page_size=100&sort=id")
        job = jobs["results"][1]["id"]
        shapes = (await _json(http, "GET", f"/api/jobs/{job}/annotations"))["shapes"]
        left, top, *corner = shapes[0]["points"]
        await _save(http, job, "update", {**shapes[0], "points": [left + 5, top, *corner]})
        await _save(http, job, "delete", shapes[1])

    asyncio.run(_session(shell, edit))


async def _admin_key(shell: Shell) -> str:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{shell.port}") as http:
        login = {"username": "admin", "password": "admin"}
        return str((await _json(http, "POST", "/api/auth/login", login))["key"])


async def _save(http: aiohttp.ClientSession, job: int, action: str, shape: Any) -> Any:
    body = {"version": 0, "tags": [], "tracks": [], "shapes": [shape]}
    return await _json(http, "PATCH", f"/api/jobs/{job}/annotations?action={action}", body)


def _jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (320, 240)).save(made, "JPEG")
    return made.getvalue()


def _exports(shell: Shell) -> None:
    folder = shell.folder / "export"
    (folder / "data").mkdir(parents=True)
    samples = [_sample(number) for number in range(4)]
    for sample in samples:
        (folder / str(sample["filepath"])).write_bytes(_jpeg())
    (folder / "samples.json").write_bytes(orjson.dumps({"samples": samples}))
    fields = [{"name": "ground_truth", "embedded_doc_type": "fiftyone.core.labels.Detections"}]
    metadata = {"name": "streets", "media_type": "image", "sample_fields": fields}
    (folder / "metadata.json").write_bytes(orjson.dumps(metadata))


def _sample(number: int) -> dict[str, Any]:
    boxes = [
        {
            "_id": {"$oid": f"{16 * number + nth:024x}"},
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": "car",
            "bounding_box": [0.1 + 0.3 * nth, 0.2, 0.25, 1 / 3],
        }
        for nth in range(2)
    ]
    return {
        "_id": {"$oid": f"{4096 + number:024x}"},
        "filepath": f"data/{number}.jpg",
        "tags": [],
        "_media_type": "image",
        "ground_truth": {"_cls": "Detections", "detections": boxes},
    }


STAGES = {
    "annotator: makes project 1 with a task of two images": _makes_a_project,
    "annotator: draws a box, then moves its left edge": _draws_and_moves,
    "dataset: an export with 4 samples and 8 boxes in ground_truth": _exports,
    "annotator: moves one box of the run and deletes another": _edits_the_run,
}
