"""Writes and reads of annotations behave as measured on a real 2.15 server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon.sandbox.conftest import World


def values(shape: dict[str, Any]) -> dict[int, str]:
    return {each["spec_id"]: each["value"] for each in shape["attributes"]}


async def test_an_update_keeps_the_id(world: World) -> None:
    """Identity over time rests on this."""
    [made] = (await world.create(world.box()))["shapes"]

    await world.admin.patch(
        world.annotations,
        {"shapes": [world.box(id=made["id"], points=[5, 6, 7, 8])]},
        action="update",
    )

    [read] = (await world.read())["shapes"]
    assert (read["id"], read["points"]) == (made["id"], [5.0, 6.0, 7.0, 8.0])


async def test_a_put_without_ids_renews_them_and_an_old_document_brings_them_back(
    world: World,
) -> None:
    """A restore by PUT gives new ids, and a stale client can bring back old ones."""
    await world.create(world.box(), world.box(frame=1))
    before = await world.read()
    bare = [{k: v for k, v in row.items() if k != "id"} for row in before["shapes"]]

    await world.admin.put(world.annotations, {"shapes": bare})
    renewed = await world.read()
    await world.admin.put(world.annotations, before)
    restored = await world.read()

    old, new, back = ({row["id"] for row in each["shapes"]} for each in (before, renewed, restored))
    assert len(new) == 2
    assert not old & new
    assert back == old


async def test_a_stale_update_brings_a_deleted_shape_back_under_its_id(world: World) -> None:
    """A label that was deleted may come back; that is a resurrection, not a new label."""
    made = await world.create(world.box())
    await world.admin.patch(world.annotations, made, action="delete")
    assert (await world.read())["shapes"] == []

    await world.admin.patch(world.annotations, made, action="update")

    assert (await world.read())["shapes"][0]["id"] == made["shapes"][0]["id"]


async def test_an_update_without_an_id_inserts(world: World) -> None:
    """CVAT's update is a delete and a create."""
    await world.admin.patch(world.annotations, {"shapes": [world.box()]}, action="update")

    assert len((await world.read())["shapes"]) == 1


async def test_a_create_with_a_taken_id_is_refused_with_the_text_of_the_database(
    world: World,
) -> None:
    """The whole batch is refused; nothing of it is stored."""
    [made] = (await world.create(world.box()))["shapes"]

    answer = await world.create(world.box(frame=1), world.box(id=made["id"]))

    assert world.admin.status == 400
    assert answer.startswith('duplicate key value violates unique constraint "engine_labeledshape')
    assert len((await world.read())["shapes"]) == 1


async def test_an_id_of_another_job_is_refused(world: World) -> None:
    """Ids are of the whole server."""
    [made] = (await world.create(world.box()))["shapes"]
    other = f"/api/jobs/{world.second}/annotations"

    await world.admin.patch(other, {"shapes": [world.box(id=made["id"])]}, action="update")

    assert world.admin.status == 400


async def test_text_is_trimmed_and_other_json_becomes_text(world: World) -> None:
    """What is sent is not what comes back; a merge must know that."""
    sent = [" a ", "\n", "tab\t", 5, None, True, "007", "1e3", "True", "", "🚗"]

    await world.create(
        *(world.box(attributes=[{"spec_id": world.text, "value": value}]) for value in sent)
    )

    rows = sorted((await world.read())["shapes"], key=lambda row: row["id"])
    got = [values(row)[world.text] for row in rows]
    assert got == ["a", "", "tab", "5", "None", "True", "007", "1e3", "True", "", "🚗"]


@pytest.mark.parametrize("value", [1 / 3, 5e-324, 1e300, 0.1 + 0.2, 12345678901234.567])
async def test_doubles_are_stored_exactly(world: World, value: float) -> None:
    """Geometry that nobody touched comes back bit for bit."""
    await world.create(world.box(points=[value, 0, 1, 1]))

    assert (await world.read())["shapes"][0]["points"][0] == value


