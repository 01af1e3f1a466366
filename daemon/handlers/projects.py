"""The project of a run's tasks, and the webhook by which it tells us of edits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from daemon.ports.cvat import CvatApi, OutcomeUnknown
from events.errors import SyncError
from events.run import ProjectLinked
from projections import runs
from projections.codec.cvat import labels_to_wire

HOOK_EVENTS: Final = frozenset({
    "create:job", "update:job", "delete:job", "create:task", "update:task", "delete:task",
    "update:project", "delete:project", "create:issue", "update:issue", "delete:issue",
    "create:comment", "update:comment", "delete:comment",
})  # fmt: skip


class ProjectUnfit(SyncError):
    """A project of the wanted name exists several times, or lacks what the run needs."""


@dataclass(frozen=True)
class Hook:
    """Where a server's webhooks go, and what they are signed with."""

    target_url: str
    secret: str


async def linked(cvat: CvatApi, run: runs.RunRow, hook: Hook | None) -> ProjectLinked:
    """Find the project that the run's tasks go to, or make it, and have it tell us of edits.

    Raises ProjectUnfit and CvatError.
    """
    name = run.request.project or f"{run.dataset} {run.key} {run.nonce}"
    found = [row async for row in cvat.projects(name=name)]
    if len(found) > 1:
        raise ProjectUnfit(
            "several projects have this name",
            name=name,
            projects=[row["id"] for row in found],
            hint="no task was made; rename one of them or choose another name",
        )
    created = not found
    if found:
        project = found[0]["id"]
        await _add_labels(cvat, run, project)
    else:
        project = await _create_project(cvat, run, name)
    webhook = await install_hook(cvat, project, hook) if hook else None
    return ProjectLinked(
        project=project,
        name=name,
        created=created or run.request.project is None,
        webhook=webhook,
    )


async def _create_project(cvat: CvatApi, run: runs.RunRow, name: str) -> int:
    try:
        spec = {"name": name, "labels": labels_to_wire(run.labels)}
        return int((await cvat.create_project(spec))["id"])
    except OutcomeUnknown:
        found = [row["id"] async for row in cvat.projects(name=name)]
        if not found:
            raise
        return int(found[0])


async def _add_labels(cvat: CvatApi, run: runs.RunRow, project: int) -> None:
    """Add to an existing project the labels and attributes of the run that it lacks."""
    held = {row["name"]: row for row in await cvat.project_labels(project)}
    changes: list[dict[str, Any]] = []
    for spec in labels_to_wire(run.labels):
        label = held.get(spec["name"])
        if label is None:
            changes.append(spec)
            continue
        names = {attribute["name"] for attribute in label.get("attributes") or ()}
        missing = [one for one in spec["attributes"] if one["name"] not in names]
        if missing:
            changes.append({"id": label["id"], "attributes": missing})
    if changes:
        await cvat.patch_project(project, {"labels": changes})


async def install_hook(cvat: CvatApi, project: int, hook: Hook) -> int:
    """Return the project's webhook that reaches us, made where there is none yet."""
    if (known := await _installed(cvat, project, hook)) is not None:
        await cvat.patch_webhook(known, {"secret": hook.secret, "is_active": True})
        return known
    offered = await cvat.webhook_events("project")
    spec = {
        "target_url": hook.target_url,
        "description": "labeltrail",
        "type": "project",
        "project_id": project,
        "content_type": "application/json",
        "secret": hook.secret,
        "enable_ssl": hook.target_url.startswith("https://"),
        "is_active": True,
        "events": sorted(HOOK_EVENTS & offered),
    }
    try:
        return int((await cvat.create_webhook(spec))["id"])
    except OutcomeUnknown:
        if (made := await _installed(cvat, project, hook)) is None:
            raise
        return made


async def _installed(cvat: CvatApi, project: int, hook: Hook) -> int | None:
    async for row in cvat.webhooks(project=project):
        if row.get("target_url") == hook.target_url:
            return int(row["id"])
    return None
