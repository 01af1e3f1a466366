"""The bodies of recorded uploads, made anew: recordings keep no media."""

from __future__ import annotations

import re

from tests.conformance.recording import Exchange, media_of, upload_length

BOUNDARY = "conformance"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def task_of(exchange: Exchange) -> str:
    """Return the recorded id of the task that an exchange is about."""
    found = re.match(r"/api/tasks/(\d+)", exchange.path)
    assert found, exchange.path
    return found[1]


def recorded_form(exchanges: list[Exchange], place: int) -> bytes:
    """Make the form of an upload, with media as later answers tell of them."""
    exchange = exchanges[place]
    media = media_of(exchanges, place, task_of(exchange))
    # 2.15 says in its answer how the media were to be read; later ones in the meta.
    told = exchange.answered or {}
    told = media.meta if "rq_id" in told and media.meta.get("frame_filter") else told
    values = {
        "image_quality": str(told.get("image_quality", 75)),
        "start_frame": str(told.get("start_frame", 0)),
        "stop_frame": str(told.get("stop_frame", 0)),
        "frame_filter": told.get("frame_filter", ""),
        "sorting_method": told.get("sorting_method", "lexicographical"),
        "use_zip_chunks": str(media.zip_chunks).lower(),
        "use_cache": "true",
    }
    return form(
        [
            (name, file, media.file(file) if file else values.get(name, "").encode())
            for name, file in exchange.request_body["multipart"]
        ]
    )


def recorded_file(exchanges: list[Exchange], place: int) -> bytes:
    """Make the whole file of a tus upload, one part of which is sent here."""
    begun = [
        each
        for each in exchanges[:place]
        if each.method == "POST" and "upload-length" in each.request_headers
    ][-1]
    length = upload_length(begun.request_headers)
    return media_of(exchanges, place, task_of(exchanges[place])).file("", length)


def form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    """Write a multipart form of (field, file name or None, content)."""
    written = []
    for name, file, content in parts:
        extra = f'; filename="{file}"' if file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        written.append(head.encode() + content + b"\r\n")
    return b"".join(written) + f"--{BOUNDARY}--\r\n".encode()
