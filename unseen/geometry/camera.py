"""A pinhole camera without distortion.

Optical frame: x right, y down, z forward. Ego frame: x forward, y left, z up, origin on the ground under the rear axle.
Pixel (row v, column u) has its centre at exactly (v, u): the image covers [-0.5, H - 0.5] x [-0.5, W - 0.5].
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unseen.errors import UnseenError
from unseen.geometry import pose

OPTICAL_AXES = np.array(
    [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
)  # ego axes from optical axes, looking ahead


class RayField(NamedTuple):
    """The rays of a pinhole camera in any frame: `at_zero + u * per_u + v * per_v`, of unit depth, from `origin_m`."""

    origin_m: Float[np.ndarray, "3"]
    at_zero: Float[np.ndarray, "3"]
    per_u: Float[np.ndarray, "3"]
    per_v: Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """Size (H, W) px, focal lengths and principal point px, and where the camera sits on the vehicle."""

    size_px: tuple[int, int]
    focal_px: tuple[float, float]  # fx, fy
    centre_px: tuple[float, float]  # cx, cy
    ego_from_camera: Float[np.ndarray, "4 4"]

    def __post_init__(self):
        if min(*self.size_px, *self.focal_px) <= 0:
            raise UnseenError(f"camera of size {self.size_px} and focal length {self.focal_px}", "both are positive")

    @staticmethod
    def facing(
        size_px: tuple[int, int], view_deg: float, height_m: float, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> "Camera":
        """A camera with square pixels, `view_deg` wide; yaw turns it left, pitch tilts it down."""
        focal = size_px[1] / (2 * np.tan(np.radians(view_deg) / 2))
        c, s = np.cos(np.radians(pitch_deg)), np.sin(np.radians(pitch_deg))
        down = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        rotation = pose.turn(np.radians(yaw_deg)) @ down @ OPTICAL_AXES
        return Camera(
            size_px=size_px,
            focal_px=(focal, focal),
            centre_px=((size_px[1] - 1) / 2, (size_px[0] - 1) / 2),
            ego_from_camera=pose.pose(rotation, np.array([1.6, 0.0, height_m])),
        )

    def rays(self, u: Float[np.ndarray, "*N"], v: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N 3"]:
        """Directions of unit depth in the optical frame through pixel coordinates."""
        (fx, fy), (cx, cy) = self.focal_px, self.centre_px
        return np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)

    def project(self, point_camera: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
        """(u px, v px, depth m) of points in the optical frame. Where depth <= 0, u and v mean nothing."""
        depth = point_camera[..., 2]
        safe = np.where(depth > 0, depth, 1.0)
        u = self.focal_px[0] * point_camera[..., 0] / safe + self.centre_px[0]
        v = self.focal_px[1] * point_camera[..., 1] / safe + self.centre_px[1]
        return np.stack([u, v, depth], axis=-1)

    def ray_field(self, frame_from_ego: Float[np.ndarray, "4 4"]) -> RayField:
        """All rays in the frame of `frame_from_ego`; the parameter along a ray is its depth in metres."""
        frame_from_camera = frame_from_ego @ self.ego_from_camera
        rotation, (fx, fy), (cx, cy) = frame_from_camera[:3, :3], self.focal_px, self.centre_px
        right, down, ahead = rotation.T
        return RayField(frame_from_camera[:3, 3], ahead - right * (cx / fx) - down * (cy / fy), right / fx, down / fy)
