"""The frames of the cameras of some logs: found once, decoded once, kept while there is room. All sources read them."""

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8
from torch import Tensor

from unseen.contract import Clip
from unseen.data.images import decode, decode_depth, decode_labels, resize_nearest
from unseen.data.order import VERSION, Shuffle, Weighted
from unseen.data.schema import CAMERA_LIKE, identity, sample_id
from unseen.data.store import Store
from unseen.data.views import Frame, Frames
from unseen.errors import UnseenError

IGNORE = 255  # of the label of a clip, whatever id the store ignores


class Shot(NamedTuple):
    """One frame of one camera, as the tables of a store tell it."""

    log: int  # index into the log ids
    sensor: str
    row: int
    encoding: str
    size_px: tuple[int, int]  # height, width as recorded
    frame_id: str
    seq: int
    t_ns: int | None
    linked: bool  # the frame before it in the log is the one that it follows
    previous: tuple[int, str, str | None]  # the same camera in the frame before: log, sensor, frame


class Cameras:
    """The frames of all cameras (or of `picture.sensors`) of some logs: by log, then by camera, then in time order.

    Decoded frames and depths stay in memory up to `cache_mb`; what is in there changes speed, never content. Safe to
    share between threads.
    """

    def __init__(self, store: Store, log_ids: Sequence[str], picture: Frames, cache_mb: int):
        if len(set(log_ids)) != len(log_ids):
            raise UnseenError(f"logs named twice: {sorted(log_ids)}", "a log is taken once")
        self.store, self.log_ids, self.picture = store, list(log_ids), picture
        self.shots = [shot for number, log in enumerate(self.log_ids) for shot in self._shots(number, log)]
        if not self.shots:
            there = sorted({sensor["name"] for sensor in store.table("sensor", self.log_ids).to_pylist()})
            raise UnseenError(
                f"no camera frames in {len(self.log_ids)} logs of {store.path}",
                f"the view names the sensors {', '.join(picture.sensors)}" if picture.sensors else "",
                f"the sensors of these logs: {', '.join(there) or 'none'}",
            )
        self.log_of = np.array([shot.log for shot in self.shots])
        place: dict[Any, int] = {(shot.log, shot.sensor, shot.frame_id): index for index, shot in enumerate(self.shots)}
        self.previous = np.array([place.get(shot.previous, index) for index, shot in enumerate(self.shots)])
        self._cache = _Cache(cache_mb * 2**20)
        self._label_sensors: dict[str, dict[str, str | None]] = {}

    def __len__(self) -> int:
        return len(self.shots)

    def frame(self, index: int) -> Frame:
        """A decoded frame, reduced to what the view can use."""
        frame = self._cache.get(index)
        if frame is None:
            frame = self._load(index)
            self._cache.put(index, frame, frame.image.nbytes)
        return frame

    def blank(self, indices: Sequence[int] | np.ndarray, frames: list[Frame], size: tuple[int, int]) -> Tensor:
        """Room for as many pictures [B, C, *size] of the depth that these frames have; they all have the same."""
        types = {frame.image.dtype for frame in frames}
        if len(types) > 1:
            logs = sorted({self.log_ids[self.log_of[index]] for index in indices})
            raise UnseenError(
                f"8 and 16 bit images in one batch (logs {', '.join(logs)})",
                "all frames of a batch have one depth",
                "ingest each depth into a store of its own; a training may also name its cameras in view.sensors",
            )
        dtype = torch.uint8 if types == {np.dtype(np.uint8)} else torch.uint16
        return torch.empty((len(frames), self.picture.channels, *size), dtype=dtype)

    def whole(self, indices: Sequence[int] | np.ndarray) -> Shaped[Tensor, "B C H W"]:
        """Whole frames at the nominal size, nothing random."""
        frames = [self.frame(int(index)) for index in indices]
        image = self.blank(indices, frames, self.picture.frame_px)
        for frame, out in zip(frames, image, strict=True):
            out.copy_(self.picture.whole(frame))
        return image

    def statistics(self, groups: Iterable[np.ndarray]) -> Clip:
        """Mean, standard deviation and quantiles of each group of whole frames, as fields of a clip [n, ...]."""
        rows = [joint([self.frame(int(index)) for index in group], self.picture.channels) for group in groups]
        mean, std, quantiles = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return Clip(frame_mean=mean, frame_std=std, frame_quantiles=quantiles)

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """The seg label of a frame at the nominal size; IGNORE where the class is ignored or there is no label."""
        shot = self.shots[index]
        blob = self.store.read_label(self.log_ids[shot.log], "seg", shot.frame_id)
        if not isinstance(blob, bytes):
            return np.full(self.picture.frame_px, IGNORE, dtype=np.uint8)
        ids = resize_nearest(decode_labels(blob), self.picture.frame_px)
        ignore = self.store.classes("seg").ignore
        return ids if ignore is None else np.where(ids == ignore, np.uint8(IGNORE), ids)

    def label_sensor(self, index: int) -> str | None:
        """The sensor that the seg label of a frame was made for; None where nobody said."""
        shot = self.shots[index]
        log_id = self.log_ids[shot.log]
        if log_id not in self._label_sensors:
            columns = self.store.table("label-seg", [log_id]).select(["frame_id", "frame_of_reference"]).to_pydict()
            self._label_sensors[log_id] = dict(zip(*columns.values(), strict=True))
        return self._label_sensors[log_id].get(shot.frame_id)

    def labelled(self, kind: str) -> Bool[np.ndarray, "n"]:
        """True for the frames that have a label of this kind."""
        known = [self.store.labelled(log_id, kind) for log_id in self.log_ids]
        return np.array([shot.frame_id in known[shot.log] for shot in self.shots])

    def class_label(self, index: int) -> int | None:
        """The class id of a frame; None where it has none."""
        shot = self.shots[index]
        name = self.store.read_label(self.log_ids[shot.log], "class", shot.frame_id)
        return None if name is None else self.store.classes("class").names.index(name)

    def depth_m(self, index: int) -> Float32[np.ndarray, "h w"] | None:
        """The depth label of a frame as recorded, NaN where it is not known; None where it has none."""
        shot = self.shots[index]
        if shot.frame_id not in self.store.labelled(self.log_ids[shot.log], "depth"):
            return None
        depth = self._cache.get(("depth", index))
        if depth is None:
            blob = self.store.read_label(self.log_ids[shot.log], "depth", shot.frame_id)
            if not isinstance(blob, bytes):
                return None
            depth = decode_depth(blob)
            self._cache.put(("depth", index), depth, depth.nbytes)
        return depth

    def _shots(self, number: int, log_id: str) -> Iterator[Shot]:
        wanted = {
            sensor["sensor_id"]
            for sensor in self.store.table("sensor", [log_id]).to_pylist()
            if sensor["modality"] in CAMERA_LIKE and sensor["name"] in (self.picture.sensors or (sensor["name"],))
        }
        frames = self.store.table("frame", [log_id]).select(["frame_id", "seq", "t_ns", "prev_frame_id"]).to_pylist()
        frames.sort(key=lambda frame: frame["seq"])
        known = {frame["frame_id"]: frame for frame in frames}
        links = zip([None, *(frame["frame_id"] for frame in frames)], frames, strict=False)
        linked = {frame["frame_id"]: frame["prev_frame_id"] == before for before, frame in links}
        names = ["frame_id", "sensor_id", "sensor", "row", "encoding", "shape", "t_ns"]
        rows = self.store.table("obs", [log_id]).select(names).to_pylist()
        rows = [row for row in rows if row["sensor_id"] in wanted and row["frame_id"] is not None]
        rows.sort(key=lambda row: (row["sensor"], known[row["frame_id"]]["seq"]))
        for row in rows:
            frame, sensor, size = known[row["frame_id"]], row["sensor"], row["shape"]
            t_ns = frame["t_ns"] if row["t_ns"] is None else row["t_ns"]
            here = (number, sensor, row["row"], row["encoding"], (size[0], size[1]), row["frame_id"], frame["seq"])
            yield Shot(*here, t_ns, linked[row["frame_id"]], (number, sensor, frame["prev_frame_id"]))

    def _load(self, index: int) -> Frame:
        shot, picture = self.shots[index], self.picture
        log_id = self.log_ids[shot.log]
        blob = self.store.read_blob(log_id, shot.sensor, shot.row)
        try:
            return picture.frame(decode(blob, shot.encoding, picture.sufficient_px, picture.channels))
        except Exception as error:  # decoders raise whatever they like on bytes that are no image
            raise UnseenError(
                f"cannot decode {shot.encoding} of log {log_id!r}, sensor {shot.sensor!r}, frame {shot.frame_id} in "
                f"{self.store.path}: {error}",
                "payload is never substituted",
                "remove the log's folder and ingest it again",
            ) from error


