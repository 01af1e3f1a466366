"""What `cvat-sdk` 2.15 cannot do with a server of 2.73.

    python older_sdk_session.py <url> <folder for an image>

Prints one JSON object: what was tried → the name of the error, or null. Knows nothing of the
sandbox.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from cvat_sdk import make_client
from cvat_sdk.core.proxies.tasks import ResourceType
from PIL import Image


def error_of(work: Callable[[], object]) -> str | None:
    try:
        work()
    except Exception as exc:
        return type(exc).__name__
    return None


def main(url: str, image: Path) -> None:
    """Log in, look around, list webhooks, make a task."""
    Image.new("RGB", (8, 8)).save(image)
    spec = {"name": "t", "labels": [{"name": "x"}]}
    with make_client(url, credentials=("admin", "admin")) as client:
        tried = {
            "projects": error_of(client.projects.list),
            "webhooks": error_of(client.api_client.webhooks_api.list),
            "task": error_of(
                lambda: client.tasks.create_from_data(
                    spec=spec, resource_type=ResourceType.LOCAL, resources=[image]
                )
            ),
        }
    print(json.dumps(tried))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) / "a.jpg")
