"""A task that moves into a project: its shapes get the project's labels."""

from __future__ import annotations

from daemon.sandbox.call import Call
from daemon.sandbox.errors import invalid
from daemon.sandbox.model import Annotation, Label, Project, Task
from daemon.sandbox.rights import may_project, need


def move_task(call: Call, task: Task, project_id: int) -> None:
    """Move a task into a project.

    Labels and attributes are matched by name; a label without a match is
    made in the project. Annotation ids and the jobs' dates stay as they are.
    Raises Refused before anything changed.
    """
    state = call.state
    if project_id not in state.projects:
        raise invalid(f"Cannot find project with ID {project_id}")
    project = state.projects[project_id]
    need(may_project(call, project))
    if task.project == project_id:
        return
    if task.project is not None:
        raise invalid("Task can not be moved between projects")
    _take_labels(call, task, project)
    task.project = project_id
    task.organization = project.organization


def _take_labels(call: Call, task: Task, project: Project) -> None:
    state = call.state
    before = state.labels_of(task)
    there = {label.name: label for label in state.labels_of(project) if label.parent is None}
    labels: dict[int, int] = {}
    specs: dict[int, int] = {}
    for label in before:
        if label.parent is None:
            _match(label, there.get(label.name), project, labels, specs)
    for job in state.jobs_of(task):
        for table in (job.tags, job.shapes, job.tracks):
            for row in table.values():
                _rename(row, labels, specs)
    for label in before:
        if label.id in labels:
            del state.labels[label.id]


def _match(
    label: Label,
    target: Label | None,
    project: Project,
    labels: dict[int, int],
    specs: dict[int, int],
) -> None:
    if target is None:
        # The row itself changes hands, with its ids.
        label.task, label.project = None, project.id
        return
    labels[label.id] = target.id
    by_name = {spec.name: spec for spec in target.specs.values()}
    for spec in label.specs.values():
        if spec.name in by_name:
            specs[spec.id] = by_name[spec.name].id


def _rename(row: Annotation, labels: dict[int, int], specs: dict[int, int]) -> None:
    if "label_id" in row:
        row["label_id"] = labels.get(row["label_id"], row["label_id"])
    for value in row["attributes"]:
        value["spec_id"] = specs.get(value["spec_id"], value["spec_id"])
    for inner in (*row.get("elements", ()), *row.get("shapes", ())):
        _rename(inner, labels, specs)
