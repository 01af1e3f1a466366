"""What kind of file system holds a path: some do not tell of changes, nor keep locks."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
# File systems that other machines write to: this one's kernel hears nothing of it, and SQLite's
# shared memory and locks do not reach them (sqlite.org/wal.html, section 1).
REMOTE: Final = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.gcsfuse",
        "fuse.goofys",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    }
)


def file_system(path: Path, mountinfo: str) -> str:
    """Return the type of the file system that holds a path, by `/proc/self/mountinfo`.

    Format: proc_pid_mountinfo(5); the deepest mount point above the path counts, of two the later.
    """
    best, found = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        # Blanks and the like are written as three octal digits.
        point = Path(os.fsdecode(os.fsencode(fields[4]).decode("unicode_escape").encode("latin-1")))
        if len(point.parts) >= best and path.is_relative_to(point):
            best, found = len(point.parts), after.split(" ")[0]
    return found


def is_remote(path: Path) -> bool:
    """Tell whether a path, which need not exist yet, lies on a file system of other machines."""
    with suppress(OSError):
        return file_system(Path(os.path.realpath(path)), MOUNTS.read_text()) in REMOTE
    return False
