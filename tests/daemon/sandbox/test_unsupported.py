"""What the sandbox does not do is one list, and the list only becomes shorter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.sandbox.routes import TABLE
from daemon.sandbox.unsupported import ENDPOINTS, FEATURES
from tests.daemon.sandbox.conftest import World

SCHEMA = Path(__file__).parents[4] / "shared" / "reference" / "cvat-schema-2.15.yml"
# Lower these when something was added; never raise them.
ENDPOINTS_MAX = 74
FEATURES_MAX = 4
METHODS = {"get", "post", "put", "patch", "delete"}


def template(path: str) -> str:
    named = path.rstrip("/").replace("{file_id}", "{uuid}")
    return re.sub(r"\{(?!uuid)\w+\}", "{id}", named)


def test_the_list_only_becomes_shorter() -> None:
    """Whoever adds an endpoint takes it off the list and lowers the number."""
    listed = {(method, path) for path, methods in ENDPOINTS.items() for method in methods}

    assert len(listed) <= ENDPOINTS_MAX
    assert len(FEATURES) <= FEATURES_MAX
    assert not listed & set(TABLE)


@pytest.mark.skipif(not SCHEMA.exists(), reason="the OpenAPI schema is not on this machine")
def test_every_endpoint_of_the_schema_is_there_or_listed() -> None:
    """Nothing is missing unseen."""
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text())
    known = {
        (method.upper(), template(path))
        for path, operations in schema["paths"].items()
        for method in operations
        if method in METHODS
    }
    listed = {(method, path) for path, methods in ENDPOINTS.items() for method in methods}

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
