"""Windows of a camera's frames at a steady pace: what video models read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from unseen.contract import Clip
from unseen.data.calibration import POSE_GAP_S, WHOLE, Box, Calibration, depth_m, geometry
from unseen.data.cameras import Cameras, CameraSource, joint
from unseen.data.source import LogSource
from unseen.data.store import Store
from unseen.data.views import Frames, check_images
from unseen.errors import UnseenError
from unseen.randomness import keys

UNPOSED = "no window has a calibrated camera and a pose for each frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """`frames` frames of one camera, `step_s` apart, cut out, mirrored and jittered alike.

    Each frame from which a whole window starts is a sample. A window takes the frames nearest to its times, none of
    them off by more than `tolerance` steps, and keeps their true times; so it never crosses a gap of the recording. Nor
    does it cross a jump of the clock or a frame that does not follow the one before it (`prev_frame_id`). The middle
    frame gives a window its labels. UnseenError for logs without times, unless `fps` or `untimed` says what to do.
    """

    frames: int = 8
    step_s: float = 0.2
    picture: Frames = field(default_factory=Frames)  # how each frame becomes an image
    tolerance: float = 0.3
    fps: float | None = None  # of logs without times, by their frame numbers
    untimed: Literal["refuse", "leave out"] = "refuse"  # logs without times, where no fps is told
    posed: bool = False  # only windows whose camera is calibrated and whose frames have poses, as masks may need them
    pose_gap_s: float = POSE_GAP_S  # poses are interpolated in gaps up to this
    stills: bool = False  # frames in the middle of no window count too, each repeated: for labels on sparse frames

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.step_s > 0 or not 0 <= self.tolerance < 0.5:
            raise UnseenError(
                f"Windows: frames {self.frames}, step_s {self.step_s}, tolerance {self.tolerance}",
                "at least one frame, a step above 0, and a tolerance from 0 to under half a step",
            )
        if self.fps is not None and not self.fps > 0:
            raise UnseenError(f"Windows: fps is {self.fps}", "a rate is positive")
        if not self.pose_gap_s > 0:
            raise UnseenError(f"Windows: pose_gap_s is {self.pose_gap_s}", "seconds above 0")

    def open(
        self, store: Store, log_ids: Sequence[str], *, seed: int = 0, log_power: float = 0.0, cache_mb: int = 2048
    ) -> LogSource:
        """The windows of all cameras (or of `picture.sensors`) of some logs."""
        return WindowSource(store, log_ids, self, seed=seed, log_power=log_power, cache_mb=cache_mb)

    def unmasked(self) -> "Windows":
        """The same view for an encoder at work, which hides nothing: poses do not matter."""
        return replace(self, posed=False)

    def present(self, raw: Any) -> Clip:
        """Videos [B, T, C, H, W], uint8 or uint16, of whole frames `step_s` apart; T may differ from `frames`.

        UnseenError for another shape, type or number of channels.
        """
        if isinstance(raw, Tensor) and raw.ndim != 5:
            raise UnseenError(
                f"the video has shape {tuple(raw.shape)}",
                "a batch [B, T, C, H, W] is expected",
                f"an image becomes a video by image[:, None].expand(-1, {self.frames}, -1, -1, -1)",
            )
        check_images(raw.flatten(0, 1) if isinstance(raw, Tensor) else raw, self.picture.channels)
        times = torch.arange(raw.shape[1], device=raw.device, dtype=torch.float32)[None] * self.step_s
        region = torch.tensor([[0.0, 0.0, *self.picture.frame_px]], device=raw.device)
        return Clip(video=raw, frame_time_s=times, region_px=region)

    def blank(self) -> Tensor:
        """A black training video [1, T, C, H, W]."""
        return torch.zeros(1, self.frames, self.picture.channels, *self.picture.image_px, dtype=torch.uint8)


class WindowSource(CameraSource):
    """The windows of some logs of a store; see `CameraSource` for their order.

    `left_out` says of each log that gives no window why, `thinned` how many windows of a log have no poses.
    """

    def __init__(
        self, store: Store, log_ids: Sequence[str], view: Windows, *, seed: int, log_power: float, cache_mb: int
    ):
        cameras = Cameras(store, log_ids, view.picture, cache_mb)
        self._calibration = Calibration(store, log_ids, view.pose_gap_s)
        self.window, left_out, thinned = find_windows(cameras, view, self._calibration)
        super().__init__(cameras, self.window[:, view.frames // 2], view, seed, log_power)
        self.left_out, self.thinned = left_out, thinned

    def batch(self, positions: Int64[np.ndarray, "B"]) -> Clip:
        """Training crops [B, T, C, *picture.image_px]; a pure function of (seed, position), whoever asks and when."""
        positions, picture = np.asarray(positions, dtype=np.int64), self.view.picture
        indices = self.order(positions)
        draws = picture.draws(keys(self.seed, torch.from_numpy(positions), 0, "view"))
        video = self._blank(indices, picture.image_px)
        pairs = zip(self.window[indices], draws, video, strict=True)
        regions, boxes = zip(*(self._cut(window, draw, out) for window, draw, out in pairs), strict=True)
        return self._clip(indices, video, torch.tensor(regions, dtype=torch.float32), boxes)

    def frames(self, indices: Sequence[int] | np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip:
        """Windows of whole frames [B, T, C, *picture.frame_px], nothing random; their past is in them.

        With `labels`, `label` [B, H, W] is the seg label of each window's middle frame; 255 where it has none.
        """
        indices = np.asarray(indices, dtype=np.int64)
        video = self.cameras.whole(self.window[indices].ravel()).unflatten(0, (len(indices), self.view.frames))
        region = torch.tensor([[0.0, 0.0, *self.view.picture.frame_px]]).repeat(len(indices), 1)
        clip = self._clip(indices, video, region, [(WHOLE, False)] * len(indices))
        if labels:
            clip["label"] = self.labels(indices)
        return clip

    def raw(self, clip: Clip) -> Tensor:
        """The videos of a clip, as a user would hand them to an encoder."""
        return clip["video"]

    def _blank(self, indices: np.ndarray, size: tuple[int, int]) -> Tensor:
        shots = self.window[indices].ravel()
        blank = self.cameras.blank(shots, [self.cameras.frame(int(index)) for index in shots], size)
        return blank.unflatten(0, (len(indices), self.view.frames))

    def _cut(
        self, window: Int64[np.ndarray, "T"], draw: np.ndarray, out: Shaped[Tensor, "T C H W"]
    ) -> tuple[tuple[float, ...], tuple[Box, bool]]:
        """Write the same crop of every frame; its region in the nominal frame, and as shares of the recorded one."""
        frames, picture = [self.cameras.frame(int(index)) for index in window], self.view.picture
        if len({frame.image.shape for frame in frames}) > 1:
            shot = self.cameras.shots[window[0]]
            raise UnseenError(
                f"frames of different sizes in a window of log {self.log_ids[shot.log]!r}, sensor {shot.sensor!r}",
                "all frames of a window are cut out alike",
                "ingest that log again with one size",
            )
        mean, _, _ = joint(frames, frames[0].image.shape[2])
        for frame, one in zip(frames, out, strict=True):
            region = picture.train(frame._replace(mean=mean), draw, one)
        height, width = frames[0].image.shape[:2]
        top, left, bottom, right = picture.box(height, width, draw)
        return region, ((top / height, left / width, bottom / height, right / width), picture.mirrors(draw))

    def _clip(self, indices: np.ndarray, video: Tensor, region: Tensor, boxes: Sequence[tuple[Box, bool]]) -> Clip:
        shots, size = self.window[indices], (video.shape[3], video.shape[4])
        clip = Clip(video=video, region_px=region, frame_time_s=torch.from_numpy(self._times_s(shots)))
        known = geometry(self._calibration, self.cameras, shots, boxes, size, moving=True)
        depth = depth_m(self.cameras, shots, boxes, size)
        if depth is not None:
            known["depth_m"] = depth
        return Clip(**clip, **known, **self.cameras.statistics(shots), **self.about(indices, shots[:, 0]))

    def _times_s(self, shots: Int64[np.ndarray, "B T"]) -> np.ndarray:
        """Seconds since the first frame; a repeated still has the times that a window would have."""
        steps = np.broadcast_to(np.arange(shots.shape[1]) * self.view.step_s, shots.shape)
        still = (shots == shots[:, :1]).all(axis=1)
        if still.all():
            return steps.astype(np.float32)
        times = np.array([[_time_ns(self.cameras, int(index), self.view.fps) or 0 for index in row] for row in shots])
        return np.where(still[:, None], steps, (times - times[:, :1]) * 1e-9).astype(np.float32)


def find_windows(
    cameras: Cameras, view: Windows, calibration: Calibration
) -> tuple[Int64[np.ndarray, "n T"], dict[str, str], dict[str, str]]:
    """The shots of every window, by log, camera and time; why logs have none, and why some have fewer."""
    found, left_out, thinned = [], {}, {}
    runs = _runs(cameras)
    for log, log_id in enumerate(cameras.log_ids):
        parts, reason, whole = [], "no camera frames", 0
        for start, end in runs.get(log, ()):
            windows, reason = _run_windows(cameras, view, start, end)
            whole += len(windows)
            if view.posed and len(windows):
                posed = _posed(cameras, calibration, start, end)
                windows, reason = windows[posed[windows - start].all(axis=1)], UNPOSED
            parts.append(windows)
        kept = sum(map(len, parts))
        if kept == 0:
            left_out[log_id] = reason
        elif kept < whole:
            thinned[log_id] = (
                f"{whole - kept} of its {whole} windows have a frame without a calibrated camera or a pose"
            )
        found += parts
    _refuse(found, left_out, view)
    return np.concatenate(found), left_out, thinned


def _run_windows(cameras: Cameras, view: Windows, start: int, end: int) -> tuple[Int64[np.ndarray, "n T"], str]:
    """The windows of one camera of one log, and why there may be none."""
    times = [_time_ns(cameras, index, view.fps) for index in range(start, end)]
    windows, reason = np.empty((0, view.frames), dtype=np.int64), "its frames have no times"
    if None not in times:
        windows = start + _regular(np.array(times, dtype=np.int64), _breaks(cameras, start, end), view)
        reason = f"no {view.frames} frames {view.step_s} s apart without a break"
    return _with_stills(windows, start, end, view), reason


def _posed(cameras: Cameras, calibration: Calibration, start: int, end: int) -> Bool[np.ndarray, "n"]:
    """Which shots show places: their camera is calibrated, and the vehicle has a pose."""
    shots = cameras.shots[start:end]
    return np.array([calibration.placed(cameras.log_ids[shot.log], shot.sensor, shot.t_ns) for shot in shots])


def _runs(cameras: Cameras) -> dict[int, list[tuple[int, int]]]:
    """Where the shots of each camera of each log begin and end."""
    keys_of = [(shot.log, shot.sensor) for shot in cameras.shots]
    edges = [0, *(i for i in range(1, len(keys_of)) if keys_of[i] != keys_of[i - 1]), len(keys_of)]
    runs: dict[int, list[tuple[int, int]]] = {}
    for start, end in pairwise(edges):
        runs.setdefault(keys_of[start][0], []).append((start, end))
    return runs


def _time_ns(cameras: Cameras, index: int, fps: float | None) -> int | None:
    shot = cameras.shots[index]
    if shot.t_ns is not None or fps is None:
        return shot.t_ns
    return round(shot.seq / fps * 10**9)


def _breaks(cameras: Cameras, start: int, end: int) -> np.ndarray:
    return np.array([not cameras.shots[index].linked for index in range(start, end)])


def _regular(times: np.ndarray, breaks: np.ndarray, view: Windows) -> Int64[np.ndarray, "n T"]:
    """For each frame the frames nearest to its steps, where all are near enough and in one unbroken part."""
    part = np.cumsum(breaks | (np.diff(times, prepend=times[0] - 1) <= 0))
    windows = []
    for number in np.unique(part):
        rows = np.flatnonzero(part == number)
        here = times[rows]
        wanted = here[:, None] + np.round(np.arange(view.frames) * view.step_s * 1e9).astype(np.int64)
        after = np.searchsorted(here, wanted).clip(1, len(here) - 1) if len(here) > 1 else np.zeros_like(wanted)
        before = np.maximum(after - 1, 0)
        nearest = np.where(wanted - here[before] < here[after] - wanted, before, after)
        near = np.abs(here[nearest] - wanted) <= view.tolerance * view.step_s * 1e9
        windows.append(rows[nearest[near.all(axis=1)]])
    return np.concatenate(windows)


def _with_stills(windows: np.ndarray, start: int, end: int, view: Windows) -> np.ndarray:
    """Windows, and where stills count every other frame repeated, in the order of their middle frames."""
    if not view.stills:
        return windows
    middle = windows[:, view.frames // 2]
    alone = np.setdiff1d(np.arange(start, end), middle)
    every = np.concatenate([windows, np.repeat(alone[:, None], view.frames, axis=1)])
    return every[every[:, view.frames // 2].argsort(kind="stable")]


def _refuse(found: list[np.ndarray], left_out: dict[str, str], view: Windows) -> None:
    untimed = [log for log, reason in left_out.items() if "times" in reason]
    if untimed and view.untimed == "refuse":
        raise UnseenError(
            f"the frames of {len(untimed)} logs have no times, such as {untimed[0]!r}",
            "a window is frames at known times",
            "ingest with --fps, or set view.fps, or view.untimed='leave out', or leave these logs out by a split",
        )
    if sum(map(len, found)) == 0 and UNPOSED in left_out.values():
        raise UnseenError(
            f"no window of {len(left_out)} logs has places of the world",
            f"view.posed wants cameras calibrated without distortion, and poses at most {view.pose_gap_s:g} s apart "
            "around every frame",
            "unseen ingest folder --poses FILE --calibration FILE, or a longer view.pose_gap_s",
        )
    if sum(map(len, found)) == 0:
        log, reason = next(iter(left_out.items()))
        raise UnseenError(
            f"no window of {view.frames} frames {view.step_s} s apart in {len(left_out)} logs",
            f"all frames lie within {view.tolerance} steps of their times, without a break; of {log!r}: {reason}",
            "change view.frames or view.step_s, or ingest with --fps; the rates of logs: unseen inspect",
        )
