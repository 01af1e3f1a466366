"""Pictures of a task as CVAT sends them: a frame, a chunk of frames, a preview.

Frames of a video are PNG; its chunks are MP4, or a zip of JPEG where they are
compressed so. Chunks of images are always a zip, numbered from 000000. Sources:
engine/frame_provider.py and engine/media_extractors.py. All functions block;
callers run them in a thread.
"""

from __future__ import annotations

import io
import mimetypes
import zipfile
from collections.abc import Iterator, Sequence

from PIL import Image

from daemon.sandbox import video
from daemon.sandbox.model import Data

# Compressed videos are halved until they are lower than this.
COMPRESSED_HEIGHT_MAX = 1080
PREVIEW_SIZE = (256, 256)
# A chunk is made in memory; a real server puts it on a disk.
CHUNK_PIXELS_MAX = 1_000_000_000
ZIP = "application/zip"
MP4 = "video/mp4"

# Content and content type.
Picture = tuple[bytes, str]


class ChunkTooLarge(video.VideoUnreadable):
    """A chunk of more pixels than the sandbox makes at once."""


def frame(data: Data, number: int, *, compressed: bool) -> Picture:
    """Return one frame of a task.

    Raises OSError where an image, VideoUnreadable where a video cannot be decoded.
    """
    if not data.is_video and not compressed:
        name, content = list(data.files.items())[number]
        return content, mimetypes.guess_type(name)[0] or "application/octet-stream"
    image = next(_images(data, [number], compressed=compressed))
    if _sends_video(data, compressed=compressed):
        return _written(image, "PNG"), "image/png"
    return _written(image, "JPEG", quality=data.image_quality), "image/jpeg"


def chunk(data: Data, numbers: Sequence[int], *, compressed: bool) -> Picture:
    """Return several frames of a task in one file; raises as `frame` does, and ChunkTooLarge."""
    size = data.frames[0]
    if len(numbers) * size.width * size.height > CHUNK_PIXELS_MAX:
        raise ChunkTooLarge("the chunk is too large for the sandbox")
    if _sends_video(data, compressed=compressed):
        quality = data.image_quality if compressed else video.ORIGINAL_QUALITY
        return video.chunk(_images(data, numbers, compressed=compressed), quality=quality), MP4
    if compressed:
        images = _images(data, numbers, compressed=True)
        return _zipped(
            ("jpeg", _written(each, "JPEG", quality=data.image_quality)) for each in images
        ), ZIP
    files = list(data.files.items())
    return _zipped((files[n][0].rpartition(".")[2], files[n][1]) for n in numbers), ZIP


def preview(data: Data, number: int) -> Picture:
    """Return a small JPEG of a frame; raises as `frame` does."""
    image = next(_images(data, [number], compressed=True))
    image.thumbnail(PREVIEW_SIZE)
    return _written(image, "JPEG"), "image/jpeg"


def _sends_video(data: Data, *, compressed: bool) -> bool:
    return data.is_video and not (compressed and data.compressed_as == "imageset")


def _images(data: Data, numbers: Sequence[int], *, compressed: bool) -> Iterator[Image.Image]:
    """Decode frames of a task, RGB, at the size in which they are sent."""
    files = list(data.files.values())
    if not data.is_video:
        for number in numbers:
            with Image.open(io.BytesIO(files[number])) as opened:
                yield opened.convert("RGB")
        return
    for image in video.pictures(files[0], [data.start_frame + n * data.step for n in numbers]):
        smaller = compressed and _sends_video(data, compressed=True)
        yield _halved(image) if smaller else image


def _halved(image: Image.Image) -> Image.Image:
    factor = 1
    while image.height / factor >= COMPRESSED_HEIGHT_MAX:
        factor *= 2
    return image.resize((image.width // factor, image.height // factor))


def _written(image: Image.Image, kind: str, *, quality: int = 75) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, quality=quality)
    return written.getvalue()


def _zipped(members: Iterator[tuple[str, bytes]]) -> bytes:
    """Write files under their number in the chunk, not compressed once more."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for number, (suffix, content) in enumerate(members):
            archive.writestr(f"{number:06d}.{suffix}", content)
    return written.getvalue()
