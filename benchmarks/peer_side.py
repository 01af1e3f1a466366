"""What `eventsourcing` does with the same label changes, one an event, an aggregate a job.

Runs in an environment of its own (`benchmarks.peer`), as `peer_side.py CHANGES.json DATABASE`:
keeps the changes in SQLite, then replays all jobs once for each line on its standard input and
prints the seconds that took.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Job(Aggregate):
    """The annotations of a job by their id."""

    def __init__(self) -> None:
        self.shapes: dict[int, dict[str, Any]] = {}

    @event("Added")
    def add(self, shape: dict[str, Any]) -> None:
        """Hold one more."""
        self.shapes[shape["id"]] = shape

    @event("Changed")
    def change(self, id: int, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Hold other values of one."""
        self.shapes[id] |= new

    @event("Removed")
    def remove(self, shape: dict[str, Any]) -> None:
        """Hold one less."""
        del self.shapes[shape["id"]]


def fill(application: Application[UUID], saves: list[tuple[str, dict[str, Any]]]) -> list[UUID]:
    """Write the changes of all saves; return the ids of the jobs."""
    jobs: dict[str, Job] = {}
    for stream, save in saves:
        if stream not in jobs:
            jobs[stream] = Job()
        job = jobs[stream]
        for shape in save.get("removed", ()):
            job.remove(shape)
        for change in save.get("changed", ()):
            job.change(change["id"], change["old"], change["new"])
        for shape in save.get("added", ()):
            job.add(shape)
        application.save(job)
    return [job.id for job in jobs.values()]


def main(changes: str, database: str) -> None:
    """Fill, then replay as often as asked."""
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database}
    application = Application[UUID](env=environment)
    jobs = fill(application, json.loads(Path(changes).read_bytes()))
    print("filled", flush=True)
    for _ in sys.stdin:
        gc.collect()
        gc.disable()
        started = time.perf_counter()
        replayed = [application.repository.get(job) for job in jobs]
        took = time.perf_counter() - started
        assert all(job.shapes for job in replayed)
        del replayed
        gc.enable()
        print(took, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
