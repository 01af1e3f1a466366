"""Sign and check the bodies of webhook deliveries.

CVAT sends `X-Signature-256: sha256=<hex of HMAC-SHA256(secret, body)>` and signs the bytes that it
sends (cvat/apps/webhooks/signals.py, send_webhook). Encoding the JSON again may change spacing or
the order of keys, so a signature is checked over the raw body and nothing else.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from events.errors import SyncError

SIGNATURE_HEADER = "X-Signature-256"
# Hashing gives the interpreter away from 2 KiB on (HASHLIB_GIL_MINSIZE), `hmac.digest` always.
# It takes microseconds, and the event loop waits up to milliseconds for its next turn.
PIECE_BYTES = 2_047


class BadSignature(SyncError):
    """A delivery is not signed with a secret that we share with the server."""


def sign(body: bytes, secret: str) -> str:
    """Return the header's value for a body, as CVAT makes it."""
    made = hmac.new(secret.encode(), digestmod="sha256")
    for begin in range(0, len(body), PIECE_BYTES):
        made.update(body[begin : begin + PIECE_BYTES])
    return "sha256=" + made.hexdigest()


def check(body: bytes, header: str | None, secrets: Sequence[str]) -> None:
    """Check a body against its signature, in constant time.

    header   the value of X-Signature-256, None when it is missing
    secrets  those in force: more than one while a secret is being changed

    Raises BadSignature. An empty secret never counts: CVAT signs nothing without one.
    """
    if header is None:
        raise BadSignature(
            "the delivery is not signed", hint="give the webhook in CVAT the configured secret"
        )
    given = header.strip().encode("utf-8", "surrogateescape")
    # All are compared, so that the time taken does not tell which one fits.
    fits = [hmac.compare_digest(sign(body, secret).encode(), given) for secret in secrets if secret]
    if not any(fits):
        raise BadSignature(
            "the delivery's signature does not fit",
            secrets_tried=len(fits),
            hint="the secret in CVAT and the configured one differ, or the body was changed",
        )
