"""What lies under a path: image files, images in zip archives, videos. Nothing is ever unpacked to disk."""

import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unseen.data.images import BadImage
from unseen.errors import UnseenError

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
MAX_BYTES = 1 << 28  # of one image file, also of one that a zip claims to hold


class Source(NamedTuple):
    """A file that may hold frames."""

    name: str  # path below the source, with / ; an archive counts as a folder named by its stem
    file: Path  # what to open: the image, the archive or the video
    member: str | None  # inside the archive
    size: int
    crc32: int | None = None  # of the content, as the archive's directory has it

    @property
    def uri(self) -> str:
        """How messages call it."""
        return f"{self.file}/{self.member}" if self.member else str(self.file)


class Skip(NamedTuple):
    """A file that did not come in, and why."""

    file: str
    reason: str


def find(src: Path, leave_out: Collection[Path] = ()) -> tuple[list[Source], list[Skip]]:
    """All images and videos below a folder, or in one archive, in natural order; and what else was there.

    `leave_out` names files and folders with another purpose (sidecar, labels): they are passed over in silence.
    """
    if not src.exists():
        raise UnseenError(f"{src} does not exist", "a source is a folder, a zip archive or a video", "check the path")
    left_out = {path.resolve() for path in leave_out}
    sources: list[Source] = []
    skips: list[Skip] = []
    for path, relative in _files(src, left_out):
        for found in _open(path, relative, src):
            if isinstance(found, Source):
                sources.append(found)
            else:
                skips.append(found)
    sources.sort(key=lambda source: natural(source.name))
    return sources, skips


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part)) if part.isdigit() and part.isascii() else (0, part) for part in parts]


class Reader:
    """Reads sources; keeps the archive at hand open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._zip: zipfile.ZipFile | None = None

    def read(self, source: Source) -> bytes:
        """The bytes of an image; BadImage where they cannot be had."""
        if source.size > MAX_BYTES:
            raise BadImage("file too large")
        try:
            if source.member is None:
                return source.file.read_bytes()
            with self.archive(source.file).open(source.member) as file:
                data = file.read(MAX_BYTES + 1)  # what the directory claims is not trusted
        except RuntimeError as error:
            raise BadImage("encrypted") from error
        except (OSError, ValueError, KeyError, EOFError, NotImplementedError, *_BROKEN) as error:
            raise BadImage("unreadable") from error
        if len(data) > MAX_BYTES:
            raise BadImage("file too large")
        return data

    def archive(self, path: Path) -> zipfile.ZipFile:
        """The archive, opened once."""
        if self._path != path:
            self.close()
            self._zip, self._path = zipfile.ZipFile(path), path
        assert self._zip is not None
        return self._zip

    def close(self) -> None:
        """Let go of the archive."""
        if self._zip is not None:
            self._zip.close()
        self._zip = self._path = None


def _files(src: Path, left_out: Collection[Path]) -> Iterator[tuple[Path, PurePosixPath]]:
    if src.is_file():
        yield src, PurePosixPath(src.name)
        return
    for folder, folders, files in os.walk(src):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in left_out)
        for name in sorted(files):
            path = here / name
            if path.resolve() not in left_out:
                yield path, PurePosixPath(path.relative_to(src).as_posix())


def _open(path: Path, relative: PurePosixPath, src: Path) -> Iterator[Source | Skip]:
    suffix = path.suffix.lower()
    if _hidden(relative):
        yield Skip(str(path), "hidden file")
    elif suffix == ".zip":
        yield from _members(path, relative.with_suffix(""))
    elif suffix not in IMAGES | VIDEOS:
        yield Skip(str(path), f"foreign file ({suffix or 'no suffix'})")
    elif not path.is_file():
        yield Skip(str(path), "unreadable")
    elif suffix in IMAGES and relative.parent == PurePosixPath("."):
        folder = path.resolve().parent.name if src.is_file() else src.resolve().name
        yield Source(f"{folder}/{relative}", path, None, path.stat().st_size)
    else:
        yield Source(str(relative), path, None, path.stat().st_size)


def _members(path: Path, prefix: PurePosixPath) -> Iterator[Source | Skip]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        yield Skip(str(path), "not a readable zip")
        return
    for entry in entries:
        member = PurePosixPath(entry.filename)
        uri = f"{path}/{entry.filename}"
        if member.is_absolute() or ".." in member.parts or "\\" in entry.filename or ":" in entry.filename:
            yield Skip(uri, "unsafe member name")
        elif _hidden(member):
            yield Skip(uri, "hidden file")
        elif member.suffix.lower() not in IMAGES:
            yield Skip(uri, f"foreign file ({member.suffix or 'no suffix'})")
        else:
            yield Source(f"{prefix}/{member}", path, entry.filename, entry.file_size, entry.CRC)


def _hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db") for part in path.parts)
