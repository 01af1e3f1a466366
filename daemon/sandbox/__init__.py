"""A CVAT-compatible server in memory, for the demo, the tests and a first hour.

It is held to recorded traffic of real servers: docs/sandbox.md says what it
reproduces and what it does not do.
"""

from __future__ import annotations

from daemon.sandbox.faults import Faults, RequestFault
from daemon.sandbox.sandbox import ConnectionLost, Sandbox, serve_forever

__all__ = ["ConnectionLost", "Faults", "RequestFault", "Sandbox", "serve_forever"]