async def test_defaults_are_filled_in_by_get_alone(world: World) -> None:
    """The answer to a write has what was sent, a read has all."""
    sent = [{"spec_id": world.text, "value": "x"}]

    answer = await world.create(world.box(attributes=sent))

    assert answer["shapes"][0]["attributes"] == sent
    assert values((await world.read())["shapes"][0]) == {world.text: "x", world.kind: "a"}


async def test_a_changed_default_changes_untouched_shapes(world: World) -> None:
    """A read that differs need not be an edit of anybody."""
    await world.create(world.box())
    spec = {"id": world.kind, "name": "kind", "mutable": True, "input_type": "select"}
    changed = spec | {"default_value": "b", "values": ["a", "b"]}

    await world.admin.patch(f"/api/labels/{world.car}", {"attributes": [changed]})

    assert values((await world.read())["shapes"][0])[world.kind] == "b"


async def test_an_added_attribute_changes_untouched_shapes(world: World) -> None:
    """It is not in the answer to the write, and in every read from now on."""
    written = await world.create(world.box())
    added = {"name": "n", "mutable": True, "input_type": "number", "values": ["1", "9", "1"]}

    label = await world.admin.patch(
        f"/api/labels/{world.car}", {"attributes": [added | {"default_value": "5"}]}
    )

    spec = label["attributes"][-1]["id"]
    assert written["shapes"][0]["attributes"] == []
    assert values((await world.read())["shapes"][0]) == {world.text: "", world.kind: "a", spec: "5"}


async def test_attributes_left_out_of_an_update_go_back_to_their_defaults(world: World) -> None:
    """An update replaces the shape whole."""
    sent = [{"spec_id": world.kind, "value": "b"}]
    [made] = (await world.create(world.box(attributes=sent)))["shapes"]

    await world.admin.patch(
        world.annotations, {"shapes": [world.box(id=made["id"])]}, action="update"
    )

    assert values((await world.read())["shapes"][0])[world.kind] == "a"


async def test_another_class_with_the_old_attributes_is_refused(world: World) -> None:
    """Attribute ids are per class."""
    sent = [{"spec_id": world.kind, "value": "b"}]
    [made] = (await world.create(world.box(attributes=sent)))["shapes"]

    answer = await world.admin.patch(
        world.annotations,
        {"shapes": [world.box(id=made["id"], label_id=world.truck, attributes=sent)]},
        action="update",
    )

    assert (world.admin.status, answer) == (400, [f"spec_id `{world.kind}` is invalid"])


async def test_values_survive_another_class_only_under_its_own_attributes(world: World) -> None:
    """What is not sent again under the new class's ids is gone."""
    kind = {"name": "kind", "mutable": True, "input_type": "text", "values": [""]}
    truck = await world.admin.patch(f"/api/labels/{world.truck}", {"attributes": [kind]})
    spec = truck["attributes"][0]["id"]
    sent = [{"spec_id": world.kind, "value": "b"}]
    made = (await world.create(world.box(attributes=sent), world.box(attributes=sent)))["shapes"]
    again = [{"spec_id": spec, "value": "b"}]
    changed = [
        world.box(id=made[0]["id"], label_id=world.truck, attributes=again),
        world.box(id=made[1]["id"], label_id=world.truck),
    ]

    await world.admin.patch(world.annotations, {"shapes": changed}, action="update")

    read = {row["id"]: values(row) for row in (await world.read())["shapes"]}
    assert read == {made[0]["id"]: {spec: "b"}, made[1]["id"]: {spec: ""}}


