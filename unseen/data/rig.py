"""Several cameras of one frame side by side: what models of a whole rig read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from unseen.contract import Clip
from unseen.data.calibration import WHOLE, Box, Calibration, geometry
from unseen.data.cameras import IGNORE, Cameras, CameraSource
from unseen.data.source import LogSource
from unseen.data.store import Store
from unseen.data.views import Frames, check_images, measure
from unseen.errors import UnseenError
from unseen.randomness import keys

DOWN = "down"  # the kind of a row of `health` that says that a sensor gave nothing of use for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The cameras of a vehicle in one image [C, H, K * W], in the order of `cameras`, cut out and jittered alike.

    Where a camera is missing from a frame, or the table `health` says that it was down, its place is exactly zero and
    `camera_there` is False: its units do not exist. Nothing is mirrored: left would stay left of a mirrored front.
    """

    cameras: tuple[str, ...]  # names of sensors, from left to right
    picture: Frames = field(default_factory=lambda: Frames(flip=False))  # how each camera's frame becomes an image
    least: int = 1  # cameras that a frame must have

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise UnseenError(f"Rig: cameras are {self.cameras}", "at least one, each named once")
        if self.picture.flip or self.picture.sensors:
            raise UnseenError(
                "Rig: picture mirrors or names sensors", "the rig names its cameras and is never mirrored", "flip=False"
            )
        if not 1 <= self.least <= len(self.cameras):
            raise UnseenError(f"Rig: least is {self.least}", f"from 1 to the {len(self.cameras)} cameras")

    def open(
        self, store: Store, log_ids: Sequence[str], *, seed: int = 0, log_power: float = 0.0, cache_mb: int = 2048
    ) -> LogSource:
        """The frames of some logs that have at least `least` of the cameras."""
        return RigSource(store, log_ids, self, seed=seed, log_power=log_power, cache_mb=cache_mb)

    def present(self, raw: Any) -> Clip:
        """Images [B, C, H, K * W] of whole frames side by side; a camera that is exactly zero is taken as missing."""
        check_images(raw, self.picture.channels)
        if raw.shape[3] % len(self.cameras):
            raise UnseenError(
                f"an image {raw.shape[3]} px wide is not {len(self.cameras)} cameras side by side",
                "all cameras have one width",
                "torch.cat(images, dim=3), in the order of the rig's cameras",
            )
        there = (torch.stack(raw.chunk(len(self.cameras), dim=3), dim=1) != 0).flatten(2).any(dim=2)
        region = torch.tensor([[0.0, 0.0, *self.picture.frame_px]], device=raw.device)
        place = on_canvas(there, self.picture.frame_px[1])
        return Clip(image=raw, region_px=region, **place, **_measured(raw, there))

    def blank(self) -> Tensor:
        """A nearly black training image [1, C, H, K * W]: a camera that is exactly zero would be missing."""
        height, width = self.picture.image_px
        return torch.ones(1, self.picture.channels, height, width * len(self.cameras), dtype=torch.uint8)


