"""Clips: batches of frames of a store, as training crops or whole, as a pure function of (seed, position)."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from unseen.contract import Clip
from unseen.data.images import decode, decode_labels, resize_nearest
from unseen.data.order import VERSION, Shuffle, Weighted
from unseen.data.schema import CAMERA_LIKE, identity, sample_id
from unseen.data.store import Store
from unseen.data.views import Frame, Frames
from unseen.errors import UnseenError
from unseen.randomness import keys

IGNORE = 255  # of the label of a clip, whatever id the store ignores


class ClipSource:
    """The samples (frame, camera) of some logs of a store, seen through a view.

    `batch(positions)` gives augmented crops; position p belongs to epoch p // len(self), and every epoch visits each
    sample once. With `log_power` a > 0 samples are drawn with replacement instead, and a frame of a log of n frames
    counts n^-a, so that long logs do not drown short ones. Decoded frames stay in memory up to `cache_mb`; what is in
    there changes speed, never content. Safe to share between threads. `log_of` [n] and `sample_id` [n] are int64.
    """

    def __init__(
        self,
        store: Store,
        log_ids: Sequence[str],
        view: Frames,
        *,
        seed: int = 0,
        log_power: float = 0.0,
        cache_mb: int = 2048,
    ):
        if len(set(log_ids)) != len(log_ids):
            raise UnseenError(f"logs named twice: {sorted(log_ids)}", "a log is taken once")
        self.store, self.view, self.seed, self.log_ids = store, view, seed, list(log_ids)
        samples = [sample for number, log in enumerate(self.log_ids) for sample in self._samples(number, log)]
        if not samples:
            raise UnseenError(
                f"no camera frames in {len(self.log_ids)} logs of {store.path}",
                f"view.sensors is {view.sensors}" if view.sensors else "",
                "see: unseen inspect",
            )
        log, sensor, row, encoding, frame, t_ns, previous = zip(*samples, strict=True)
        self.log_of = np.array(log)
        self.sensor_of, self.frame_id, self._encoding = list(sensor), list(frame), list(encoding)
        self._row, self._t_ns, self._previous = row, t_ns, self._previous_index(previous)
        self.sample_id = np.array([sample_id(f, s) for f, s in zip(frame, sensor, strict=True)])
        self.digest = identity(VERSION, store.digest(self.log_ids), sorted(asdict(view).items()))
        self._order = self._make_order(log_power)
        self._cache = _Cache(cache_mb * 2**20)

    def __len__(self) -> int:
        return len(self.frame_id)

    def order(self, positions: Int64[np.ndarray, "B"]) -> Int64[np.ndarray, "B"]:
        """Which sample stands at each position."""
        return self._order(positions)

    def batch(self, positions: Int64[np.ndarray, "B"]) -> Clip:
        """Training crops [B, C, *view.image_px]; a pure function of (seed, position), whoever asks and when."""
        positions = np.asarray(positions, dtype=np.int64)
        indices = self.order(positions)
        frames = [self._frame(int(index)) for index in indices]
        draws = self.view.draws(keys(self.seed, torch.from_numpy(positions), 0, "view"))
        image = self._blank(indices, frames, self.view.image_px)
        pairs = zip(frames, draws, image, strict=True)
        region = [self.view.train(frame, draw, out) for frame, draw, out in pairs]
        return self._clip(indices, frames, image, torch.tensor(region, dtype=torch.float32))

    def frames(self, indices: Sequence[int] | np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip:
        """Whole frames [B, C, *view.frame_px], nothing random; with the frame before, and with class ids, on request.

        `previous` is the frame of the same camera just before (itself for the first of a log). `label` [B, H, W] is
        the seg label resized by nearest neighbour; 255 where the class is ignored or the frame has no label.
        """
        indices = np.asarray(indices, dtype=np.int64)
        frames = [self._frame(int(index)) for index in indices]
        size = self.view.frame_px
        region = torch.tensor([[0.0, 0.0, *size]]).repeat(len(indices), 1)
        clip = self._clip(indices, frames, self._whole(indices, frames), region)
        if previous:
            before = self._previous[indices]
            clip["previous"] = self._whole(before, [self._frame(int(index)) for index in before])
        if labels:
            ids = np.stack([self._label(int(index)) for index in indices])
            clip["label"] = torch.from_numpy(ids).long()
        return clip

    def raw(self, clip: Clip) -> Tensor:
        """The images of a clip, as a user would hand them to an encoder."""
        return clip["image"]

    def class_label(self, index: int) -> int | None:
        """The class id of a sample's frame; None where it has none."""
        name = self.store.read_label(self.log_ids[self.log_of[index]], "class", self.frame_id[index])
        return None if name is None else self.store.classes("class").names.index(name)

    def labelled(self, kind: str = "seg") -> Shaped[np.ndarray, "n"]:
        """True for the samples whose frame has a label of this kind."""
        known = [self.store.labelled(log_id, kind) for log_id in self.log_ids]
        return np.array([frame in known[log] for log, frame in zip(self.log_of, self.frame_id, strict=True)])

    def _samples(self, number: int, log_id: str) -> Iterator[tuple[Any, ...]]:
        wanted = {
            sensor["sensor_id"]
            for sensor in self.store.table("sensor", [log_id]).to_pylist()
            if sensor["modality"] in CAMERA_LIKE and sensor["name"] in (self.view.sensors or (sensor["name"],))
        }
        frames = self.store.table("frame", [log_id]).select(["frame_id", "seq", "t_ns", "prev_frame_id"]).to_pylist()
        known = {frame["frame_id"]: frame for frame in frames}
        names = ["frame_id", "sensor_id", "sensor", "row", "encoding", "t_ns"]
        rows = self.store.table("obs", [log_id]).select(names).to_pylist()
        rows = [row for row in rows if row["sensor_id"] in wanted and row["frame_id"] is not None]
        rows.sort(key=lambda row: (row["sensor"], known[row["frame_id"]]["seq"]))
        for row in rows:
            frame = known[row["frame_id"]]
            t_ns = frame["t_ns"] if row["t_ns"] is None else row["t_ns"]
            before = (number, row["sensor"], frame["prev_frame_id"])
            yield number, row["sensor"], row["row"], row["encoding"], row["frame_id"], t_ns, before

    def _previous_index(self, previous: Sequence[tuple]) -> np.ndarray:
        here = zip(self.log_of.tolist(), self.sensor_of, self.frame_id, strict=True)
        place = {key: index for index, key in enumerate(here)}
        return np.array([place.get(key, index) for index, key in enumerate(previous)])

    def _make_order(self, log_power: float) -> Shuffle | Weighted:
        if log_power == 0:
            return Shuffle(len(self), self.seed)
        sizes = np.bincount(self.log_of)
        sizes = sizes[sizes > 0]
        return Weighted(sizes.tolist(), sizes ** (1.0 - log_power), self.seed)

    def _frame(self, index: int) -> Frame:
        frame = self._cache.get(index)
        if frame is None:
            frame = self._load(index)
            self._cache.put(index, frame, frame.image.nbytes)
        return frame

    def _load(self, index: int) -> Frame:
        log_id, sensor, row = self.log_ids[self.log_of[index]], self.sensor_of[index], self._row[index]
        blob = self.store.read_blob(log_id, sensor, row)
        try:
            return self.view.frame(decode(blob, self._encoding[index], self.view.sufficient_px, self.view.channels))
        except Exception as error:  # decoders raise whatever they like on bytes that are no image
            raise UnseenError(
                f"cannot decode {self._encoding[index]} of log {log_id!r}, sensor {sensor!r}, frame "
                f"{self.frame_id[index]} in {self.store.path}: {error}",
                "payload is never substituted",
                "remove the log's folder and ingest it again",
            ) from error

    def _whole(self, indices: np.ndarray, frames: list[Frame]) -> Tensor:
        image = self._blank(indices, frames, self.view.frame_px)
        for frame, out in zip(frames, image, strict=True):
            out.copy_(self.view.whole(frame))
        return image

    def _blank(self, indices: np.ndarray, frames: list[Frame], size: tuple[int, int]) -> Tensor:
        types = {frame.image.dtype for frame in frames}
        if len(types) > 1:
            logs = sorted({self.log_ids[self.log_of[index]] for index in indices})
            raise UnseenError(
                f"8 and 16 bit images in one batch (logs {', '.join(logs)})",
                "all frames of a batch have one depth",
                "ingest each depth into a store of its own; a training may also name its cameras in view.sensors",
            )
        dtype = torch.uint8 if types == {np.dtype(np.uint8)} else torch.uint16
        return torch.empty((len(frames), self.view.channels, *size), dtype=dtype)

    def _clip(self, indices: np.ndarray, frames: list[Frame], image: Tensor, region: Tensor) -> Clip:
        shape = (len(frames), self.view.channels)
        clip = Clip(
            image=image,
            region_px=region,
            frame_mean=torch.from_numpy(np.stack([np.broadcast_to(frame.mean, shape[1:]) for frame in frames])),
            frame_std=torch.from_numpy(np.stack([np.broadcast_to(frame.std, shape[1:]) for frame in frames])),
            sample_id=torch.from_numpy(self.sample_id[indices]),
            log_id=[self.log_ids[log] for log in self.log_of[indices]],
        )
        times = [self._t_ns[index] for index in indices]
        if None not in times:
            clip["timestamp_ns"] = torch.tensor(times, dtype=torch.int64)
        return clip

    def _label(self, index: int) -> np.ndarray:
        blob = self.store.read_label(self.log_ids[self.log_of[index]], "seg", self.frame_id[index])
        if not isinstance(blob, bytes):
            return np.full(self.view.frame_px, IGNORE, dtype=np.uint8)
        ids = resize_nearest(decode_labels(blob), self.view.frame_px)
        ignore = self.store.classes("seg").ignore
        return ids if ignore is None else np.where(ids == ignore, np.uint8(IGNORE), ids)


class _Cache:
    """Keeps what came first until it is full: where every epoch visits all, evicting would only lose hits."""

    def __init__(self, limit: int):
        self._limit, self._size = limit, 0
        self._kept: dict[int, Frame] = {}
        self._lock = threading.Lock()
        self.get = self._kept.get

    def put(self, index: int, frame: Frame, size: int) -> None:
        with self._lock:
            if index not in self._kept and self._size + size <= self._limit:
                self._kept[index] = frame
                self._size += size