async def test_a_track_that_begins_before_its_first_keyframe_gets_one_outside(
    world: World,
) -> None:
    """CVAT adds a keyframe that nobody drew."""
    shape = {"type": "rectangle", "frame": 1, "points": [1, 2, 3, 4]}
    track = {"frame": 0, "label_id": world.car, "shapes": [shape]}

    await world.admin.patch(world.annotations, {"tracks": [track]}, action="create")

    [read] = (await world.read())["tracks"]
    assert [(each["frame"], each["outside"]) for each in read["shapes"]] == [(0, True), (1, False)]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("attributes", [{"spec_id": 1, "value": "x" * 4097}]),
        ("attributes", [{"spec_id": 1, "value": "a\0b"}]),
        ("attributes", [{"spec_id": 1, "value": "\ud800"}]),
        ("rotation", -0.1),
        ("rotation", 360.5),
        ("type", "circle"),
        ("frame", -1),
        ("points", ["x", 1]),
        ("label_id", 99_999),
    ],
)
async def test_one_bad_value_refuses_the_whole_batch(
    world: World, member: str, value: object
) -> None:
    """And nothing is stored, no date moves, nobody is told."""
    await world.hears()
    before = await world.dates()

    await world.create(world.box(), world.box(**{member: value}))

    assert world.admin.status == 400
    assert (await world.read())["shapes"] == []
    assert await world.dates() == before
    assert await world.hears() == []


async def test_nan_is_no_json(world: World) -> None:
    """It is refused before anything is looked at."""
    raw = json.dumps({"shapes": [world.box(points=[float("nan"), 1, 2, 3])]}).encode()

    answer = await world.admin.send("PATCH", world.annotations, raw=raw, action="create")

    assert world.admin.status == 400
    assert answer["detail"].startswith("JSON parse error - Out of range float values")


@pytest.mark.parametrize("members", [{"frame": 2**31}, {"z_order": 2**40}, {"source": "x" * 17}])
async def test_what_no_column_holds_crashes_and_is_not_stored(
    world: World, members: dict[str, Any]
) -> None:
    """A 500 is no proof that something was stored, and none that nothing was."""
    await world.create(world.box(), world.box(**members))

    assert world.admin.status == 500
    assert (await world.read())["shapes"] == []


async def test_a_number_beyond_a_double_is_stored_and_poisons_the_job(world: World) -> None:
    """The write answers 500 and is committed; the job is unreadable until it is emptied."""
    raw = json.dumps({"shapes": [world.box()]}).encode().replace(b"[1,", b"[1e400,")
    await world.hears()

    await world.admin.send("PATCH", world.annotations, raw=raw, action="create")
    written = world.admin.status
    heard = await world.hears()
    await world.annotator.get("/api/users/self")
    await world.read()
    read = world.admin.status
    await world.admin.delete(world.annotations)
    await world.read()

    assert (written, read, world.admin.status) == (500, 500, 200)
    assert heard == ["update:job", "update:task", "update:project"]


async def test_much_is_accepted_unchecked(world: World) -> None:
    """Points outside the image, frames outside the job, values that are not offered."""
    types = {"number": ["0", "9", "1"], "checkbox": ["false"]}
    added = [
        {"name": kind, "mutable": True, "input_type": kind, "values": types[kind]} for kind in types
    ]
    label = await world.admin.patch(f"/api/labels/{world.car}", {"attributes": added})
    number, checkbox = (spec["id"] for spec in label["attributes"][-2:])
    twice = [{"spec_id": world.text, "value": "one"}, {"spec_id": world.text, "value": "two"}]
    wanted = {world.kind: "zzz", number: "abc", checkbox: "maybe"}
    odd = [{"spec_id": spec, "value": value} for spec, value in wanted.items()]

    await world.create(
        world.box(points=[-5, -5, 9999, 9999]),
        world.box(frame=77),
        world.box(attributes=odd, source="anchored"),
        world.box(attributes=twice, external_id="dropped"),
    )

    rows = sorted((await world.read())["shapes"], key=lambda row: row["id"])
    assert [row["frame"] for row in rows] == [0, 77, 0, 0]
    assert wanted.items() <= values(rows[2]).items()
    assert rows[2]["source"] == "anchored"
    texts = [each["value"] for each in rows[3]["attributes"] if each["spec_id"] == world.text]
    assert sorted(texts) == ["one", "two"]
    assert "external_id" not in rows[3]


async def test_a_frame_outside_the_task_is_dropped_in_silence(world: World) -> None:
    """At the task's endpoint, with 200."""
    path = f"/api/tasks/{world.task}/annotations"

    answer = await world.admin.patch(path, {"shapes": [world.box(frame=99)]}, action="create")

    assert (world.admin.status, answer["shapes"]) == (200, [])