class RigSource(CameraSource):
    """The frames of some logs of a store, all cameras at once; see `CameraSource` for their order.

    A sample is named by the first of its cameras that is there.
    """

    def __init__(self, store: Store, log_ids: Sequence[str], view: Rig, *, seed: int, log_power: float, cache_mb: int):
        cameras = Cameras(store, log_ids, replace(view.picture, sensors=view.cameras), cache_mb)
        self.shots = find_frames(cameras, view)
        first = (self.shots >= 0).argmax(axis=1)
        super().__init__(cameras, self.shots[np.arange(len(self.shots)), first], view, seed, log_power)
        self._calibration = Calibration(store, log_ids)

    def batch(self, positions: Int64[np.ndarray, "B"]) -> Clip:
        """Training crops [B, C, H, K * W]; a pure function of (seed, position), whoever asks and when."""
        positions, picture = np.asarray(positions, dtype=np.int64), self.view.picture
        indices = self.order(positions)
        draws = picture.draws(keys(self.seed, torch.from_numpy(positions), 0, "view"))
        shots = self.shots[indices]
        image = self._blank(shots, picture.image_px)
        regions, boxes = zip(*map(self._cut, shots, draws, image), strict=True)
        return self._clip(indices, image, torch.tensor(regions, dtype=torch.float32), boxes)

    def frames(self, indices: Sequence[int] | np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip:
        """Whole frames [B, C, H, K * W], nothing random; with the frame before, and with class ids, on request.

        `label` [B, H, K * W] is 255 outside of the camera that the label was made for, and as in `ClipSource`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        shots = self.shots[indices]
        region = torch.tensor([[0.0, 0.0, *self.view.picture.frame_px]]).repeat(len(indices), 1)
        clip = self._clip(indices, self._whole(shots), region, [(WHOLE, False)] * len(indices))
        if previous:
            before = np.where(shots >= 0, self.cameras.previous[shots], -1)
            clip["previous"] = side_by_side(self._whole(before))
            clip["previous_there"] = torch.from_numpy(((before != shots) | (shots < 0)).all(axis=1))
        if labels:
            clip["label"] = self._labels(indices)
        return clip

    def raw(self, clip: Clip) -> Tensor:
        """The images of a clip, as a user would hand them to an encoder."""
        return clip["image"]

    def _blank(self, shots: Int64[np.ndarray, "B K"], size: tuple[int, int]) -> Tensor:
        """Zeros [B, K, C, *size]."""
        there = shots[shots >= 0]
        frames = [self.cameras.frame(int(index)) for index in there]
        dtype = self.cameras.blank(there, frames, (1, 1)).dtype
        return torch.zeros((*shots.shape, self.view.picture.channels, *size), dtype=dtype)

    def _whole(self, shots: Int64[np.ndarray, "B K"]) -> Shaped[Tensor, "B K C H W"]:
        image = self._blank(shots, self.view.picture.frame_px)
        for sample, camera in zip(*np.nonzero(shots >= 0), strict=True):
            image[sample, camera].copy_(self.view.picture.whole(self.cameras.frame(int(shots[sample, camera]))))
        return image

    def _cut(
        self, shots: Int64[np.ndarray, "K"], draw: np.ndarray, out: Shaped[Tensor, "K C H W"]
    ) -> tuple[tuple[float, ...], tuple[Box, bool]]:
        """Write the same crop of every camera that is there; its region in the nominal frame, and as shares of it."""
        picture = self.view.picture
        there = np.flatnonzero(shots >= 0)
        for camera in there[::-1]:  # the region that is told is that of the first
            frame = self.cameras.frame(int(shots[camera]))
            region = picture.train(frame, draw, out[camera])
        height, width = frame.image.shape[:2]
        top, left, bottom, right = picture.box(height, width, draw)
        return region, ((top / height, left / width, bottom / height, right / width), False)

    def _clip(self, indices: np.ndarray, image: Tensor, region: Tensor, boxes: Sequence[tuple[Box, bool]]) -> Clip:
        shots = self.shots[indices]
        size = (image.shape[3], image.shape[4])
        known = geometry(self._calibration, self.cameras, shots, boxes, size, moving=False)
        place = on_canvas(torch.from_numpy(shots >= 0), self.view.picture.frame_px[1])
        statistics = self.cameras.statistics([row[row >= 0] for row in shots])
        about = self.about(indices, self.named_by[indices])
        return Clip(image=side_by_side(image), region_px=region, **place, **known, **statistics, **about)

    def _labels(self, indices: np.ndarray) -> Int64[Tensor, "B H W"]:
        height, width = self.view.picture.frame_px
        labels = torch.full((len(indices), height, len(self.view.cameras), width), IGNORE)
        for place, index in enumerate(indices):
            made_for = self.cameras.label_sensor(int(self.named_by[index]))
            for camera in np.flatnonzero(self.shots[index] >= 0):
                if made_for in (None, self.view.cameras[camera]):
                    shot = int(self.shots[index, camera])
                    labels[place, :, camera] = torch.from_numpy(self.cameras.label(shot))
        return labels.flatten(2)


def find_frames(cameras: Cameras, view: Rig) -> Int64[np.ndarray, "n K"]:
    """The shots of every frame by camera, -1 where there is none, by log and time."""
    down = {log: _down(cameras.store, log_id) for log, log_id in enumerate(cameras.log_ids)}
    rows: dict[tuple[int, int], list[int]] = {}
    for index, shot in enumerate(cameras.shots):
        row = rows.setdefault((shot.log, shot.seq), [-1] * len(view.cameras))
        if not any(_covers(span, shot.t_ns) for span in down[shot.log].get(shot.sensor, ())):
            row[view.cameras.index(shot.sensor)] = index
    table = np.array([row for _, row in sorted(rows.items())])
    table = table[(table >= 0).sum(axis=1) >= view.least]
    if len(table) == 0:
        raise UnseenError(
            f"no frame with {view.least} of the cameras {', '.join(view.cameras)} in {len(cameras.log_ids)} logs",
            "cameras of one frame share its number",
            "name the sensor in the pattern of the ingest; see: unseen inspect",
        )
    return table


def side_by_side(image: Shaped[Tensor, "B K C H W"]) -> Shaped[Tensor, "B C H W2"]:
    """Cameras next to each other in one image."""
    return image.permute(0, 2, 3, 1, 4).flatten(3).contiguous()


def on_canvas(there: Bool[Tensor, "B K"], width_px: int) -> Clip:
    """Which cameras are there, and where their frames stand: one to the right of the other."""
    x = torch.arange(there.shape[1], device=there.device) * float(width_px)
    place: Float[Tensor, "K 2"] = torch.stack([torch.zeros_like(x), x], dim=1)
    return Clip(camera_there=there, camera_px=place.expand(len(there), -1, -1).contiguous())


def _measured(image: Shaped[Tensor, "B C H W"], there: Bool[Tensor, "B K"]) -> Clip:
    """Statistics of the cameras that are there; empty where all are, for then they are those of the image."""
    if there.all():
        return Clip()
    if not there.any(dim=1).all():
        raise UnseenError("an image is exactly zero", "at least one camera is there", "leave such frames out")
    rows = []
    for one, known in zip(image.cpu(), there.cpu(), strict=True):
        cameras = [camera for camera, seen in zip(one.chunk(len(known), dim=2), known, strict=True) if seen]
        rows.append(measure(torch.cat(cameras, dim=2).permute(1, 2, 0).numpy()))
    mean, std, quantiles = (torch.from_numpy(np.stack(part)).to(image.device) for part in zip(*rows, strict=True))
    return Clip(frame_mean=mean, frame_std=std, frame_quantiles=quantiles)


def _down(store: Store, log_id: str) -> dict[str, list[tuple[int | None, int | None]]]:
    """By name of a sensor, when it was down."""
    names = {row["sensor_id"]: row["name"] for row in store.table("sensor", [log_id]).to_pylist()}
    spans: dict[str, list[tuple[int | None, int | None]]] = {}
    for row in store.table("health", [log_id]).to_pylist():
        if row["kind"] == DOWN and row["sensor_id"] in names:
            spans.setdefault(names[row["sensor_id"]], []).append((row["t_from_ns"], row["t_to_ns"]))
    return spans


def _covers(span: tuple[int | None, int | None], t_ns: int | None) -> bool:
    """Whether a time lies in a span; an open end reaches everything, and an unknown time lies in open spans only."""
    begin, end = span
    if t_ns is None:
        return begin is None and end is None
    return (begin is None or begin <= t_ns) and (end is None or t_ns < end)
