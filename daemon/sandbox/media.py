"""Media of a task: sizes, order, and the cut into jobs.

Images are opened for their size alone. Of a video only the tables of its MP4
container are read (ISO/IEC 14496-12: `tkhd` has the size, `stsz` the number of
frames); what is decoded is decoded when it is asked for (`pictures.py`).
"""

from __future__ import annotations

import io
import re
import warnings
from hashlib import sha256

from PIL import Image

from daemon.sandbox.model import Data, Frame, Task
from daemon.sandbox.present import VIDEO_CHUNK_SIZE
from events.errors import SyncError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
VIDEO_OVERLAP = 5
CHUNK_FRAMES_MAX = 72
# Hours of video; each could become a job. The number is the file's to say.
VIDEO_FRAMES_MAX = 500_000
CHUNK_PIXELS = 36 * 1920 * 1080
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


class MediaUnreadable(SyncError):
    """A file that is neither an image nor a video that can be read."""


def read_media(data: Data, files: dict[str, bytes], *, sorting: str, zip_chunks: bool) -> None:
    """Read all files into a task's data; raises MediaUnreadable."""
    if not files:
        raise MediaUnreadable("No media data found")
    videos = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
    if videos and len(files) > 1:
        raise MediaUnreadable("Only one video can be in a task")
    data.is_video = bool(videos)
    if videos:
        frame, count = read_video(videos[0], files[videos[0]])
        data.compressed_as = "imageset" if zip_chunks else "video"
        frames, names = [frame], videos
    else:
        names = in_order(list(files), sorting)
        frames, count = [image_size(name, files[name]) for name in names], len(names)
    _cut(data, frames, names, files, count)


def _cut(
    data: Data, frames: list[Frame], names: list[str], files: dict[str, bytes], count: int
) -> None:
    """Apply start, stop and step, which count frames of the source."""
    if not re.fullmatch(r"(step=[1-9][0-9]{0,8})?", data.frame_filter):
        raise MediaUnreadable(f"Invalid frame filter expression: {data.frame_filter}")
    step = data.step
    last = min(data.stop_frame, count - 1) if data.stop_frame else count - 1
    kept = range(data.start_frame, last + 1, step)
    if not kept:
        raise MediaUnreadable("Frame ranges are out of the media")
    data.size, data.stop_frame = len(kept), data.start_frame + (len(kept) - 1) * step
    data.frames = frames if data.is_video else [frames[n] for n in kept]
    data.files = files if data.is_video else {names[n]: files[names[n]] for n in kept}
    if data.chunk_size is None:
        data.chunk_size = chunk_size(data)


def chunk_size(data: Data) -> int:
    """Return how many frames CVAT puts into a chunk: fewer of large ones."""
    if data.compressed_as == "video":
        return VIDEO_CHUNK_SIZE
    area = max(1, data.frames[0].width * data.frames[0].height)
    return max(2, min(CHUNK_FRAMES_MAX, CHUNK_PIXELS // area))


def in_order(names: list[str], sorting: str) -> list[str]:
    """Sort file names as `sorting_method` says."""
    match sorting:
        case "predefined":
            return names
        case "natural":
            return sorted(names, key=lambda name: [_natural(s) for s in re.split(r"(\d+)", name)])
        case "random":
            return sorted(names, key=lambda name: sha256(name.encode()).digest())
        case _:
            return sorted(names)


def _natural(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def image_size(name: str, content: bytes) -> Frame:
    """Read an image's size from its header; raises MediaUnreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                return Frame(name, *image.size)
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise MediaUnreadable(f"cannot identify image file '/home/django/data/raw/{name}'") from e


def read_video(name: str, content: bytes) -> tuple[Frame, int]:
    """Read size and number of frames from an MP4; raises MediaUnreadable."""
    boxes = _boxes(content)
    tracks = [box for kind, box in boxes if kind == b"tkhd"]
    tables = [box for kind, box in boxes if kind == b"stsz"]
    for track, table in zip(tracks, tables, strict=False):
        width, height = (int.from_bytes(each) >> 16 for each in (track[-8:-4], track[-4:]))
        count = int.from_bytes(table[8:12])
        if width and height and 0 < count <= VIDEO_FRAMES_MAX:
            return Frame(name, width, height), count
    raise MediaUnreadable(f"cannot find a video stream in '{name}'")


def _boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    place = 0
    while place + 8 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(content[place + 8 : place + 16]), 16
        end = len(content) if size == 0 else place + size
        if end < place + head:
            break
        body = content[place + head : end]
        found += _boxes(body) if kind in CONTAINERS else [(kind, body)]
        place = end
    return found


def segments(task: Task, *, is_new: bool = False) -> list[tuple[int, int]]:
    """Cut a task into jobs; sets its segment size and overlap.

    is_new   a task of one job has no overlap (2.73)

    returns  first and last frame of each job (engine/task.py, _get_task_segment_data)
    """
    assert task.data is not None, "a task without media has no jobs"
    size = task.data.size
    whole = task.segment_size == 0 or task.segment_size > size
    length = size if whole else task.segment_size
    wanted = task.overlap
    if wanted is None:
        wanted = VIDEO_OVERLAP if task.data.is_video else 0
    overlap = 0 if whole and is_new else min(wanted, length // 2)
    task.segment_size, task.overlap = length, overlap
    if whole:
        return [(0, size - 1)]
    starts = range(0, size - overlap, length - overlap)
    return [(start, min(start + length, size) - 1) for start in starts]
