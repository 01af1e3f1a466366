"""Answers hold to CVAT's own OpenAPI schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator

from tests.daemon.sandbox.conftest import World

SCHEMA = Path(__file__).parents[4] / "shared" / "reference" / "cvat-schema-2.15.yml"
pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="the schema is not on this machine")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load(SCHEMA.read_text(), Loader=loader)
    return dict(_corrected(loaded))


def _corrected(node: Any) -> Any:
    """Say what the schema means where the real server's own answers break its letter.

    A nullable reference is written as `allOf` beside `nullable`, which no
    validator takes for nullable; a delivery's `response` is text.
    """
    if isinstance(node, list):
        return [_corrected(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: _corrected(each) for name, each in node.items()}
    if node.get("nullable") and "allOf" in node:
        return {"anyOf": [{"enum": [None], "nullable": True}, {"allOf": node["allOf"]}]}
    if "changed_fields" in node and "response" in node:
        node["response"] = {"type": "string"}
    return node


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/projects", "PaginatedProjectReadList"),
        ("/api/projects/{project}", "ProjectRead"),
        ("/api/tasks", "PaginatedTaskReadList"),
        ("/api/tasks/{task}", "TaskRead"),
        ("/api/tasks/{task}/data/meta", "DataMetaRead"),
        ("/api/tasks/{task}/status", "RqStatus"),
        ("/api/tasks/{task}/annotations", "LabeledData"),
        ("/api/jobs", "PaginatedJobReadList"),
        ("/api/jobs/{first}", "JobRead"),
        ("/api/jobs/{first}/annotations", "LabeledData"),
        ("/api/labels", "PaginatedLabelList"),
        ("/api/labels/{car}", "Label"),
        ("/api/issues", "PaginatedIssueReadList"),
        ("/api/comments", "PaginatedCommentReadList"),
        ("/api/users/self", "User"),
        ("/api/users", "PaginatedMetaUserList"),
        ("/api/webhooks", "PaginatedWebhookReadList"),
        ("/api/webhooks/1/deliveries", "PaginatedWebhookDeliveryReadList"),
        ("/api/organizations", "PaginatedOrganizationReadList"),
        ("/api/server/about", "About"),
    ],
)
async def test_an_answer_is_valid_against_the_schema(
    world: World, schema: dict[str, Any], path: str, named: str
) -> None:
    """A client that is generated from the schema can read it."""
    issue = {"job": world.first, "frame": 0, "position": [1, 2], "message": "look"}
    await world.admin.post("/api/issues", issue)
    await world.admin.post("/api/organizations", {"slug": "org"})
    await world.create(world.box())
    await world.sandbox.outbox.drain()
    validator = OAS30Validator({"$ref": f"#/components/schemas/{named}", **schema})

    answer = await world.admin.get(path.format(**vars(world)))

    assert world.admin.status == 200
    assert [f"{list(e.path)}: {e.message}"[:300] for e in validator.iter_errors(answer)] == []
