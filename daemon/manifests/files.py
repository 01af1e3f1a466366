"""Open the files of a manifest: whoever may write beside them may put anything in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from daemon.manifests.errors import ManifestBroken


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, and ManifestBroken for what is no file.

    Without O_NONBLOCK, a named pipe would hold the thread, and the end of the daemon, for ever.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ManifestBroken("this is no regular file", file=path.name)
    return os.fdopen(handle, "rb")
