"""Poses in time, against scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unseen.errors import UnseenError
from unseen.geometry.motion import poses_at, rotation, rotation_vector


def pose(vector, at) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation(torch.tensor(vector, dtype=torch.float64))
    matrix[:3, 3] = torch.tensor(at, dtype=torch.float64)
    return matrix


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
