"""A session of the official `cvat-sdk`, run by an interpreter that has it installed.

    python sdk_session.py <url> <folder for images>

Prints one JSON object with what it saw. Knows nothing of the sandbox.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from cvat_sdk import make_client, models
from cvat_sdk.core.proxies.tasks import ResourceType
from PIL import Image


def main(url: str, folder: Path) -> None:
    """Log in, make a task of images, write and read annotations, frames, jobs, issues."""
    names = [folder / f"{number}.jpg" for number in range(4)]
    for name in names:
        Image.new("RGB", (64, 48), (200, 30, 30)).save(name)
    with make_client(url, credentials=("admin", "admin")) as client:
        spec = {"name": "made by the sdk", "labels": [{"name": "car"}], "segment_size": 2}
        task = client.tasks.create_from_data(
            spec=spec, resource_type=ResourceType.LOCAL, resources=names
        )
        label = task.get_labels()[0]
        shape = models.LabeledShapeRequest(
            type="rectangle", frame=1, label_id=label.id, points=[1.0, 2.0, 30.0, 40.0]
        )
        task.update_annotations(models.PatchedLabeledDataRequest(shapes=[shape]))
        job = task.get_jobs()[0]
        frame = Image.open(io.BytesIO(task.get_frame(1, quality="original").read()))
        issue = models.IssueWriteRequest(
            frame=0, position=[1.0, 2.0, 3.0, 4.0], job=job.id, message="look"
        )
        client.issues.create(issue)
        job.update({"state": "completed"})
        seen = {
            "user": client.users.retrieve_current_user().username,
            "size": task.size,
            "jobs": len(task.get_jobs()),
            "shapes": [list(each.points) for each in task.get_annotations().shapes],
            "frame": list(frame.size),
            "names": [each.name for each in task.get_frames_info()],
            "issues": len(client.issues.list()),
            "states": sorted(str(each.state) for each in task.get_jobs()),
        }
        task.remove()
        seen["tasks"] = len(client.tasks.list())
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
