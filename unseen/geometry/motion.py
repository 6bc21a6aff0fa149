"""The pose of a moving body at any time between two known poses. Matrices are torch, batched over leading axes."""

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.errors import UnseenError


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
