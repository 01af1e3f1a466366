"""Objects as lines of JSON: over the socket, over HTTP and for `--json` the same."""

from __future__ import annotations

import json
from typing import Any


def encode(found: dict[str, Any]) -> bytes:
    """Return an object in one line, as short as it goes."""
    return spelled(found, (",", ":")).encode("ascii")


def spelled(found: dict[str, Any], separators: tuple[str, str] = (", ", ": ")) -> str:
    """Return JSON in ASCII: half a surrogate pair, which CVAT may hold, has no UTF-8.

    Numbers that are not finite are spelled as in `docs/canonical-form.md`.
    """
    try:
        return json.dumps(found, allow_nan=False, separators=separators)
    except ValueError:
        return json.dumps(_finite(found), separators=separators)


def _finite(found: Any) -> Any:
    match found:
        case float() if found != found or found in (float("inf"), float("-inf")):
            name = "NaN" if found != found else "Infinity" if found > 0 else "-Infinity"
            return {"$numberDouble": name}
        case dict():
            return {key: _finite(value) for key, value in found.items()}
        case list() | tuple():
            return [_finite(one) for one in found]
    return found
