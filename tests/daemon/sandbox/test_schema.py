"""Answers hold to CVAT's own OpenAPI schema.

The replays check every answer that the schema describes (`tests/conformance/schema.py`);
here are documents that no recording has, and a check of the checker.
"""

from __future__ import annotations

import pytest

from tests.conformance.recording import read
from tests.conformance.schema import SCHEMA, is_described, violation
from tests.conformance.sessions import LARGE, SESSIONS
from tests.daemon.sandbox.conftest import World

pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="the schema is not on this machine")


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects",
        "/api/projects/{project}",
        "/api/tasks",
        "/api/tasks/{task}",
        "/api/tasks/{task}/data/meta",
        "/api/tasks/{task}/status",
        "/api/tasks/{task}/annotations",
        "/api/jobs",
        "/api/jobs/{first}",
        "/api/jobs/{first}/annotations",
        "/api/jobs/{first}/data/meta",
        "/api/labels",
        "/api/labels/{car}",
        "/api/issues",
        "/api/issues/1",
        "/api/comments",
        "/api/comments/1",
        "/api/users/self",
        "/api/users",
        "/api/users/2",
        "/api/webhooks",
        "/api/webhooks/1",
        "/api/webhooks/1/deliveries",
        "/api/webhooks/1/deliveries/1",
        "/api/organizations",
        "/api/organizations/1",
        "/api/server/about",
    ],
)
async def test_an_answer_is_valid_against_the_schema(world: World, path: str) -> None:
    """A client that is generated from the schema can read it."""
    issue = {"job": world.first, "frame": 0, "position": [1, 2], "message": "look"}
    await world.admin.post("/api/issues", issue)
    await world.admin.post("/api/organizations", {"slug": "org"})
    await world.create(world.box())
    await world.sandbox.outbox.drain()
    asked = path.format(**vars(world))

    answer = await world.admin.get(asked)

    assert world.admin.status == 200
    assert is_described("GET", asked, 200)
    assert violation("GET", asked, 200, answer) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if session.name in LARGE else ())
        for session in SESSIONS
        if session.version == "2.15"
        for name in session.recordings
    ],
)
def test_what_the_real_server_answered_is_valid_as_we_read_the_schema(name: str) -> None:
    """Else the checker would refuse the truth, or we had bent the schema to our answers."""
    exchanges = read(name, "2.15")
    if exchanges is None:
        pytest.skip("the recording is not on this machine")
    described = [
        each
        for each in exchanges
        if each.answered is not None and is_described(each.method, each.path, each.status)
    ]

    found = [violation(each.method, each.path, each.status, each.answered) for each in described]

    assert [text for text in found if text] == []
    # The rest are refusals, writes of annotations and uploads, of which the schema says nothing.
    assert len(described) > len(exchanges) / 2
