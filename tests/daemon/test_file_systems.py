"""What holds a path, as the kernel lists its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import file_systems

OTHERS = """21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:40 / {folder} rw,relatime shared:2 - nfs4 filer:/data rw
"""


def test_a_folder_below_a_network_mount_is_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite's locks do not reach other machines: two daemons there would ruin one log."""
    mounts = tmp_path / "mountinfo"
    shared = tmp_path / "größer \\ shared"
    spelled = str(shared).replace("\\", "\\134").replace(" ", "\\040")
    mounts.write_text(OTHERS.format(folder=spelled))
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)

    actual = [
        file_systems.is_remote(path) for path in (shared / "not" / "there", tmp_path, Path("/"))
    ]

    assert actual == [True, False, False]


def test_this_machine_keeps_its_tests_on_a_local_disk(tmp_path: Path):
    """With the kernel's own list, and no mount to be found in it twice."""
    assert file_systems.MOUNTS.exists()
    assert not file_systems.is_remote(tmp_path)
