"""What `labeltrail annotate` prints for people."""

from __future__ import annotations

from daemon.demo.dataset import BOXES, SCENE, make_dataset
from tests.daemon.cli.conftest import Desk

PLAN = """\
→ CVAT (dry run: nothing is written)
      task  FiftyOne_street: 12 samples, jobs of 6
     field  boxes: existing detections
     field  scene: existing classification
   project  a new one, on main
     label  bus (rectangle): label_id, parked, plate
     label  car (rectangle): label_id, parked, plate
     label  person (rectangle): label_id, parked, plate
     label  night (tag): label_id
     label  rain (tag): label_id
     label  sun (tag): label_id
"""


def test_a_dry_run_tells_what_the_server_would_hold(desk: Desk):
    """Classes and attributes are inferred: a person looks at them before annotators do."""
    make_dataset(desk.folder / "street")
    desk.run("server", "add", "main", "http://localhost:1", "--user", "admin", typed="admin\n")
    desk.run("dataset", "add", "street", str(desk.folder / "street"))
    assert desk.run("dataset", "scan", "street").code == 0
    fields = ("--field", BOXES, "--field", SCENE)

    ran = desk.run("annotate", "street", "first", *fields, "--segment-size", "6", "--dry-run")

    assert ran.out == PLAN
