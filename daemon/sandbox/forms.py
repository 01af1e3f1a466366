"""Multipart forms (RFC 7578), as CVAT's clients send media."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from daemon.sandbox.errors import bad_request

PARTS_MAX = 100_000


@dataclass
class Form:
    """Plain fields by name, and files by file name in the order of their numbers."""

    values: dict[str, Any]
    files: list[tuple[str, bytes]]


def parse_form(content_type: str, body: bytes) -> Form:
    """Split a multipart body; raises Refused (400) where it is none."""
    found = re.search(r'boundary="?([^";,]+)"?', content_type)
    if found is None:
        raise bad_request({"detail": "Multipart form parse error - Invalid boundary"})
    parts = (b"\r\n" + body).split(b"\r\n--" + found[1].encode(), PARTS_MAX)
    values: dict[str, Any] = {}
    files: list[tuple[int, str, bytes]] = []
    for part in parts[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name, file_name = _names(head)
        number = re.search(r"\[(\d+)\]$", name)
        if file_name is not None:
            files.append((int(number[1]) if number else len(files), file_name, content))
        elif number:
            values.setdefault(name[: number.start()], []).append(content.decode())
        else:
            values[name] = content.decode()
    return Form(values, [(name, content) for _, name, content in sorted(files, key=_number)])


def _number(file: tuple[int, str, bytes]) -> int:
    return file[0]


def _names(head: bytes) -> tuple[str, str | None]:
    text = head.decode("utf-8", "replace")
    name = re.search(r'[; ]name="([^"]*)"', text)
    file_name = re.search(r'filename="([^"]*)"', text)
    if name is None:
        raise bad_request({"detail": "Multipart form parse error - a part has no name"})
    # Browsers and clients may send folders; CVAT keeps the name alone.
    return name[1], file_name[1].replace("\\", "/").rpartition("/")[2] if file_name else None
