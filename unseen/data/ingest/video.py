"""Frames of a video as JPEG, upright and with the time that the container gives them. Needs PyAV."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unseen.data.images import BadImage, encode, upright
from unseen.errors import UnseenError

_ORIENTATION = {  # EXIF's number by the signs of a display matrix
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class VideoFrame(NamedTuple):
    number: int  # counted from 0 in the order of display
    t_ns: int | None  # since the start of the container's clock: not a date
    image: Any  # u8 [h, w, 3], as a player shows it


def require() -> None:
    """Say how to install what videos need, before anything is read."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UnseenError(
            "there are videos in the source, but PyAV is missing", "videos need an extra", "pip install 'unseen[video]'"
        ) from error


def frames(path: Path, every: int) -> Iterator[VideoFrame]:
    """Each `every`-th frame; BadImage where the file is none or breaks off, after the frames before that.

    Also BadImage where its display matrix asks for anything but quarter turns and mirroring.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadImage("no video stream")
            for number, frame in enumerate(container.decode(video=0)):
                if number % every == 0:
                    timed = frame.pts is not None and frame.time_base is not None
                    t_ns = round(frame.pts * frame.time_base * 10**9) if timed else None  # type: ignore[operator]
                    yield VideoFrame(number, t_ns, upright(frame.to_ndarray(format="rgb24"), orientation(frame)))
    except (av.FFmpegError, OSError) as error:
        raise BadImage("truncated or corrupt video") from error


def orientation(frame: Any) -> int:
    """How the container's display matrix turns a decoded frame, in the numbers of EXIF; 1: upright, or no matrix."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1
    a, b, _, c, d = struct.unpack_from("5i", bytes(matrix))  # (x, y) is shown at (a x + c y, b x + d y)
    found = _ORIENTATION.get(tuple((value > 0) - (value < 0) for value in (a, b, c, d)))
    if found is None:
        raise BadImage("display matrix is no quarter turn")
    return found


def as_jpeg(image: Any) -> bytes:
    """A decoded frame at a quality that leaves the video's own artefacts the worse ones."""
    return encode(image, "jpeg", quality=95)
