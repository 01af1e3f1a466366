"""Whatever is sent, the sandbox answers; only what CVAT itself crashes on is 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.sandbox.routes import TABLE
from tests.conformance.recording import mp4
from tests.daemon.sandbox.client import Client, jpeg, sandbox

# Enough to notice what was broken just now; a long run takes thousands.
EXAMPLES = 40
NAMES = [
    *("id", "name", "labels", "attributes", "label_id", "frame", "points", "shapes", "tracks"),
    *("tags", "type", "values", "spec_id", "value", "project_id", "assignee_id", "assignee"),
    *("state", "stage", "deleted_frames", "image_quality", "frame_filter", "start_frame"),
    *("events", "target_url", "job", "issue", "position", "message", "sublabels", "deleted"),
    *("consensus_replicas", "expiry_date", "read_only"),
    *("username", "password", "slug", "elements", "group", "rotation", "score", "segment_size"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["car", "project", "rectangle", "mask", "step=x", "http://a.b/", "update:job"]),
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=12,
)
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "action",
            "filter",
            "sort",
            "page",
            "page_size",
            "task_id",
            "job_id",
            "org",
            "type",
            "number",
            "index",
            "quality",
            "format",
        ]
    ),
    st.one_of(
        st.sampled_from(["create", "update", "delete", "²", "9" * 40, "-1", "0", "all"]),
        st.sampled_from(["frame", "chunk", "context_image", "compressed", "original"]),
        st.text(max_size=5),
        BODIES.map(json.dumps),
        st.sampled_from(['{"<": [{"var": "name"}, 1]}', '{"==": [{"var": "updated_date"}, "x"]}']),
    ),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Upload-Start", "Upload-Finish", "Tus-Resumable", "Upload-Length", "X-Organization"]
    ),
    st.sampled_from(["", "1", "x", "9" * 30]),
    max_size=2,
)


async def play(version: str, calls: list[tuple[tuple[str, str], Any, Any, Any]]) -> None:
    server = sandbox(version=version)
    admin = await Client(server).login()
    labels = [{"name": "car", "attributes": [{"name": "a", "input_type": "text"}]}]
    await admin.post("/api/projects", {"name": "p", "labels": labels})
    task = (await admin.post("/api/tasks", {"name": "t", "project_id": 1}))["id"]
    await admin.upload(task, {"a.jpg": jpeg(8, 8)})
    for (method, template), body, query, headers in calls:
        path = template.replace("{id}", "1").replace("{request}", "action=x")
        path = path.replace("{uuid}", "00000000-0000-0000-0000-000000000000")
        raw = json.dumps(body).encode("utf-8", "surrogatepass")

        await admin.send(method, path, raw=raw, headers=headers, **query)

        assert 200 <= admin.status < 600
        await server.outbox.drain()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["2.15", "2.73"]),
    st.lists(st.tuples(st.sampled_from(sorted(TABLE)), BODIES, QUERIES, HEADERS), max_size=6),
)
def test_no_request_breaks_the_sandbox(
    version: str, calls: list[tuple[tuple[str, str], Any, Any, Any]]
) -> None:
    """An exception would be the sandbox's own, and a lie about CVAT."""
    asyncio.run(play(version, calls))


# Where a video names its codec; the first such name is one of the file's brands.
CODEC = mp4(64, 48, 12).rindex(b"avc1")


def damaged(changes: list[tuple[int, int]], length: int) -> bytes:
    """Return a video with some bytes changed, cut off at a length."""
    content = bytearray(mp4(64, 48, 12))
    for place, value in changes:
        content[place % len(content)] = value
    return bytes(content[: length % len(content) + 1])


async def show(content: bytes) -> list[int]:
    """Make a task of a video, and ask for all its pictures."""
    admin = await Client(sandbox()).login()
    task = (await admin.post("/api/tasks", {"name": "t", "labels": [{"name": "x"}]}))["id"]
    await admin.upload(task, {"clip.mp4": content})
    statuses = []
    for query in ("type=frame", "type=chunk", "type=chunk&quality=compressed", ""):
        path = f"/api/tasks/{task}/{'data' if query else 'preview'}"
        parts = dict(part.split("=") for part in query.split("&") if part)
        await admin.get(path, **parts | {"number": 0} if query else {})
        statuses.append(admin.status)
    return statuses


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=20),
    st.one_of(st.just(-1), st.integers(0, 2**20)),
)
@example([], -1)
# The name of the codec: no decoder is found, and the stream has no size.
@example([(CODEC + n, ord("x")) for n in range(4)], -1)
def test_a_damaged_video_is_sent_or_refused(changes: list[tuple[int, int]], length: int) -> None:
    """FFmpeg reads what a stranger wrote; whatever it says, the answer is CVAT's."""
    statuses = asyncio.run(show(damaged(changes, length)))

    assert set(statuses) <= {200, 400, 404, 500}
