"""Who may see and do what (CVAT's iam rules outside and inside an organization).

Exists but not permitted is 403, does not exist is 404; a list just leaves out
what its reader may not see.
"""

from __future__ import annotations

from daemon.sandbox.call import Call
from daemon.sandbox.errors import forbidden
from daemon.sandbox.model import Issue, Job, Project, Task, Webhook

STAFF_ROLES = {"owner", "maintainer"}


def may_project(call: Call, row: Project) -> bool:
    """Tell whether the caller owns, manages or is assigned the project."""
    user = call.user
    return _rules(call, row.organization) or user.id in (row.owner, row.assignee)


def may_task(call: Call, row: Task) -> bool:
    """Tell whether the caller is staff of the task or of its project."""
    project = call.state.project_of(row)
    if _rules(call, row.organization) or call.user.id in (row.owner, row.assignee):
        return True
    return project is not None and may_project(call, project)


def may_job(call: Call, row: Job) -> bool:
    """Tell whether the caller is the job's assignee or staff of its task."""
    return row.assignee == call.user.id or may_task(call, call.state.tasks[row.task])


def may_issue(call: Call, row: Issue) -> bool:
    """Tell whether the caller wrote the issue, is assigned it, or may see its job."""
    if call.user.id in (row.owner, row.assignee):
        return True
    return may_job(call, call.state.jobs[row.job])


def may_webhook(call: Call, row: Webhook) -> bool:
    """Tell whether the caller made the webhook, or manages what it listens to."""
    project = call.state.projects.get(row.project) if row.project is not None else None
    if _rules(call, row.organization) or call.user.id == row.owner:
        return True
    return project is not None and call.user.id == project.owner


def need(allowed: bool) -> None:
    """Refuse with 403 what is not allowed."""
    if not allowed:
        raise forbidden()


def in_scope(call: Call, organization_id: int | None) -> bool:
    """Tell whether a list shows rows of an organization.

    No organization named: rows of all. An empty name: rows outside any.
    """
    if call.organization_slug is None:
        return True
    named = call.organization
    return organization_id == (named.id if named else None)


def _rules(call: Call, organization_id: int | None) -> bool:
    if call.user.is_admin:
        return True
    if organization_id is None:
        return False
    row = call.state.organizations[organization_id]
    return row.members.get(call.user.id) in STAFF_ROLES
