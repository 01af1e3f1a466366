"""The endpoints, one module per resource; importing this package registers them."""

from __future__ import annotations

from daemon.sandbox.resources import (
    accounts,
    issues,
    jobs,
    labeled_data,
    labels,
    pictures,
    projects,
    requests,
    server,
    task_data,
    tasks,
    tokens,
    webhooks,
)

__all__ = [
    "accounts",
    "issues",
    "jobs",
    "labeled_data",
    "labels",
    "pictures",
    "projects",
    "requests",
    "server",
    "task_data",
    "tasks",
    "tokens",
    "webhooks",
]
