"""Rigid poses as 4x4 matrices whose name says what they do: `site_from_ego @ p_ego = p_site`.

Quaternions are (w, x, y, z), unit, w >= 0, as in the store. Angles in radians, lengths in metres.
"""

import numpy as np
from jaxtyping import Float


def pose(rotation: Float[np.ndarray, "3 3"], translation_m: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """The matrix that rotates, then moves."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation_m
    return matrix


def planar(x_m: float, y_m: float, yaw_rad: float) -> Float[np.ndarray, "4 4"]:
    """The pose of a body on level ground: x forward, y left, z up, yaw counter-clockwise from the parent's x."""
    return pose(turn(yaw_rad), np.array([x_m, y_m, 0.0]))


def turn(yaw_rad: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about z, counter-clockwise."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def inverse(a_from_b: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """`b_from_a`, by the transpose: exact for a rigid pose."""
    rotation = a_from_b[:3, :3].T
    return pose(rotation, -rotation @ a_from_b[:3, 3])


def transform(a_from_b: Float[np.ndarray, "4 4"], point_b: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """Points of frame b in frame a."""
    return point_b @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def quaternion(a_from_b: Float[np.ndarray, "4 4"]) -> tuple[float, float, float, float]:
    """(w, x, y, z) of the rotation, w >= 0."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(a_from_b[:3, :3]).as_quat()
    sign = -1.0 if w < 0 else 1.0
    return sign * float(w), sign * float(x), sign * float(y), sign * float(z)


def from_quaternion(
    wxyz: tuple[float, float, float, float], translation_m: tuple[float, float, float]
) -> Float[np.ndarray, "4 4"]:
    """The pose of a stored quaternion and translation."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = wxyz
    return pose(Rotation.from_quat([x, y, z, w]).as_matrix(), np.asarray(translation_m, dtype=float))
