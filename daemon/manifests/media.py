"""Media files: which ones may be opened, and how to open them so that no link leads elsewhere."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from events.errors import SyncError

PATH_CHARS_MAX: Final = 4_096
FOLDERS_KNOWN_MAX: Final = 10_000
IMAGE_PIXELS_MAX: Final = 2**28
# Formats with a decoder in Pillow that needs no other program (EPS starts Ghostscript).
IMAGE_FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")


class MediaRefused(SyncError):
    """A sample's file is not opened."""


class MediaPlaces:
    """The folders that media may lie in, and what is known about folders below them."""

    def __init__(self, folder: Path, media_roots: Sequence[Path]) -> None:
        self._bases = (folder, *media_roots)
        self.roots = tuple(Path(os.path.realpath(base)) for base in self._bases)
        self._folders: dict[str, str] = {}

    def resolve(self, filepath: object) -> Path:
        """Return the real path of a sample's file.

        filepath  absolute, or relative to the folder or else to one of the roots (`rel_dir`)

        Raises MediaRefused when it is missing, no regular file, or outside of all roots after
        links were followed.
        """
        if not isinstance(filepath, str) or "\0" in filepath or len(filepath) > PATH_CHARS_MAX:
            raise MediaRefused("the sample names no usable file path")
        for base in self._bases:
            try:
                found = self._real(os.path.normpath(base / filepath))
            except OSError:
                continue
            return self._allowed(found)
        raise MediaRefused(
            "the file is missing or cannot be read",
            hint="restore it, or name the folder that its path begins at in `media_roots`",
        )

    def _allowed(self, found: Path) -> Path:
        if not is_below(found, self.roots):
            raise MediaRefused(
                "the file lies outside of the dataset's folders",
                hint="name its folder in `media_roots` of the dataset to allow it",
            )
        return found

    def _real(self, path: str) -> Path:
        """Follow all links; the folders' ones once, since most samples share a folder."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            if len(self._folders) >= FOLDERS_KNOWN_MAX:
                self._folders.clear()
            self._folders[folder] = os.path.realpath(folder, strict=True)
        real = f"{self._folders[folder].rstrip('/')}/{name}"
        mode = os.lstat(real).st_mode
        if stat.S_ISLNK(mode):
            real = os.path.realpath(real, strict=True)
            mode = os.lstat(real).st_mode
        if not stat.S_ISREG(mode):
            raise MediaRefused("the path is no regular file")
        return Path(real)


def is_below(path: Path, roots: Sequence[Path]) -> bool:
    """Tell whether a path lies in one of the folders; all of them real paths."""
    return any(path.is_relative_to(root) for root in roots)


def open_media(path: Path, roots: Sequence[Path]) -> BinaryIO:
    """Open a file for reading, if what was opened lies below one of the roots.

    path  as `MediaPlaces.resolve` returned it, perhaps some time ago

    A link that was put in its way since then is not followed: the place of the open file is
    checked, not that of a name. Raises MediaRefused.
    """
    try:
        # Without O_NONBLOCK, a named pipe in the file's place would hold the thread for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise MediaRefused("the file cannot be opened", path=str(path), reason=reason) from exc
    file = os.fdopen(handle, "rb")
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise MediaRefused("the path is no regular file", path=str(path))
        if not is_below(_place(handle, path), [Path(os.path.realpath(root)) for root in roots]):
            raise MediaRefused("the file was moved out of the dataset's folders", path=str(path))
    except BaseException:
        file.close()
        raise
    return file


def image_size(file: BinaryIO) -> tuple[int, int]:
    """Return (width, height) in pixels, from the header; EXIF orientation is not applied.

    Raises MediaRefused when it is no image that can be read, or one above IMAGE_PIXELS_MAX.
    """
    from PIL import Image, UnidentifiedImageError  # a sixth of a second: not at every start

    try:
        with warnings.catch_warnings():
            # Pillow warns from 2^26 pixels on; the limit here is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as exc:
        raise MediaRefused("the image is too large", reason=str(exc)) from exc
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as exc:
        raise MediaRefused("the file is no image that can be read", reason=str(exc)) from exc
    if width * height > IMAGE_PIXELS_MAX:
        raise MediaRefused("the image is too large", width_px=width, height_px=height)
    return width, height


def _place(handle: int, path: Path) -> Path:
    """Return where the open file lies now."""
    if sys.platform == "linux":
        return Path(f"/proc/self/fd/{handle}").readlink()
    # Elsewhere: the name must still lead to this very file.
    real = Path(os.path.realpath(path))
    if not os.path.samestat(os.fstat(handle), real.stat()):
        raise MediaRefused("the file was replaced while it was opened", path=str(path))
    return real
