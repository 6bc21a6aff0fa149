"""Frames of a video as JPEG, upright and with the time that the container gives them. Needs PyAV."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unseen.data.images import BadImage, encode, upright
from unseen.errors import UnseenError

MISSING_S = 1.0  # seconds of a video's stated length that may lack a frame: the last may stand long, clocks are rounded
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

    A decoder ends quietly at a cut, so the length that the container states is held against it. Also BadImage where its
    display matrix asks for anything but quarter turns and mirroring.
    """
    import av

    end_s = 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadImage("no video stream")
            stream = container.streams.video[0]
            for number, frame in enumerate(container.decode(stream)):
                timed = frame.pts is not None and frame.time_base is not None
                t_ns = round(frame.pts * frame.time_base * 10**9) if timed else None  # type: ignore[operator]
                end_s = max(end_s, (t_ns or 0) * 1e-9)
                if number % every == 0:
                    yield VideoFrame(number, t_ns, upright(frame.to_ndarray(format="rgb24"), orientation(frame)))
            if _stated_s(stream) - end_s > MISSING_S:
                raise BadImage("truncated or corrupt video")
    except (av.FFmpegError, OSError) as error:
        raise BadImage("truncated or corrupt video") from error


def _stated_s(stream: Any) -> float:
    """Where a video stream ends by the container's own account, in seconds of its clock; 0 where it says nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    stated = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    return float(stated[1]) * 3600 + float(stated[2]) * 60 + float(stated[3]) if stated else 0.0


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
