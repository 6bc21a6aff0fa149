"""Homographies and poses in time, each against a projection written out point by point."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unseen.errors import UnseenError
from unseen.geometry.motion import infinite_homography, plane_homography, poses_at, rotation, rotation_vector

K_A = torch.tensor([[1266.0, 0, 799.5], [0, 1260.0, 449.5], [0, 0, 1]], dtype=torch.float64)
K_B = torch.tensor([[720.0, 0, 620.0], [0, 725.0, 180.0], [0, 0, 1]], dtype=torch.float64)
small = st.floats(-0.3, 0.3)


def pose(vector, at) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation(torch.tensor(vector, dtype=torch.float64))
    matrix[:3, 3] = torch.tensor(at, dtype=torch.float64)
    return matrix


def pixels(intrinsics: Tensor, point: Tensor) -> Tensor:
    scaled = point @ intrinsics.T
    return scaled[..., :2] / scaled[..., 2:]


def mapped(homography: Tensor, pixel: Tensor) -> Tensor:
    scaled = torch.cat([pixel, torch.ones(len(pixel), 1)], dim=1) @ homography.T
    return scaled[:, :2] / scaled[:, 2:]


@given(small, small, small, st.floats(-2, 2), st.floats(-0.5, 0.5))
def test_the_plane_homography_is_the_projection_of_points_on_the_plane(x, y, z, ahead, side):
    b_from_a = pose([x / 3, y, z / 3], [side, 0.1, -ahead])
    normal = torch.tensor([0.02, 0.9995, 0.01], dtype=torch.float64)
    normal, height = normal / normal.norm(), torch.tensor(1.5, dtype=torch.float64)
    ground = torch.tensor([[s, 0.0, d] for s in (-4, 0, 3) for d in (6, 15, 40)], dtype=torch.float64)
    ground[:, 1] = (height - ground @ normal) / normal[1]
    expected = pixels(K_B, ground @ b_from_a[:3, :3].T + b_from_a[:3, 3])
    got = mapped(plane_homography(K_A, K_B, b_from_a, normal, height), pixels(K_A, ground))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=2e-10)


def test_the_other_sign_of_the_normal_is_another_homography():
    b_from_a, normal, height = pose([0, 0, 0], [0, 0, -1.4]), torch.tensor([0.0, 1, 0]).double(), torch.tensor(1.5)
    ground = torch.tensor([[2.0, 1.5, 10.0]], dtype=torch.float64)
    there = pixels(K_A, ground + b_from_a[:3, 3])
    off = [
        mapped(plane_homography(K_A, K_A, b_from_a, s * normal, height), pixels(K_A, ground)) - there for s in (1, -1)
    ]
    assert off[0].norm() < 1e-9 and off[1].norm() > 20


def test_a_plane_ahead_in_view_is_exact_to_2e_12_px():
    b_from_a = pose([0.001, 0.02, -0.001], [0.05, 0.0, -1.4])
    normal, height = torch.tensor([0.0, 1.0, 0.0]).double(), torch.tensor(1.5).double()
    ground = torch.tensor([[s, 1.5, d] for s in (-2, 0, 2) for d in (8, 12, 20, 40)], dtype=torch.float64)
    got = mapped(plane_homography(K_A, K_A, b_from_a, normal, height), pixels(K_A, ground))
    assert (got - pixels(K_A, ground @ b_from_a[:3, :3].T + b_from_a[:3, 3])).abs().max() < 2e-12


@given(small, small, small)
def test_the_infinite_homography_is_the_limit_of_far_planes(x, y, z):
    b_from_a = pose([x, y, z], [0.4, -0.2, 1.0])
    direction = torch.tensor([[0.3, -0.2, 1.0], [-0.4, 0.1, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    got = mapped(infinite_homography(K_A, K_B, b_from_a), pixels(K_A, direction))
    expected = pixels(K_B, (direction * 1e9) @ b_from_a[:3, :3].T + b_from_a[:3, 3])
    assert (got - expected).abs().max() < 1e-4


@given(st.floats(-1.7, 1.7), st.floats(-1.7, 1.7), st.floats(-1.7, 1.7))
def test_rotation_vectors_return(x, y, z):
    from scipy.spatial.transform import Rotation

    vector = torch.tensor([x, y, z], dtype=torch.float64)
    torch.testing.assert_close(rotation_vector(rotation(vector)), vector, atol=1e-7, rtol=0)
    np.testing.assert_allclose(rotation(vector).numpy(), Rotation.from_rotvec([x, y, z]).as_matrix(), atol=1e-12)


def test_poses_between_poses_are_those_of_scipy_and_go_on_past_the_ends():
    from scipy.spatial.transform import Rotation, Slerp

    turns = [[0.0, 0.0, 0.0], [0.1, -0.2, 0.3], [0.2, -0.1, 0.5]]
    known = torch.stack([pose(turn, [k, 2.0 * k, -k]) for k, turn in enumerate(turns)])[None]
    at = torch.tensor([[0.0, 0.05, 0.1, 0.17, 0.3]], dtype=torch.float64)
    got = poses_at(known, torch.tensor([[0.0, 0.1, 0.3]], dtype=torch.float64), at)[0]
    slerp = Slerp([0.0, 0.1, 0.3], Rotation.from_rotvec(turns))(at[0].numpy())
    np.testing.assert_allclose(got[:, :3, :3].numpy(), slerp.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(got[:, 1, 3].numpy(), [0, 1, 2, 2.7, 4], atol=1e-12)
    steady = torch.stack([pose([0, 0, 0.1 * k], [k, 0, 0]) for k in range(2)])[None]
    beyond = poses_at(steady, torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[-1.0, 3.0]]).double())[0]
    torch.testing.assert_close(beyond, torch.stack([pose([0, 0, -0.1], [-1, 0, 0]), pose([0, 0, 0.3], [3, 0, 0])]))


def test_one_pose_or_falling_times_are_refused():
    known = torch.eye(4).double().expand(1, 2, 4, 4)
    for poses, times in ((known[:, :1], [[0.0]]), (known, [[1.0, 1.0]])):
        with pytest.raises(UnseenError, match="rising"):
            poses_at(poses, torch.tensor(times).double(), torch.tensor([[0.5]]).double())
