"""Class ids beside the frames: a folder or a zip of images with the same stems, or an npz of arrays."""

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from unseen.data.images import BadImage, ImageInfo, decode_labels, upright
from unseen.data.ingest.listing import Reader, Source, find, natural
from unseen.data.store import Store
from unseen.errors import UnseenError


class LabelSource(Protocol):
    """Hands out the class ids u8 [h, w] of a frame, or None where it has none."""

    def digest(self, name: str, log_id: str, seq: int) -> str:
        """Changes when the label of this frame does."""
        ...

    def read(self, name: str, log_id: str, seq: int) -> np.ndarray | None: ...


def resolve(labels: str, log_id: str, src: Path) -> Path:
    """Where the labels of a log lie: `{log_id}` is filled in; relative to the source, or to here."""
    filled = labels.replace("{log_id}", log_id)
    base = src if src.is_dir() else src.parent
    return next((path for path in (base / filled, Path(filled)) if path.exists()), base / filled)


def open_labels(path: Path, suffix: str = "") -> LabelSource:
    """Open labels of any kind; `suffix` is what their stems have beyond those of the frames."""
    if path.suffix.lower() == ".npz":
        return _ArrayLabels(path)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _ImageLabels(path, suffix)
    raise UnseenError(
        f"labels {path} are not there", "labels are a folder, a zip or an npz", "{log_id} may stand in it"
    )


def turned_with(ids: np.ndarray, frame: ImageInfo) -> np.ndarray:
    """Class ids the same way up as their upright frame: drawn over it as it is shown, or as it was recorded.

    Which of both follows from the shape. BadImage where EXIF turns the frame and the shape does not tell.
    """
    if frame.orientation == 1:
        return ids
    (rows, columns), (height, width) = ids.shape, frame.shape[:2]
    if frame.orientation < 5 or rows == columns or height == width:
        raise BadImage("its frame is turned by EXIF, and its shape does not tell whether it is turned too")
    return ids if (rows > columns) == (height > width) else upright(ids, frame.orientation)


def grow_classes(store: Store, found: set[str]) -> None:
    """Name inline classes: those that the store knows keep their ids, new ones follow in natural order."""
    known = list(store.classes("class").names) if store.has_classes("class") else []
    if new := sorted(found - set(known), key=natural):
        store.set_classes("class", known + new)


class _ImageLabels:
    def __init__(self, path: Path, suffix: str):
        sources, _ = find(path)
        self._suffix, self._reader = suffix, Reader()
        self._by_path = {"/".join(_bare(source.name).split("/")[1:] or [source.name]): source for source in sources}
        if path.is_dir():
            self._by_path |= {_bare(source.name): source for source in sources}
        stems: dict[str, list] = {}
        for source in sources:
            stems.setdefault(PurePosixPath(source.name).stem, []).append(source)
        self._by_stem = {stem: found[0] for stem, found in stems.items() if len(found) == 1}

    def digest(self, name: str, log_id: str, seq: int) -> str:
        source = self._find(name, log_id)
        if source is None:
            return "none"
        if source.member is not None:
            return f"crc32 {source.crc32}"
        return hashlib.sha256(source.file.read_bytes()).hexdigest()

    def read(self, name: str, log_id: str, seq: int) -> np.ndarray | None:
        source = self._find(name, log_id)
        return None if source is None else decode_labels(self._reader.read(source))

    def _find(self, name: str, log_id: str) -> Source | None:
        stem = PurePosixPath(name).stem + self._suffix
        folder = PurePosixPath(name).parent
        candidates = (str(folder / stem), f"{log_id}/{stem}", "/".join([*folder.parts[1:], stem]))
        return next((self._by_path[path] for path in candidates if path in self._by_path), self._by_stem.get(stem))


class _ArrayLabels:
    """Arrays `labels` [N, h, w] and, to find a frame, `names` [N] (file names) or `frame_index` [N] (its number)."""

    def __init__(self, path: Path):
        try:
            with np.load(path, allow_pickle=False) as file:
                self._ids = file["labels"]
                names = [PurePosixPath(str(name)).stem for name in file["names"]] if "names" in file else None
                numbers = [int(number) for number in file["frame_index"]] if "frame_index" in file else None
        except (OSError, ValueError, KeyError) as error:
            raise UnseenError(
                f"cannot read labels from {path}: {error}", "an npz holds labels [N, h, w] and names [N]"
            ) from error
        if names is None and numbers is None:
            raise UnseenError(f"{path} does not say which frame is which", "an npz holds names [N] or frame_index [N]")
        self._place: Callable[[str, int], int | None]
        by_name = {name: place for place, name in enumerate(names or [])}
        by_number = {number: place for place, number in enumerate(numbers or [])}
        self._place = (lambda stem, seq: by_name.get(stem)) if names else (lambda stem, seq: by_number.get(seq))
        if (
            self._ids.ndim != 3
            or not np.issubdtype(self._ids.dtype, np.integer)
            or len(self._ids) != len(names or numbers or [])
        ):
            raise UnseenError(
                f"labels of {path} are {self._ids.dtype} {self._ids.shape}", "class ids [N, h, w], integers"
            )
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def digest(self, name: str, log_id: str, seq: int) -> str:
        return self._digest

    def read(self, name: str, log_id: str, seq: int) -> np.ndarray | None:
        place = self._place(PurePosixPath(name).stem, seq)
        if place is None:
            return None
        ids = self._ids[place]
        if ids.min() < 0 or ids.max() > 255:
            raise BadImage("label ids outside 0..255")
        return ids.astype(np.uint8)


def _bare(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
