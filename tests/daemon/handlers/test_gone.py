"""When a job that cannot be found is called deleted, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.ports.cvat import Unauthorized
from daemon.sandbox import RequestFault
from events.job import JobDeleted
from tests.daemon.handlers.edges import Edge, play


def test_a_job_is_not_deleted_where_the_server_does_not_know_us_either(tmp_path: Path) -> None:
    """A proxy or a server in repair answers 404 to everything; a deletion is never guessed."""

    async def scene(edge: Edge) -> None:
        [job, *_] = await edge.annotate()
        await edge.process.watch.observe(job)
        edge.world.faults.requests = [
            RequestFault("before", "GET", f"/api/jobs/{job}", times=99, status=404),
            RequestFault("before", "GET", "/api/users/self", times=99, status=401),
        ]

        with pytest.raises(Unauthorized):
            await edge.process.watch.observe(job)

        assert edge.facts(JobDeleted) == []

    play(tmp_path, scene)