class CameraSource:
    """What all sources of camera frames have in common; each sample has one frame that names, dates and labels it.

    Position p belongs to epoch p // len(self), and every epoch visits each sample once. With `log_power` a > 0 samples
    are drawn with replacement instead, and a sample of a log of n samples counts n^-a, so that long logs do not drown
    short ones. `log_of` [n] and `sample_id` [n] are int64.
    """

    def __init__(self, cameras: Cameras, named_by: Int64[np.ndarray, "n"], view: Any, seed: int, log_power: float):
        self.cameras, self.named_by, self.view, self.seed = cameras, named_by, view, seed
        self.store, self.log_ids = cameras.store, cameras.log_ids
        self.log_of = cameras.log_of[named_by]
        without = sorted(set(range(len(self.log_ids))) - set(self.log_of.tolist()))
        self.left_out = {self.log_ids[log]: "no frame of the cameras that the view takes" for log in without}
        self.thinned: dict[str, str] = {}
        shots = [cameras.shots[index] for index in named_by]
        self.sensor_of, self.frame_id = [shot.sensor for shot in shots], [shot.frame_id for shot in shots]
        self.sample_id = np.array([sample_id(shot.frame_id, shot.sensor) for shot in shots])
        self.digest = identity(VERSION, self.store.digest(self.log_ids), sorted(asdict(view).items()))
        self._order = self._make_order(log_power)

    def __len__(self) -> int:
        return len(self.frame_id)

    def order(self, positions: Int64[np.ndarray, "B"]) -> Int64[np.ndarray, "B"]:
        """Which sample stands at each position."""
        return self._order(positions)

    def class_label(self, index: int) -> int | None:
        """The class id of a sample's frame; None where it has none."""
        return self.cameras.class_label(int(self.named_by[index]))

    def labelled(self, kind: str = "seg") -> Shaped[np.ndarray, "n"]:
        """True for the samples whose frame has a label of this kind."""
        return self.cameras.labelled(kind)[self.named_by]

    def labels(self, indices: np.ndarray) -> Int64[Tensor, "B H W"]:
        """The class ids of the samples' frames, 255 where they are ignored or not known."""
        return torch.from_numpy(np.stack([self.cameras.label(int(self.named_by[i])) for i in indices])).long()

    def about(self, indices: np.ndarray, first: np.ndarray) -> Clip:
        """Who the samples are, and when their first frame was taken, as fields of a clip."""
        logs = [self.log_ids[log] for log in self.log_of[indices]]
        clip = Clip(sample_id=torch.from_numpy(self.sample_id[indices]), log_id=logs)
        times = [self.cameras.shots[index].t_ns for index in first]
        if None not in times:
            clip["timestamp_ns"] = torch.tensor(times, dtype=torch.int64)
        return clip

    def _make_order(self, log_power: float) -> Shuffle | Weighted:
        if log_power == 0:
            return Shuffle(len(self), self.seed)
        sizes = np.bincount(self.log_of)
        sizes = sizes[sizes > 0]
        return Weighted(sizes.tolist(), sizes ** (1.0 - log_power), self.seed)


def joint(frames: Sequence[Frame], channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [C] and standard deviation [C] of several frames together; their quantiles [Q, C] on average."""
    means, stds, quantiles = (
        np.stack([np.broadcast_to(value, (*value.shape[:-1], channels)) for value in values])
        for values in zip(*((frame.mean, frame.std, frame.quantiles) for frame in frames), strict=True)
    )
    if len(frames) == 1:
        return means[0], stds[0], quantiles[0]
    mean = means.mean(axis=0, dtype=np.float64)
    square = np.mean(stds.astype(np.float64) ** 2 + means.astype(np.float64) ** 2, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return mean.astype(np.float32), std.astype(np.float32), quantiles.mean(axis=0)


class _Cache:
    """Keeps what came first until it is full: where every epoch visits all, evicting would only lose hits."""

    def __init__(self, limit: int):
        self._limit, self._size = limit, 0
        self._kept: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        self.get = self._kept.get

    def put(self, key: Hashable, value: Any, size: int) -> None:
        with self._lock:
            if key not in self._kept and self._size + size <= self._limit:
                self._kept[key] = value
                self._size += size
