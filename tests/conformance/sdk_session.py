"""A session of the official `cvat-sdk`, run by an interpreter that has it installed.

    python sdk_session.py <url> <folder with clip.mp4, and room for more>

Prints one JSON object with what it saw. Knows nothing of the sandbox.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from cvat_sdk import Client, make_client, models
from cvat_sdk.core.proxies.tasks import ResourceType, Task
from PIL import Image


def size_of(stream: Any) -> list[int]:
    return list(Image.open(io.BytesIO(stream.read())).size)


def project_of(client: Client) -> dict[str, Any]:
    """Make, change and show a project with all types of attributes."""
    attributes = [
        {"name": "kind", "mutable": True, "input_type": "select", "values": ["a", "b"]},
        {"name": "n", "mutable": False, "input_type": "number", "values": ["0", "9", "1"]},
    ]
    labels = [{"name": "car", "attributes": attributes}, {"name": "van"}]
    project = client.projects.create({"name": "made by the sdk", "labels": labels})
    project.update({"name": "renamed"})
    return {"id": project.id, "name": project.fetch().name, "labels": len(project.get_labels())}


def annotations_of(task: Task) -> list[list[float]]:
    """Write, change and read annotations as `cvat-cli` and scripts do."""
    label = next(label for label in task.get_labels() if label.name == "car")

    def box(frame: int) -> models.LabeledShapeRequest:
        points = [1.0, 2.0, 30.0, 40.0]
        return models.LabeledShapeRequest(
            type="rectangle", frame=frame, label_id=label.id, points=points
        )

    task.set_annotations(models.LabeledDataRequest(shapes=[box(0)]))
    task.update_annotations(models.PatchedLabeledDataRequest(shapes=[box(1), box(3)]))
    task.remove_annotations(ids=[task.get_annotations().shapes[0].id])
    job = task.get_jobs()[0]
    first = job.get_annotations().shapes
    return [[each.frame, *each.points] for each in [*first, *task.get_annotations().shapes]]


def frames_of(task: Task, folder: Path) -> dict[str, Any]:
    """Read frames, chunks, previews and the meta of a task and of its jobs."""
    job = sorted(task.get_jobs(), key=lambda job: job.start_frame)[1]
    chunk = io.BytesIO()
    task.download_chunk(0, chunk, quality="compressed")
    task.download_frames([0, 3], outdir=folder / "frames", quality="original")
    job.remove_frames_by_ids([2])
    return {
        "frame": size_of(task.get_frame(1, quality="original")),
        "compressed": size_of(task.get_frame(1, quality="compressed")),
        "preview": size_of(task.get_preview()),
        "chunk": zipfile.ZipFile(chunk).namelist(),
        "written": sorted(path.name for path in (folder / "frames").iterdir()),
        "names": [each.name for each in task.get_frames_info()],
        "of_job": size_of(job.get_frame(3, quality="original")),
        "preview_of_job": size_of(job.get_preview()),
        "range_of_job": [job.start_frame, job.stop_frame, len(job.get_frames_info())],
        "deleted": list(task.get_meta().deleted_frames),
    }


def issues_of(client: Client, task: Task) -> dict[str, Any]:
    """Report, answer, resolve and remove issues, and move a job on."""
    job = sorted(task.get_jobs(), key=lambda job: job.start_frame)[0]
    position = [1.0, 2.0, 3.0, 4.0]
    wanted = {"frame": 0, "position": position, "job": job.id, "message": "look"}
    issue = client.issues.create(models.IssueWriteRequest(**wanted))
    gone = client.issues.create(models.IssueWriteRequest(**wanted))
    comment = client.comments.create(models.CommentWriteRequest(issue=issue.id, message="done"))
    comment.update(models.PatchedCommentWriteRequest(message="done now"))
    issue.update(models.PatchedIssueWriteRequest(resolved=True))
    gone.remove()
    user = client.users.list()[0]
    job.update({"stage": "validation", "assignee": user.id})
    job.update({"state": "completed"})
    shown = job.fetch()
    return {
        "issues": [[each.frame, each.resolved] for each in job.get_issues()],
        "comments": [each.message for each in issue.fetch().get_comments()],
        "job": [str(shown.stage), str(shown.state), shown.assignee.id == user.id],
        "jobs": sorted(str(each.state) for each in task.get_jobs()),
    }


def hooks_of(client: Client, project_id: int) -> dict[str, Any]:
    """Hook a project, ping, and read the log of deliveries, by the generated client."""
    api = client.api_client.webhooks_api
    wanted = {"target_url": "http://127.0.0.1:1/x", "type": "project", "project_id": project_id}
    hook, _ = api.create(models.WebhookWriteRequest(**wanted, events=["update:job"]))
    hooks, _ = api.list()
    # The real server sends `response` as a text, which 2.15's own model refuses.
    _, pinged = api.create_ping(hook.id, _parse_response=False)
    _, listed = api.list_deliveries(hook.id, _parse_response=False)
    deliveries = json.loads(listed.data)["results"]
    return {
        "hooks": [
            [str(each.type), [str(event) for event in each.events]] for each in hooks.results
        ],
        "deliveries": [[each["event"], each["status_code"]] for each in deliveries],
        "pinged": json.loads(pinged.data)["event"],
    }


def video_of(client: Client, clip: Path) -> dict[str, Any]:
    """Make a task of a video, and read its pictures."""
    spec = {"name": "video", "labels": [{"name": "car"}]}
    task = client.tasks.create_from_data(
        spec=spec, resource_type=ResourceType.LOCAL, resources=[clip]
    )
    chunk = io.BytesIO()
    task.download_chunk(0, chunk, quality="original")
    return {
        "size": task.size,
        "mode": task.mode,
        "frame": size_of(task.get_frame(5, quality="original")),
        "chunk": chunk.getvalue()[4:8].decode(),
    }


def main(url: str, folder: Path) -> None:
    """Log in, and do what scripts do with projects, tasks, jobs, frames and issues."""
    names = [folder / f"{number}.jpg" for number in range(4)]
    for name in names:
        Image.new("RGB", (64, 48), (200, 30, 30)).save(name)
    with make_client(url, credentials=("admin", "admin")) as client:
        project = project_of(client)
        project_id = project.pop("id")
        spec = {"name": "t", "project_id": project_id, "segment_size": 2}
        task = client.tasks.create_from_data(
            spec=spec, resource_type=ResourceType.LOCAL, resources=names
        )
        task.update({"subset": "train"})
        seen = {
            "user": client.users.retrieve_current_user().username,
            "project": project,
            "task": [task.fetch().subset, task.size, len(task.get_jobs())],
            "shapes": annotations_of(task),
            "frames": frames_of(task, folder),
            "review": issues_of(client, task),
            "video": video_of(client, folder / "clip.mp4"),
            "hooks": hooks_of(client, project_id),
            "tasks": [len(client.tasks.list()), len(client.projects.list()[0].get_tasks())],
            "jobs": len(client.jobs.list()),
        }
        for each in client.tasks.list():
            each.remove()
        seen["left"] = [len(client.tasks.list()), len(client.jobs.list())]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
