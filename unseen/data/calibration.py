"""Where cameras look: intrinsics of a crop, and poses at the times of frames, from the tables of a store.

Pixel (row v, column u) has its centre at (v, u), as in `geometry.camera`. K holds fx, fy, cx, cy (or nine numbers, row
by row) in pixels of the recorded frame. What the tables do not say is unknown (None), and so is a camera with
distortion: a crop of it is no pinhole.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from unseen.contract import Clip
from unseen.data.cameras import Cameras
from unseen.data.store import Store
from unseen.geometry.pose import from_quaternion, inverse

POSE_GAP_S = 0.5  # between poses; a time inside a longer gap has no pose, unless a view says otherwise
POSE = ("qw", "qx", "qy", "qz", "tx", "ty", "tz")  # its columns
Box = tuple[float, float, float, float]  # top, left, bottom, right as shares of the frame
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Lens(NamedTuple):
    """A calibrated camera, in pixels of the recorded frame."""

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    ego_from_camera: Float64[np.ndarray, "4 4"]


class Calibration:
    """The tables `calibration` and `pose` of some logs, read once. No pose is known inside a gap over `pose_gap_s`."""

    def __init__(self, store: Store, log_ids: Sequence[str], pose_gap_s: float = POSE_GAP_S):
        self._lenses = {log: _lenses(store, log) for log in log_ids}
        self._poses = {log: _posed(store.table("pose", [log]).sort_by("t_ns").to_pylist()) for log in log_ids}
        self._times = {log: np.array([row["t_ns"] for row in rows]) for log, rows in self._poses.items()}
        self._gap_ns = round(pose_gap_s * 1e9)

    def lens(self, log_id: str, sensor: str, t_ns: int | None) -> Lens | None:
        """The camera as it was calibrated at a time; None where it is unknown or no pinhole."""
        for begin, end, lens in self._lenses[log_id].get(sensor, ()):
            if t_ns is None or ((begin is None or begin <= t_ns) and (end is None or t_ns < end)):
                return lens
        return None

    def placed(self, log_id: str, sensor: str, t_ns: int | None) -> bool:
        """Whether both the camera and the pose of the vehicle are known at a time."""
        return t_ns is not None and self.lens(log_id, sensor, t_ns) is not None and bool(self._around(log_id, t_ns))

    def world_from_ego(
        self, log_id: str, times_ns: Int64[np.ndarray, "T"], origin: int
    ) -> Float64[np.ndarray, "T 4 4"] | None:
        """The vehicle at some times in its own frame at the `origin`-th of them; None where a pose is missing."""
        poses = [self._pose(log_id, int(t_ns)) for t_ns in times_ns]
        if any(pose is None for pose in poses):
            return None
        return inverse(poses[origin]) @ np.stack(poses)  # type: ignore[arg-type]

    def _pose(self, log_id: str, t_ns: int) -> np.ndarray | None:
        """Interpolated between the poses before and after: positions on a line, rotations on the shortest arc."""
        around = list(self._around(log_id, t_ns))
        poses = [_matrix(self._poses[log_id][number]) for number in around]
        if len(poses) < 2:
            return poses[0] if poses else None
        before, after = self._times[log_id][around]
        return _between(poses[0], poses[1], (t_ns - before) / (after - before))

    def _around(self, log_id: str, t_ns: int) -> tuple[int, ...]:
        """The pose at a time, or those before and after it; none inside a gap or beyond the ends."""
        times = self._times[log_id]
        after = int(np.searchsorted(times, t_ns))
        if after < len(times) and times[after] == t_ns:
            return (after,)
        if not 0 < after < len(times) or times[after] - times[after - 1] > self._gap_ns:
            return ()
        return after - 1, after


def intrinsics(
    lens: Lens, recorded_px: tuple[int, int], box: Box, mirrored: bool, size_px: tuple[int, int]
) -> np.ndarray:
    """K [3, 3] in the pixels of a crop of `size_px`; a mirrored crop has a negative focal length along x."""
    top, left, bottom, right = np.array(box) * np.array([*recorded_px, *recorded_px])
    along_x, along_y = size_px[1] / (right - left), size_px[0] / (bottom - top)
    fx, fy = lens.focal_px[0] * along_x, lens.focal_px[1] * along_y
    cx, cy = (lens.centre_px[0] + 0.5 - left) * along_x - 0.5, (lens.centre_px[1] + 0.5 - top) * along_y - 0.5
    if mirrored:
        fx, cx = -fx, size_px[1] - 1 - cx
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def geometry(
    calibration: Calibration,
    cameras: Cameras,
    shots: np.ndarray,
    boxes: Sequence[tuple[Box, bool]],
    size_px: tuple[int, int],
    *,
    moving: bool,
) -> Clip:
    """`intrinsics` and `world_from_camera` [B, T, ...] of shots [B, T] (-1: none), NaN where they are unknown.

    `boxes`: each sample's crop, and whether it is mirrored. `moving`: the world is the vehicle in the middle frame;
    otherwise it is the vehicle itself, as for several cameras at one time. Empty where nothing at all is known.
    """
    clip: Any = {}
    k, pose = np.full((*shots.shape, 3, 3), np.nan), np.full((*shots.shape, 4, 4), np.nan)
    for sample, (row, (box, mirrored)) in enumerate(zip(shots, boxes, strict=True)):
        ego = _ego(calibration, cameras, row) if moving else np.broadcast_to(np.eye(4), (len(row), 4, 4))
        for place, index in enumerate(row):
            shot = cameras.shots[index]
            lens = calibration.lens(cameras.log_ids[shot.log], shot.sensor, shot.t_ns) if index >= 0 else None
            if lens is not None:
                k[sample, place] = intrinsics(lens, shot.size_px, box, mirrored, size_px)
                if ego is not None:
                    pose[sample, place] = ego[place] @ lens.ego_from_camera
    for name, value in (("intrinsics", k), ("world_from_camera", pose)):
        if np.isfinite(value).any():
            clip[name] = torch.from_numpy(value).float()
    return clip


def depth_m(
    cameras: Cameras, shots: np.ndarray, boxes: Sequence[tuple[Box, bool]], size_px: tuple[int, int]
) -> Tensor | None:
    """Depth labels [B, T, H, W] of the same crops, nearest neighbour, NaN where unknown; None where there are none."""
    if not any(cameras.store.labelled(cameras.log_ids[log], "depth") for log in np.unique(cameras.log_of[shots])):
        return None
    out = torch.full((*shots.shape, *size_px), torch.nan)
    for sample, (row, (box, mirrored)) in enumerate(zip(shots, boxes, strict=True)):
        for place, index in enumerate(row):
            depth = cameras.depth_m(int(index))
            if depth is not None:
                part = torch.from_numpy(_nearest(depth, box, size_px))
                out[sample, place] = part.flip(1) if mirrored else part
    return out


def _nearest(image: np.ndarray, box: Box, size_px: tuple[int, int]) -> np.ndarray:
    top, left, bottom, right = box
    y = top + (np.arange(size_px[0]) + 0.5) / size_px[0] * (bottom - top)
    x = left + (np.arange(size_px[1]) + 0.5) / size_px[1] * (right - left)
    return image[(y * image.shape[0]).astype(int)[:, None], (x * image.shape[1]).astype(int)]


def _ego(calibration: Calibration, cameras: Cameras, row: np.ndarray) -> np.ndarray | None:
    times = [cameras.shots[index].t_ns for index in row]
    if None in times:
        return None
    return calibration.world_from_ego(cameras.log_ids[cameras.shots[row[0]].log], np.array(times), len(row) // 2)


def _lenses(store: Store, log_id: str) -> dict[str, list[tuple[int | None, int | None, Lens | None]]]:
    """Of each sensor, from when until when it was calibrated how."""
    names = {row["sensor_id"]: row["name"] for row in store.table("sensor", [log_id]).to_pylist()}
    rows: dict[str, list[tuple[int | None, int | None, Lens | None]]] = {}
    for row in store.table("calibration", [log_id]).to_pylist():
        rows.setdefault(names[row["sensor_id"]], []).append((row["valid_from_ns"], row["valid_to_ns"], _lens(row)))
    return rows


def _posed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that hold a pose; one without position or rotation is a gap."""
    return [row for row in rows if None not in (row[name] for name in POSE)]


def _lens(row: dict[str, Any]) -> Lens | None:
    k = row["K"]
    if not k or len(k) not in (4, 9) or any(row["D"] or ()) or not _posed([row]):
        return None
    fx, fy, cx, cy = k if len(k) == 4 else (k[0], k[4], k[2], k[5])
    return Lens((fx, fy), (cx, cy), _matrix(row))


def _matrix(row: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    w, x, y, z, *translation_m = (row[name] for name in POSE)
    return from_quaternion((w, x, y, z), (translation_m[0], translation_m[1], translation_m[2]))


def _between(before: np.ndarray, behind: np.ndarray, share: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation, Slerp

    turned = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([before[:3, :3], behind[:3, :3]])))
    matrix = np.eye(4)
    matrix[:3, :3] = turned(share).as_matrix()
    matrix[:3, 3] = before[:3, 3] + share * (behind[:3, 3] - before[:3, 3])
    return matrix