async def test_the_version_is_always_0_and_if_match_is_ignored(world: World) -> None:
    """There is no concurrency control; the last writer wins."""
    document = {"version": 77, "shapes": [world.box()]}
    raw = json.dumps(document).encode()

    answer = await world.admin.send(
        "PUT", world.annotations, raw=raw, headers={"If-Match": '"never"'}
    )

    assert (world.admin.status, answer["version"]) == (200, 0)


async def test_no_header_tells_the_version_of_a_document(world: World) -> None:
    """Nothing to send back with `If-Match`: who wrote last, has written."""
    await world.read()

    assert {"etag", "last-modified"}.isdisjoint(name.lower() for name in world.admin.headers)


async def test_order_of_attributes_is_not_stable(world: World) -> None:
    """They are a set: a write elsewhere in the job may turn them."""
    await world.create(world.box())
    orders = set()

    for _ in range(4):
        first = min((await world.read())["shapes"], key=lambda row: row["id"])
        orders.add(tuple(each["spec_id"] for each in first["attributes"]))
        await world.create(world.box())

    assert len(orders) > 1


async def test_a_read_between_the_requests_of_a_save_shows_half_of_it(world: World) -> None:
    """Between the delete and the create of a save, a read is stable and still no state of anybody.

    Measured: 500 of 2,000 shapes for two seconds, between two equal dates.
    """
    made = (await world.create(*(world.box() for _ in range(20))))["shapes"]
    gone = [{**row, "label_id": world.car} for row in made[:15]]

    await world.admin.patch(world.annotations, {"shapes": gone}, action="delete")
    before = await world.date("job", world.first)
    half = len((await world.read())["shapes"])
    after = await world.date("job", world.first)
    await world.create(*(world.box() for _ in range(60)))

    assert (half, before == after) == (5, True)
    assert len((await world.read())["shapes"]) == 65
    assert await world.date("job", world.first) > after


async def test_a_put_twice_leaves_one_of_each(world: World) -> None:
    """It replaces; so an answer that got lost can be asked for again."""
    for _ in range(2):
        await world.admin.put(world.annotations, {"shapes": [world.box()]})

    assert len((await world.read())["shapes"]) == 1


async def test_no_group_is_answered_as_null(world: World) -> None:
    """2.73 stores a 0."""
    await world.create(world.box(group=None))

    assert (await world.read())["shapes"][0]["group"] is None


async def test_order_is_by_frame_and_not_stable_within_one(world: World) -> None:
    """A reader that relies on order breaks here, as it would on a real server."""
    await world.create(*(world.box(frame=n % 2) for n in range(12)))
    first = [row["id"] for row in (await world.read())["shapes"]]
    await world.create(world.box(frame=1))

    rows = (await world.read())["shapes"]

    assert [row["frame"] for row in rows] == sorted(row["frame"] for row in rows)
    assert [row["id"] for row in rows if row["id"] in first] != first


async def test_a_deleted_label_takes_its_shapes_along(world: World) -> None:
    """They vanish without a job webhook; the job's date moves."""
    await world.create(world.box(), world.box(label_id=world.truck))
    await world.hears()
    before = await world.dates()

    await world.admin.delete(f"/api/labels/{world.truck}")

    assert [row["label_id"] for row in (await world.read())["shapes"]] == [world.car]
    assert "update:job" not in await world.hears()
    assert (await world.dates())[0] > before[0]


async def test_a_shape_whose_label_was_deleted_leaves_its_id_free(world: World) -> None:
    """A stale client may write it again under another class."""
    [made] = (await world.create(world.box(label_id=world.truck)))["shapes"]
    await world.admin.delete(f"/api/labels/{world.truck}")

    again = {"shapes": [world.box(id=made["id"])]}
    await world.admin.patch(world.annotations, again, action="update")

    assert [row["id"] for row in (await world.read())["shapes"]] == [made["id"]]


async def test_patch_create_twice_doubles(world: World) -> None:
    """There is no idempotency; an answer that got lost must be looked up."""
    await world.create(world.box())
    await world.create(world.box())

    assert len((await world.read())["shapes"]) == 2
