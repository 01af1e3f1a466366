"""What hostile input is made of: what real servers sent, and manifests as FiftyOne writes them."""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SAMPLES: Final = Path(__file__).parent.parent / "samples" / "cvat"
# Longer documents would make each of a million inputs slow and find nothing else.
CHARS_MAX: Final = 12_000


def _lines(pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted(SAMPLES.glob(pattern)):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


@functools.cache
def deliveries() -> tuple[Any, ...]:
    """Return the bodies of recorded webhook deliveries, one of each shape."""
    found: dict[tuple[Any, ...], Any] = {}
    for row in _lines("*/deliveries*.jsonl.gz"):
        body = json.loads(row["body"])
        shape = (body.get("event"), *sorted(body), *sorted(body.get("before_update") or ()))
        found.setdefault(shape, body)
    return tuple(found.values())


@functools.cache
def answers() -> dict[str, tuple[Any, ...]]:
    """Return recorded answers to GET by the shape of their path, ids as N."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in _lines("*/[!d]*.jsonl.gz"):
        document = (row.get("response_body") or {}).get("json")
        if row["method"] != "GET" or row["status"] != 200 or document is None:
            continue
        text = json.dumps(document)
        if len(text) <= CHARS_MAX:
            found[re.sub(r"\d+", "N", row["path"])].setdefault(text, document)
    return {path: tuple(documents.values()) for path, documents in found.items()}
