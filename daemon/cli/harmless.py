"""Texts from outside, made safe to print.

A class name or a file name may hold terminal escape sequences, which move the cursor, set titles,
or hide what follows; and half of a surrogate pair, which no terminal can be sent at all.
"""

from __future__ import annotations

import re
from typing import Any

# C0 and C1 controls, DEL, lone surrogates, and the marks that turn the direction of writing.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def harmless(found: Any) -> Any:
    """Return the same value with every harmful character spelled out, as in `\\x1b`."""
    match found:
        case str():
            return _HARMFUL.sub(_spelled, found)
        case dict():
            return {harmless(key): harmless(value) for key, value in found.items()}
        case list() | tuple():
            return [harmless(one) for one in found]
    return found


def _spelled(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
