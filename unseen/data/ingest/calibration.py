"""A JSON file that says what the cameras of a rig are and where they sit on the vehicle."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unseen.data.calibration import WHOLE, Lens, intrinsics
from unseen.errors import UnseenError
from unseen.geometry.pose import quaternion

NUMBERS = ("width", "height", "fx", "fy", "cx", "cy")
OPTIONAL = ("distortion", "model")
EXAMPLE = (
    '{"front": {"width": 1242, "height": 375, "fx": 721.5, "fy": 721.5, "cx": 609.6, "cy": 172.9, "ego_from_camera": '
    "[[0, 0, 1, 1.6], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1]]}}"
)
ORTHOGONAL = 1e-3  # by which a rotation times its transpose may differ from the identity


class Calibrated(NamedTuple):
    """One camera, in pixels of images of `size_px`; pixel (row v, column u) has its centre at (v, u)."""

    lens: Lens
    size_px: tuple[int, int]  # height, width
    distortion: list[float]  # coefficients, 0 where there is none
    model: str | None

    @property
    def told(self) -> list[Any]:
        """All of it as plain values."""
        return [*self.lens[:2], self.lens.ego_from_camera.tolist(), *self[1:]]

    def columns(self, sensor: str, image_px: tuple[int, int], stored_px: tuple[int, int]) -> dict[str, Any]:
        """The row of the table `calibration`, for images that come as `image_px` and are kept as `stored_px`.

        UnseenError where the image is not the calibrated one at another scale.
        """
        (height, width), (high, wide) = self.size_px, image_px
        if abs(height * wide / width - high) >= 1:
            raise UnseenError(
                f"images of sensor {sensor!r} have {wide} x {high} px, its calibration {width} x {height}",
                "a calibration is scaled to images of the same shape, to a pixel; a crop is another camera",
                "give the width, height, cx and cy of the images as they are",
            )
        k = intrinsics(self.lens, self.size_px, WHOLE, False, stored_px)
        pose = self.lens.ego_from_camera
        names = ("tx", "ty", "tz", "qw", "qx", "qy", "qz")
        return {
            "K": [float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])],
            "D": self.distortion or None,
            "model": self.model,
            **dict(zip(names, (*pose[:3, 3].tolist(), *quaternion(pose)), strict=True)),
        }


def read_calibration(path: Path) -> dict[str, Calibrated]:
    """The cameras of a rig by the names of their sensors. UnseenError with sensor and key for what cannot be."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UnseenError(f"cannot read the calibration {path}: {error}", "a JSON file", EXAMPLE) from error
    if not isinstance(found, dict) or not found or not all(isinstance(one, dict) for one in found.values()):
        raise UnseenError(f"{path} does not name sensors", "an object of objects, by the name of the sensor", EXAMPLE)
    return {sensor: _calibrated(one, f"{path}: sensor {sensor!r}") for sensor, one in found.items()}


def warnings_of(cameras: dict[str, Calibrated]) -> list[str]:
    """What is possible, but hardly meant."""
    found = []
    if bent := [name for name, one in cameras.items() if any(one.distortion)]:
        found.append(f"{', '.join(bent)}: images with distortion show no places: undistort them before the ingest")
    if low := [name for name, one in cameras.items() if one.lens.ego_from_camera[2, 3] <= 0]:
        found.append(f"{', '.join(low)}: not above the ground; the vehicle's origin lies on the ground, z up, and "
                     "ego_from_camera maps points of the camera into the vehicle")  # fmt: skip
    if turned := [name for name, one in cameras.items() if one.lens.ego_from_camera[2, 1] > 0]:
        found.append(f"{', '.join(turned)}: upside down; the camera's axes are x right, y down, z forward")
    return found


def _calibrated(one: dict[str, Any], where: str) -> Calibrated:
    wanted = (*NUMBERS, "ego_from_camera")
    if missing := [name for name in wanted if name not in one]:
        raise UnseenError(f"{where} lacks {', '.join(missing)}", f"a camera has {', '.join(wanted)}", EXAMPLE)
    if unknown := sorted(set(one) - {*wanted, *OPTIONAL}):
        raise UnseenError(f"{where} has {', '.join(unknown)}", f"keys are {', '.join((*wanted, *OPTIONAL))}", EXAMPLE)
    width, height, fx, fy, cx, cy = (_number(one[name], f"{where}, {name}") for name in NUMBERS)
    if min(width, height, fx, fy) <= 0 or width % 1 or height % 1:
        raise UnseenError(f"{where}: {width:g} x {height:g} px, focal lengths {fx:g}, {fy:g}", "whole px; above 0")
    bent = one.get("distortion", [])
    if not isinstance(bent, list) or not isinstance(one.get("model"), str | None):
        raise UnseenError(f"{where}: distortion {bent!r}, model {one.get('model')!r}", "a list of numbers; a name")
    return Calibrated(
        Lens((fx, fy), (cx, cy), _rigid(one["ego_from_camera"], where)),
        (int(height), int(width)),
        [_number(value, f"{where}, distortion") for value in bent],
        one.get("model"),
    )


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UnseenError(f"{where} is {value!r}", "a finite number")
    return float(value)


def _rigid(rows: Any, where: str) -> np.ndarray:
    rule = "four rows of four numbers: a rotation, metres, and 0 0 0 1"
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UnseenError(f"{where}: ego_from_camera is no matrix", rule, EXAMPLE) from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise UnseenError(f"{where}: ego_from_camera is no pose", rule, EXAMPLE)
    turn = matrix[:3, :3]
    off, sign = np.abs(turn @ turn.T - np.eye(3)).max(), np.linalg.det(turn)
    if off > ORTHOGONAL or sign < 0:
        raise UnseenError(
            f"{where}: ego_from_camera does not rotate (off by {off:.2g}, determinant {sign:.3g})",
            f"rows are unit and at right angles, within {ORTHOGONAL:g}, and right-handed",
            "give more digits; check that no axis is mirrored",
        )
    return matrix
