"""A whole answer against the recorded one: status, headers, and whatever the body is."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import av
from PIL import Image

from tests.conformance import schema
from tests.conformance.compare import (
    UUID,
    Known,
    difference,
    difference_of_texts,
    table_of_path,
)
from tests.conformance.recording import Exchange, Media, media_of
from tests.conformance.uploads import task_of

SAME_HEADERS = ("content-type", "tus-resumable", "upload-offset", "upload-length")
VALIDATED = "2.15"


def difference_of_answers(
    exchange: Exchange,
    answer: tuple[int, Mapping[str, str], bytes],
    known: Known,
    *,
    exchanges: list[Exchange],
    version: str,
) -> str | None:
    """Return how an answer differs from the recorded one, or None.

    exchanges  the whole recording, which tells of the media of a task
    """
    status, headers, content = answer
    if status != exchange.status:
        return f"{exchange.status} is not {status}: {content[:300]!r}"
    lowered = {name.lower(): value for name, value in headers.items()}
    # The body first: what follows needs the ids in it, also where a header differs.
    return _of_bodies(exchange, content, known, exchanges, version) or _of_headers(
        exchange, lowered, known
    )


def _of_headers(exchange: Exchange, ours: dict[str, str], known: Known) -> str | None:
    theirs = exchange.response_headers
    for name in SAME_HEADERS:
        if theirs.get(name) != ours.get(name):
            return f"{name}: {theirs.get(name)!r} is not {ours.get(name)!r}"
    if ("location" in theirs) != ("location" in ours):
        return "only one of the two has a location"
    if "location" not in theirs:
        return None
    left, right = UUID.search(theirs["location"]), UUID.search(ours["location"])
    if left and right:
        known.texts[left[0]] = right[0]
    return difference_of_texts(theirs["location"], ours["location"], known, "location")


def _of_bodies(
    exchange: Exchange, content: bytes, known: Known, exchanges: list[Exchange], version: str
) -> str | None:
    recorded = exchange.response_body
    if recorded is None:
        return f"a body where there was none: {content[:300]!r}" if content else None
    if "json" in recorded:
        ours = json.loads(content)
        found = difference(recorded["json"], ours, known, table=table_of_path(exchange.path))
        if found is None and version == VALIDATED and schema.SCHEMA.exists():
            found = schema.violation(exchange.method, exchange.path, exchange.status, ours)
        return found
    if "text" in recorded:
        return difference_of_texts(recorded["text"], content.decode(), known, "")
    return _of_pictures(exchange, content, media_of(exchanges, 0, task_of(exchange)))


def _of_pictures(exchange: Exchange, content: bytes, media: Media) -> str | None:
    """Compare the sizes of pictures, and how many a chunk has; their bytes are not recorded."""
    query = dict(exchange.query)
    number = int(query["number"])
    if query["type"] == "frame":
        shown = [Image.open(io.BytesIO(content)).size]
        frames = range(number, number + 1)
    else:
        with av.open(io.BytesIO(content), "r") as container:
            shown = [(frame.width, frame.height) for frame in container.decode(video=0)]
        length = media.meta["chunk_size"]
        frames = range(media.size)[number * length : (number + 1) * length]
    known = media.frames if len(media.frames) > 1 else media.frames * media.size
    wanted = [(known[frame]["width"], known[frame]["height"]) for frame in frames]
    return None if shown == wanted else f"pictures of {wanted}, not {shown}"
