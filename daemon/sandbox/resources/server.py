"""What the server says about itself."""

from __future__ import annotations

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.routes import route

DESCRIPTION = (
    "CVAT is completely re-designed and re-implemented version of Video Annotation Tool from "
    "Irvine, California tool. It is free, online, interactive video and image annotation tool "
    "for computer vision. It is being used by our team to annotate million of objects with "
    "different properties. Many UI and UX decisions are based on feedbacks from professional "
    "data annotation team."
)
FULL_VERSION = {"2.15": "2.15.0", "2.73": "2.73.0"}


@route("GET", "/api/server/about", login=False)
async def about(call: Call) -> Reply:
    """Tell name and version."""
    shown = {
        "name": "Computer Vision Annotation Tool",
        "description": DESCRIPTION,
        "version": FULL_VERSION[call.version],
    }
    if call.is_new:
        shown["logo_url"] = f"{call.base}/static/logo.svg"
        shown["subtitle"] = "Open Data Annotation Platform"
    return Reply(body=shown)


@route("GET", "/api/server/health", login=False)
async def health(call: Call) -> Reply:
    """Tell that all parts work: there is only this one."""
    return Reply(body={"Cache backend: default": "working", "DatabaseBackend": "working"})
