"""Annotations and values: where 2.73 differs from 2.15, as measured on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon.sandbox.conftest import Newer


async def test_a_document_that_was_read_cannot_be_put_back(newer: Newer) -> None:
    """Ids are the server's to give: a restore makes new ones."""
    await newer.create(newer.box())
    document = await newer.admin.get(newer.path)

    answer = await newer.admin.put(newer.path, document)

    assert newer.admin.status == 400
    assert answer == {"shapes": [{"id": ["must be absent"]}]}


async def test_an_update_with_an_unknown_id_inserts_under_it(newer: Newer) -> None:
    """And one with a known id keeps it."""
    await newer.admin.patch(newer.path, {"shapes": [newer.box(id=4711)]}, action="update")

    [read] = (await newer.admin.get(newer.path))["shapes"]
    assert read["id"] == 4711


async def test_a_delete_without_ids_is_refused(newer: Newer) -> None:
    """2.15 deletes nothing and says 200."""
    await newer.admin.patch(newer.path, {"shapes": [newer.box()]}, action="delete")

    assert newer.admin.status == 400


@pytest.mark.parametrize(
    "members", [{"score": 1.5}, {"score": None}, {"source": "anchored"}, {"points": [1, 2, 3]}]
)
async def test_values_are_checked_that_2_15_takes(newer: Newer, members: dict[str, Any]) -> None:
    """One bad value refuses the batch."""
    await newer.create(newer.box(**members))

    assert newer.admin.status == 400


async def test_a_score_is_always_shown_and_no_group_is_0(newer: Newer) -> None:
    """Documents have intervals, too."""
    await newer.create(newer.box(group=None))

    document = await newer.admin.get(newer.path)

    [read] = document["shapes"]
    assert (read["score"], read["group"], document["intervals"]) == (1.0, 0, [])


async def test_a_poisoned_job_is_healed_by_a_put(newer: Newer) -> None:
    """The write is stored and answered with 500; every read is 500 until then."""
    raw = json.dumps({"shapes": [newer.box()]}).encode().replace(b"[1,", b"[1e400,")
    await newer.admin.send("PATCH", newer.path, raw=raw, action="create")
    written = newer.admin.status
    await newer.admin.get(newer.path)
    read = newer.admin.status

    await newer.admin.put(newer.path, {"shapes": [newer.box()]})

    healed = await newer.admin.get(newer.path)
    assert (written, read, newer.admin.status) == (500, 500, 200)
    assert len(healed["shapes"]) == 1


async def test_ids_must_be_absent_where_rows_are_made(newer: Newer) -> None:
    """By PATCH as by PUT: an old id can never be restored this way."""
    answer = await newer.create(newer.box(id=7))

    assert (newer.admin.status, answer) == (400, {"shapes": [{"id": ["must be absent"]}]})


async def test_an_update_keeps_the_id_over_a_change_of_class(newer: Newer) -> None:
    """Identity rests on it: a label that became another class is the same label."""
    [made] = (await newer.create(newer.box()))["shapes"]
    changed = newer.box(id=made["id"], label_id=newer.truck)

    await newer.admin.patch(newer.path, {"shapes": [changed]}, action="update")

    [read] = (await newer.read())["shapes"]
    assert (read["id"], read["label_id"]) == (made["id"], newer.truck)


@pytest.mark.parametrize("deleted", [True, False])
async def test_an_update_of_a_deleted_id_inserts_under_it(newer: Newer, deleted: bool) -> None:
    """And without an id under a new one."""
    [made] = (await newer.create(newer.box()))["shapes"]
    gone = {"shapes": [newer.box(id=made["id"])]}
    await newer.admin.patch(newer.path, gone, action="delete")

    again = newer.box(id=made["id"]) if deleted else newer.box()
    await newer.admin.patch(newer.path, {"shapes": [again]}, action="update")

    [read] = (await newer.read())["shapes"]
    assert (read["id"] == made["id"]) == deleted


async def test_ids_of_keyframes_are_kept_if_sent_and_renewed_if_not(newer: Newer) -> None:
    """The track keeps its own id in both cases."""
    keyframe = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4]}
    track = {"frame": 0, "label_id": newer.car, "shapes": [keyframe]}
    await newer.admin.patch(newer.path, {"tracks": [track]}, action="create")
    [made] = (await newer.read())["tracks"]
    inner = made["shapes"][0]["id"]
    ids = []

    for shape in (keyframe | {"id": inner}, keyframe):
        sent = track | {"id": made["id"], "shapes": [shape]}
        await newer.admin.patch(newer.path, {"tracks": [sent]}, action="update")
        [read] = (await newer.read())["tracks"]
        ids.append((read["id"] == made["id"], read["shapes"][0]["id"] == inner))

    assert ids == [(True, True), (True, False)]


async def test_a_batch_that_fails_is_rolled_back_whole_and_tells_nobody(newer: Newer) -> None:
    """Good rows before the bad one leave no trace either."""
    await newer.hears()

    await newer.create(newer.box(), newer.box(label_id=99_999))

    assert newer.admin.status == 400
    assert (await newer.read())["shapes"] == []
    assert await newer.hears() == []


@pytest.mark.parametrize("source", ["auto", "semi-auto", "manual", "file", "consensus"])
async def test_a_source_is_one_of_five(newer: Newer, source: str) -> None:
    """2.15 takes any word."""
    await newer.create(newer.box(source=source))

    assert (await newer.read())["shapes"][0]["source"] == source


async def test_texts_and_attributes_are_as_loosely_checked_as_in_2_15(newer: Newer) -> None:
    """Trimmed, unchecked selects and numbers, doubled values, defaults in GET alone."""
    text, kind, count = newer.specs
    sent = [
        {"spec_id": text, "value": " a "},
        {"spec_id": text, "value": "b"},
        {"spec_id": kind, "value": "not offered"},
    ]

    answer = await newer.create(newer.box(attributes=sent))

    [read] = (await newer.read())["shapes"]
    pairs = sorted((each["spec_id"], each["value"]) for each in read["attributes"])
    assert len(answer["shapes"][0]["attributes"]) == 3
    assert pairs == [(text, "a"), (text, "b"), (kind, "not offered"), (count, "0")]


@pytest.mark.parametrize("value", ["x" * 4097, "a\0b"])
async def test_texts_have_the_limits_of_2_15(newer: Newer, value: str) -> None:
    """4,096 characters, and no NUL."""
    await newer.create(newer.box(attributes=[{"spec_id": newer.specs[0], "value": value}]))

    assert newer.admin.status == 400


async def test_a_number_for_a_number_is_not_asked_for(newer: Newer) -> None:
    """A reader must expect any text."""
    sent = [{"spec_id": newer.specs[2], "value": "abc"}]

    await newer.create(newer.box(attributes=sent))

    assert sent[0] in (await newer.read())["shapes"][0]["attributes"]
