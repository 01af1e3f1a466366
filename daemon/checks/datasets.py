"""Can one image of a dataset be read by the user that we run as?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from config.settings import Dataset
from daemon.checks.finding import Finding, ok, problem, warning
from daemon.manifests.media import MediaPlaces, image_size, open_media
from daemon.manifests.source import Source
from events.errors import SyncError


def check_dataset(name: str, declared: Dataset, document: Mapping[str, Any] | None) -> Finding:
    """Read the manifest's folder and one image. Blocks.

    document  a sample of the dataset, None where none was read yet
    """
    where = f"dataset {name}"
    if not declared.manifest.exists():
        return problem(
            "dataset", where, f"{declared.manifest} is not there",
            "nothing is removed by that; mount it, or mend `manifest`",
        )  # fmt: skip
    if document is None:
        return warning(
            "dataset", where, "no sample was read yet", f"`labeltrail dataset scan {name}`"
        )
    source = Source(name, declared.manifest, tuple(declared.media_roots))
    filepath = document.get("filepath")
    try:
        path = MediaPlaces(source.folder, source.media_roots).resolve(filepath)
        with open_media(path, [source.folder, *source.media_roots]) as file:
            width, height = image_size(file)
    except SyncError as exc:
        reason = exc.facts.get("reason")
        return problem(
            "media",
            where,
            f"{filepath}: {exc.message}{f' ({reason})' if reason else ''}",
            f"let user {_user()} read it, or name its folder in `media_roots`",
        )
    return ok("media", where, f"{path} is read as {_user()}: {width} × {height}")


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return str(os.geteuid()) if hasattr(os, "geteuid") else "this user"
