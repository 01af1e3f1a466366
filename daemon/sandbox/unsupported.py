"""What of CVAT the sandbox does not do: one list, and the answer that says so.

A test lets the list only become shorter.
"""

from __future__ import annotations

from daemon.sandbox.errors import Refused

# Endpoints of CVAT 2.15 (path → methods) that are answered with 501.
ENDPOINTS: dict[str, tuple[str, ...]] = {
    "/api/analytics/reports": ("GET", "POST"),
    "/api/assets": ("POST",),
    "/api/assets/{uuid}": ("DELETE", "GET"),
    "/api/auth/password/change": ("POST",),
    "/api/auth/password/reset": ("POST",),
    "/api/auth/password/reset/confirm": ("POST",),
    "/api/auth/register": ("POST",),
    "/api/auth/rules": ("GET",),
    "/api/auth/signing": ("POST",),
    "/api/cloudstorages": ("GET", "POST"),
    "/api/cloudstorages/{id}": ("DELETE", "GET", "PATCH"),
    "/api/cloudstorages/{id}/actions": ("GET",),
    "/api/cloudstorages/{id}/content-v2": ("GET",),
    "/api/cloudstorages/{id}/preview": ("GET",),
    "/api/cloudstorages/{id}/status": ("GET",),
    "/api/events": ("GET", "POST"),
    "/api/guides": ("POST",),
    "/api/guides/{id}": ("DELETE", "GET", "PATCH"),
    "/api/invitations": ("GET", "POST"),
    "/api/invitations/{id}": ("DELETE", "GET", "PATCH"),
    "/api/invitations/{id}/accept": ("POST",),
    "/api/invitations/{id}/decline": ("POST",),
    "/api/invitations/{id}/resend": ("POST",),
    "/api/jobs": ("POST",),
    "/api/jobs/{id}": ("DELETE",),
    "/api/jobs/{id}/annotations": ("POST",),
    "/api/jobs/{id}/dataset": ("GET",),
    "/api/lambda/functions": ("GET",),
    "/api/lambda/functions/{id}": ("GET", "POST"),
    "/api/lambda/requests": ("GET", "POST"),
    "/api/lambda/requests/{id}": ("DELETE", "GET"),
    "/api/memberships": ("GET",),
    "/api/memberships/{id}": ("DELETE", "GET", "PATCH"),
    "/api/organizations/{id}": ("PATCH",),
    "/api/projects/backup": ("POST",),
    "/api/projects/{id}/annotations": ("GET",),
    "/api/projects/{id}/backup": ("GET",),
    "/api/projects/{id}/dataset": ("GET", "POST"),
    "/api/quality/conflicts": ("GET",),
    "/api/quality/reports": ("GET", "POST"),
    "/api/quality/reports/{id}": ("GET",),
    "/api/quality/reports/{id}/data": ("GET",),
    "/api/quality/settings": ("GET",),
    "/api/quality/settings/{id}": ("GET", "PATCH"),
    "/api/schema": ("GET",),
    "/api/server/annotation/formats": ("GET",),
    "/api/server/plugins": ("GET",),
    "/api/server/share": ("GET",),
    "/api/tasks/backup": ("POST",),
    "/api/tasks/{id}/annotations": ("POST",),
    "/api/tasks/{id}/backup": ("GET",),
    "/api/tasks/{id}/dataset": ("GET",),
    "/api/users/{id}": ("DELETE", "PATCH"),
    "/api/webhooks/{id}": ("PUT",),
}
# Parts of endpoints that are there.
VIDEO_WITHOUT_PYAV = "pictures of a video without PyAV; install 'labeltrail[video]'"
OTHER_SOURCES = "task data from the server's share, a cloud storage, a url, or a job file mapping"
FILE_EXPORT = "export of annotations as a file"
FILE_IMPORT = "import of annotations from a file"
FEATURES = (VIDEO_WITHOUT_PYAV, OTHER_SOURCES, FILE_EXPORT, FILE_IMPORT)


def unsupported(what: str) -> Refused:
    """Make the answer to a request that the sandbox does not cover."""
    return Refused(501, {"detail": f"the sandbox does not do this: {what}"})
