"""Correspondence between frames of a moving camera: homographies, and the pose at any time between two poses.

Matrices are torch, batched over leading axes; `b_from_a` maps points of camera a (x right, y down, z forward, m).
Pixels are (u, v, 1) with centres at integers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.errors import UnseenError


def infinite_homography(
    intrinsics_a: Float[Tensor, "*B 3 3"], intrinsics_b: Float[Tensor, "*B 3 3"], b_from_a: Float[Tensor, "*B 4 4"]
) -> Float[Tensor, "*B 3 3"]:
    """Pixels of a to pixels of b for what is far away: K_b R K_a^-1 (Hartley and Zisserman, 2004, section 13.4)."""
    return intrinsics_b @ b_from_a[..., :3, :3] @ torch.linalg.inv(intrinsics_a)


def plane_homography(
    intrinsics_a: Float[Tensor, "*B 3 3"],
    intrinsics_b: Float[Tensor, "*B 3 3"],
    b_from_a: Float[Tensor, "*B 4 4"],
    normal_a: Float[Tensor, "*B 3"],
    distance_m: Float[Tensor, "*B"],
) -> Float[Tensor, "*B 3 3"]:
    """Pixels of a to pixels of b for a plane: K_b (R + t n' / d) K_a^-1 (Hartley and Zisserman, 2004, section 13.1).

    `normal_a` points from the camera towards the plane, `distance_m` > 0 is the distance of the plane (above ground:
    the height of the camera), both in camera a. The plus sign goes with this direction of the normal.
    """
    shift = b_from_a[..., :3, 3, None] * (normal_a / distance_m[..., None])[..., None, :]
    return intrinsics_b @ (b_from_a[..., :3, :3] + shift) @ torch.linalg.inv(intrinsics_a)


def poses_at(
    world_from_body: Float[Tensor, "B T 4 4"], time_s: Float[Tensor, "B T"], at_s: Float[Tensor, "B K"]
) -> Float[Tensor, "B K 4 4"]:
    """Poses at any times: the shortest rotation (slerp) and a straight line between neighbours, and on past the ends.

    UnseenError for fewer than two poses, or times that do not rise.
    """
    if time_s.shape[1] < 2 or not bool((time_s.diff(dim=1) > 0).all()):
        raise UnseenError(
            "poses cannot be interpolated", "two poses or more per clip, at rising times", "give the pose of each row"
        )
    after = torch.searchsorted(time_s.contiguous(), at_s.contiguous(), right=True).clamp(1, time_s.shape[1] - 1)
    row = torch.arange(len(at_s), device=at_s.device)[:, None]
    a, b = world_from_body[row, after - 1], world_from_body[row, after]
    start, end = time_s[row, after - 1], time_s[row, after]
    share = ((at_s - start) / (end - start))[..., None]
    pose = torch.zeros_like(a)
    pose[..., 3, 3] = 1
    turn = rotation_vector(a[..., :3, :3].transpose(-1, -2) @ b[..., :3, :3])
    pose[..., :3, :3] = a[..., :3, :3] @ rotation(share * turn)
    pose[..., :3, 3] = a[..., :3, 3] + share * (b[..., :3, 3] - a[..., :3, 3])
    return pose


def rotation(vector_rad: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """The rotation about an axis by the length of the vector, counter-clockwise (Rodrigues)."""
    return torch.linalg.matrix_exp(_cross(vector_rad))


def rotation_vector(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """The inverse of `rotation`, for turns of less than half a circle."""
    skew = matrix - matrix.transpose(-1, -2)
    axis = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1) / 2  # of length sin(angle)
    sine = axis.norm(dim=-1)
    angle = torch.atan2(sine, (matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2)
    return axis * torch.where(sine > 1e-9, angle / sine.clamp(min=1e-9), 1.0)[..., None]


def _cross(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
