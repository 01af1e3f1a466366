"""What the sandbox does not do is one list, and the list only becomes shorter."""

from __future__ import annotations

import pytest

from daemon.sandbox.routes import TABLE
from daemon.sandbox.unsupported import ENDPOINTS, FEATURES
from tests.conformance.schema import SCHEMA, operations
from tests.daemon.sandbox.conftest import World

# Lower these when something was added; never raise them.
ENDPOINTS_MAX = 74
FEATURES_MAX = 4
UPLOAD = "00000000-0000-0000-0000-000000000000"


def test_the_list_only_becomes_shorter() -> None:
    """Whoever adds an endpoint takes it off the list and lowers the number."""
    listed = {(method, path) for path, methods in ENDPOINTS.items() for method in methods}

    assert len(listed) <= ENDPOINTS_MAX
    assert len(FEATURES) <= FEATURES_MAX
    assert not listed & set(TABLE)


@pytest.mark.skipif(not SCHEMA.exists(), reason="the OpenAPI schema is not on this machine")
def test_every_endpoint_of_the_schema_is_there_or_listed() -> None:
    """Nothing is missing unseen."""
    listed = {(method, path) for path, methods in ENDPOINTS.items() for method in methods}

    known = set(operations())

    assert known - set(TABLE) == listed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/cloudstorages", 501),
        ("POST", "/api/tasks/1/annotations", 501),
        ("GET", "/api/tasks/1/annotations?format=COCO", 501),
        ("PUT", "/api/tasks/1", 405),
        ("GET", "/api/nothing", 404),
    ],
)
async def test_what_is_not_covered_says_so(
    world: World, method: str, path: str, status: int
) -> None:
    """501 is the sandbox's word for it; it is never taken for CVAT's own answer."""
    target, _, query = path.partition("?")
    options = dict(part.split("=") for part in query.split("&") if part)

    await world.admin.send(method, target, **options)

    assert world.admin.status == status


@pytest.mark.parametrize("name", ["server_files", "remote_files", "cloud_storage_id"])
async def test_media_from_elsewhere_are_not_covered(world: World, name: str) -> None:
    """The sandbox must not make a task without them and call it finished."""
    task = (await world.admin.post("/api/tasks", {"name": "x", "project_id": world.project}))["id"]
    wanted = {"image_quality": 75, name: ["a.jpg"]}

    await world.admin.post(f"/api/tasks/{task}/data", wanted)

    assert world.admin.status == 501


async def test_whatever_is_listed_answers_501(world: World) -> None:
    """The list is what the server does, not what somebody wrote down once."""
    answers = {}

    for path, methods in ENDPOINTS.items():
        for method in methods:
            asked = path.replace("{id}", "1").replace("{uuid}", UPLOAD)
            await world.admin.send(method, asked)
            answers[method, path] = world.admin.status

    assert {where: status for where, status in answers.items() if status != 501} == {}
    assert len(answers) == ENDPOINTS_MAX
