"""What of CVAT the sandbox does not do: one list, and the answer that says so."""

from __future__ import annotations

from daemon.sandbox.errors import Refused


def unsupported(what: str) -> Refused:
    """Make the answer to a request that the sandbox does not cover."""
    return Refused(501, {"detail": f"the sandbox does not do this: {what}"})
