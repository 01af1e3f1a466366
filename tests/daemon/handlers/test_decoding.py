"""Large answers are decoded in another process, to the same annotations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from daemon.handlers import decoding
from daemon.handlers.decoding import decoded
from daemon.pool import Pool
from events.annotations import AttributeSpec, LabelSpec
from events.errors import SyncError
from projections.codec.cvat import (
    Schema,
    UnknownLabel,
    UnreadableAnnotations,
    annotations_from_wire,
)

LABELS = (LabelSpec(name="car", id=1, attributes=(AttributeSpec(name="colour", id=2),)),)
BOX = {
    "frame": 3,
    "label_id": 1,
    "group": 0,
    "source": "manual",
    "attributes": [{"spec_id": 2, "value": "red"}],
    "type": "rectangle",
    "points": [1.5, 2.25, 30.125, 40.0625],
    "rotation": 0.0,
    "occluded": False,
    "outside": False,
    "z_order": 0,
    "elements": [],
}
LARGE = 4_000
# What the loop may be kept from turning while a body is decoded that takes a second to decode.
PAUSE_S_MAX = 0.1


def body_of(shapes: int) -> bytes:
    tag = {"id": 1, "frame": 0, "label_id": 1, "attributes": []}
    keyframe = {"frame": 0, "type": "rectangle", "points": [1.0, 2.0, 3.0, 4.0], "attributes": []}
    track = {"id": 2, "frame": 0, "label_id": 1, "attributes": [], "shapes": [keyframe]}
    boxes = [{**BOX, "id": nth, "frame": nth % 100} for nth in range(shapes)]
    return orjson.dumps({"version": 0, "tags": [tag], "shapes": boxes, "tracks": [track]})


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(workers_max=1)
    yield pool
    await pool.close()


async def test_another_process_decodes_to_the_same(pool: Pool):
    """Where a body is decoded must not show in the log, not in its last bit."""
    body = body_of(LARGE)
    assert len(body) > 2 * decoding.PIECE_BYTES

    assert await decoded(body, LABELS, pool) == annotations_from_wire(body, Schema(LABELS))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda body: body[:-1], UnreadableAnnotations),
        (lambda body: body.replace(b'"label_id":1', b'"label_id":9'), UnknownLabel),
    ],
)
async def test_what_is_wrong_with_a_large_body_is_told_as_of_a_small_one(
    pool: Pool, wrong: Callable[[bytes], bytes], error: type[SyncError]
):
    """A job's reader tells a schema that moved from a body that nobody can read."""
    for shapes in (1, LARGE):
        with pytest.raises(error):
            await decoded(wrong(body_of(shapes)), LABELS, pool)


async def test_a_small_body_starts_no_process(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    """A process takes memory, and longer to start than a small body to decode."""

    def started(*arguments: object, **options: object) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)

    assert len(await decoded(body_of(1), LABELS, pool)) == 3


@pytest.mark.slow
async def test_the_loop_turns_while_30_mb_are_decoded(pool: Pool):
    """Webhooks are acknowledged meanwhile: a sender gives up after seconds."""
    body = body_of(130_000)
    assert len(body) > 30_000_000
    await decoded(body_of(LARGE), LABELS, pool)
    loop = asyncio.get_running_loop()
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            pauses.append(loop.time() - before)

    ticking = asyncio.create_task(tick())
    await decoded(body, LABELS, pool)
    ticking.cancel()

    assert max(pauses) < PAUSE_S_MAX
