"""Pages, filters, order and search."""

from __future__ import annotations

import json

import pytest

from tests.daemon.sandbox.conftest import World


async def ids(world: World, **query: object) -> list[int]:
    return [row["id"] for row in (await world.admin.get("/api/jobs", **query))["results"]]


async def test_pages_link_to_each_other(world: World) -> None:
    """As the real server writes them: parameters sorted, page 1 without a number."""
    first = await world.admin.get("/api/jobs", task_id=world.task, page_size=1)
    second = await world.admin.get("/api/jobs", task_id=world.task, page_size=1, page=2)
    await world.admin.get("/api/jobs", page=99)

    query = f"page_size=1&task_id={world.task}"
    assert first["next"].endswith(f"/api/jobs?page=2&{query}")
    assert second["previous"].endswith(f"/api/jobs?{query}")
    assert second["next"] is None
    assert world.admin.status == 404


async def test_a_cursor_on_the_date_finds_what_changed_since(world: World) -> None:
    """How polling works without webhooks."""
    since = await world.date("job", world.second)
    await world.create(world.box())
    rule = {
        "and": [
            {">": [{"var": "updated_date"}, since]},
            {"==": [{"var": "project_id"}, world.project]},
        ]
    }

    found = await ids(world, filter=json.dumps(rule), sort="updated_date,id")

    assert found == [world.first]


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ({"==": [{"var": "state"}, "new"]}, 2),
        ({"!": {"==": [{"var": "state"}, "new"]}}, 0),
        ({"or": [{"==": [{"var": "id"}, 1]}, {"==": [{"var": "id"}, 2]}]}, 2),
        ({"in": [{"var": "id"}, [2, 3]]}, 1),
        ({"in": ["ew", {"var": "state"}]}, 2),
        ({"<=": [1, {"var": "id"}, 1]}, 1),
        ({"<": [{"var": "id"}, 2]}, 1),
        ({">": [{"var": "id"}, 1]}, 1),
    ],
)
async def test_filters_are_json_logic(world: World, rule: object, count: int) -> None:
    """All operators of CVAT's filter."""
    assert len(await ids(world, filter=json.dumps(rule))) == count


async def test_a_bad_filter_is_named(world: World) -> None:
    """The text is CVAT's."""
    answer = await world.admin.get("/api/jobs", filter="{bad")
    unknown = await world.admin.get("/api/jobs", filter='{"==": [{"var": "colour"}, 1]}')

    assert answer == ["filter: Json syntax should be used"]
    assert unknown == ["filter: 'colour' term is not supported"]


async def test_an_id_is_no_plain_parameter(world: World) -> None:
    """CVAT ignores it (recorded with FiftyOne), so a reader gets everything."""
    assert len(await ids(world, id=world.first)) == 2
