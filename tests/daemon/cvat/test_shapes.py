"""A server that answers 200 with something else is in trouble; it does not stop the daemon."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.cvat.shapes import checked
from daemon.ports.cvat import ServerTrouble
from projections.codec.cvat import UnreadableAnnotations, labels_from_wire

WHERE = {"server": "main", "method": "GET", "path": "/api/jobs/7"}
JOB = {
    "id": 7,
    "task_id": 3,
    "project_id": None,
    "assignee": {"id": 2, "username": "ana"},
    "created_date": "2026-11-22T10:12:43.684158Z",
    "updated_date": "2026-11-22T10:15:45Z",
    "start_frame": 0,
    "a member of a newer server": [1e300],
}


@pytest.mark.parametrize("path", ["/api/jobs/7", "/api/jobs", "/api/tasks/7", "/api/other"])
def test_a_sound_object_passes_as_it_is(path: str) -> None:
    """Newer servers add members, and leave others out."""
    assert checked(JOB, path, WHERE) is JOB


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/api/jobs/7", {"task_id": "3"}),
        ("/api/jobs/7", {"task_id": 2**63}),
        ("/api/jobs/7", {"start_frame": []}),
        ("/api/jobs/7", {"assignee": {"id": "2"}}),
        ("/api/jobs/7", {"updated_date": "2026-99-99T00:00:00Z"}),
        ("/api/jobs/7", {"created_date": "soon"}),
        ("/api/jobs", {"id": None}),
        ("/api/jobs", {"updated_date": None}),
        ("/api/tasks", {"project_id": -1}),
        ("/api/labels", {"id": 7, "attributes": [{"id": 1}]}),
        ("/api/labels", {"id": None, "name": "car"}),
        ("/api/labels", {"id": 7, "name": None}),
        ("/api/issues", {"position": ["x"]}),
        ("/api/comments", {"issue": {}}),
        ("/api/users/self", {"id": 2.5}),
    ],
)
def test_what_cannot_be_computed_with_is_trouble_of_the_server(
    path: str, change: dict[str, Any]
) -> None:
    """Whoever asks waits such trouble out; a KeyError would end the daemon."""
    with pytest.raises(ServerTrouble, match="not what CVAT documents"):
        checked({**JOB, **change}, path, WHERE)


@pytest.mark.parametrize("label", [{"id": 1}, {"name": "car"}])
def test_a_class_without_id_or_name_makes_the_job_unreadable(label: dict[str, Any]) -> None:
    """Its annotations could not be named; the last good state stands."""
    with pytest.raises(UnreadableAnnotations, match="it has no"):
        labels_from_wire([label])
