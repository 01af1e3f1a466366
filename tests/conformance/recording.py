"""Recorded traffic of real CVAT servers, and the media that it needs."""

from __future__ import annotations

import gzip
import io
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
from PIL import Image

SAMPLES = Path(__file__).parent.parent / "samples" / "cvat"
# Large recordings are not part of the tree; who has them has them here.
SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "recordings"


@dataclass(frozen=True)
class Exchange:
    """One request and the answer of the real server."""

    seq: int
    method: str
    path: str
    query: list[list[str]]
    request_headers: dict[str, str]
    request_body: Any
    status: int
    response_headers: dict[str, str]
    response_body: Any

    @property
    def sent(self) -> Any:
        """Return the JSON that was sent, or None."""
        return (self.request_body or {}).get("json")

    @property
    def answered(self) -> Any:
        """Return the JSON that was answered, or None."""
        return (self.response_body or {}).get("json")


def read(name: str, version: str) -> list[Exchange] | None:
    """Read a recording; None where this machine does not have it."""
    for folder in (SAMPLES / version, SHARED):
        path = folder / f"{name}.jsonl.gz"
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [_exchange(json.loads(line)) for line in lines]
    return None


def _exchange(row: dict[str, Any]) -> Exchange:
    names = Exchange.__dataclass_fields__
    headers = {name.lower(): value for name, value in dict(row["request_headers"]).items()}
    return Exchange(**{name: row[name] for name in names} | {"request_headers": headers})


@dataclass(frozen=True)
class Media:
    """What a task's media were, as far as later answers tell."""

    size: int
    frames: list[dict[str, Any]]
    zip_chunks: bool
    last: int
    meta: dict[str, Any]

    def file(self, name: str, length: int | None = None) -> bytes:
        """Make a file of the recorded size in pixels, and in bytes where those matter."""
        base = name.replace("\\", "/").rpartition("/")[2]
        known = [frame for frame in self.frames if frame["name"] == base] or self.frames[:1]
        if not known:
            return b"no image at all".ljust(length or 0, b"\0")
        width, height = known[0]["width"], known[0]["height"]
        is_video = base.endswith(".mp4")
        made = mp4(width, height, self.last + 1) if is_video else jpeg(width, height)
        return made.ljust(length or 0, b"\0")


def media_of(exchanges: list[Exchange], start: int, task: str) -> Media:
    """Look ahead for what the real server said about a task's media."""
    frames: list[dict[str, Any]] = []
    size = last = 0
    meta: dict[str, Any] = {}
    zip_chunks = True
    for exchange in exchanges[start:]:
        body = exchange.answered
        if not isinstance(body, dict) or exchange.status != 200:
            continue
        if exchange.path.rstrip("/") == f"/api/tasks/{task}/data/meta":
            frames, size, last = body["frames"], body["size"], body["stop_frame"]
            meta = body
        if exchange.path.rstrip("/") == f"/api/tasks/{task}" and "data_chunk_size" in body:
            size = size or body["size"]
            last = last or body["size"] - 1
            zip_chunks = body["data_compressed_chunk_type"] == "imageset"
            frames = frames or [{"name": "", "width": 160, "height": 120}]
    return Media(size, frames, zip_chunks, last, meta)


def jpeg(width: int, height: int) -> bytes:
    """Make a small image."""
    written = io.BytesIO()
    Image.new("RGB", (width, height)).save(written, "JPEG", quality=1)
    return written.getvalue()


@cache
def mp4(width: int, height: int, frames: int) -> bytes:
    """Make a video whose frame number n is grey of the value n (modulo 256)."""
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "12"}
        for number in range(frames):
            picture = Image.new("RGB", (width, height), (number % 256,) * 3)
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return written.getvalue()


def upload_length(headers: dict[str, str]) -> int | None:
    """Return how long a tus upload says its file is."""
    found = headers.get("upload-length", "")
    return int(found) if re.fullmatch(r"\d+", found) else None
