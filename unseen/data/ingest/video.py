"""Frames of a video as JPEG, with the time that the container gives them. Needs PyAV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unseen.data.images import BadImage, encode
from unseen.errors import UnseenError


class VideoFrame(NamedTuple):
    number: int  # counted from 0 in the order of display
    t_ns: int | None  # since the start of the container's clock: not a date
    image: Any  # u8 [h, w, 3]


def require() -> None:
    """Say how to install what videos need, before anything is read."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UnseenError(
            "there are videos in the source, but PyAV is missing", "videos need an extra", "pip install 'unseen[video]'"
        ) from error


def frames(path: Path, every: int) -> Iterator[VideoFrame]:
    """Each `every`-th frame; BadImage where the file is none or breaks off, after the frames before that."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadImage("no video stream")
            for number, frame in enumerate(container.decode(video=0)):
                if number % every == 0:
                    timed = frame.pts is not None and frame.time_base is not None
                    t_ns = round(frame.pts * frame.time_base * 10**9) if timed else None  # type: ignore[operator]
                    yield VideoFrame(number, t_ns, frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, OSError) as error:
        raise BadImage("truncated or corrupt video") from error


def as_jpeg(image: Any) -> bytes:
    """A decoded frame at a quality that leaves the video's own artefacts the worse ones."""
    return encode(image, "jpeg", quality=95)
