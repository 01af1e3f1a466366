"""Videos, decoded and encoded by PyAV, which is imported on use.

PyAV is an extra (`labeltrail[video]`): it brings FFmpeg along. Without it a
video still makes a task (see `media.py`); its pictures are answered with 501.
All functions block; callers run them in a thread.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from PIL import Image

from daemon.sandbox.unsupported import VIDEO_WITHOUT_PYAV, unsupported
from events.errors import SyncError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# What CVAT writes chunks with (engine/media_extractors.py, Mpeg4ChunkWriter).
FRAMES_PER_SECOND = 25
ORIGINAL_QUALITY = 67
X264_WORST = 51
PIXELS_MAX = 64_000_000


class VideoUnreadable(SyncError):
    """A video whose pictures cannot be decoded."""


def _av() -> Any:
    try:
        import av
    except ImportError as exc:
        raise unsupported(VIDEO_WITHOUT_PYAV) from exc
    return av


def pictures(content: bytes, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Decode pictures of a video.

    numbers  frames of the video, ascending, counted from 0

    Raises VideoUnreadable, and Refused (501) where PyAV is not installed.
    """
    av = _av()
    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            # A codec that FFmpeg does not know has no size either.
            if stream.codec_context is None or stream.width * stream.height > PIXELS_MAX:
                raise VideoUnreadable("the pictures of the video are too large, or of no codec")
            yield from _decoded(container, stream, numbers)
    except (av.FFmpegError, IndexError, ValueError) as exc:
        raise VideoUnreadable("the video cannot be decoded") from exc


def _decoded(
    container: InputContainer, stream: VideoStream, numbers: Sequence[int]
) -> Iterator[Image.Image]:
    """Decode from the last keyframe before the first picture that is wanted."""
    packets = [packet for packet in container.demux(stream) if packet.pts is not None]
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    wanted = {times[number] for number in numbers}
    keys = sorted(packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None)
    start = keys[max(0, bisect_right(keys, min(wanted)) - 1)]
    container.seek(start, stream=stream)
    for frame in container.decode(stream):
        if frame.pts in wanted:
            wanted.remove(frame.pts)
            yield frame.to_image()  # type: ignore[no-untyped-call]
        if not wanted:
            return
    raise VideoUnreadable("the video ends before its last picture")


def chunk(images: Iterable[Image.Image], *, quality: int) -> bytes:
    """Write pictures of one size as an MP4.

    quality  0 to 100, as CVAT counts it
    """
    av = _av()
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.pix_fmt = "yuv420p"
        worse = round(X264_WORST * (100 - quality) / 99)
        stream.options = {"crf": str(min(worse, X264_WORST)), "preset": "ultrafast"}
        rest = iter(images)
        first = next(rest)
        # Colours are stored for two pixels by two: the size must be even.
        stream.width, stream.height = (side + side % 2 for side in first.size)
        for image in chain([first], rest):
            frame = av.VideoFrame.from_image(image)
            container.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        container.mux(stream.encode())
    return written.getvalue()
