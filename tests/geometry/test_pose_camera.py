"""Poses and cameras: each operation against its inverse, and against a camera written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unseen.errors import UnseenError
from unseen.geometry import pose
from unseen.geometry.camera import Camera

angle, metre = st.floats(-3.1, 3.1), st.floats(-50, 50)


@given(metre, metre, angle)
def test_inverse_undoes_and_quaternion_returns(x, y, yaw):
    site_from_ego = pose.planar(x, y, yaw)
    point = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 0.5]])
    back = pose.transform(pose.inverse(site_from_ego), pose.transform(site_from_ego, point))
    np.testing.assert_allclose(back, point, atol=1e-9)
    wxyz = pose.quaternion(site_from_ego)
    assert wxyz[0] >= 0 and np.isclose(np.linalg.norm(wxyz), 1)
    np.testing.assert_allclose(pose.from_quaternion(wxyz, (x, y, 0.0)), site_from_ego, atol=1e-9)


def test_planar_turns_counter_clockwise():
    np.testing.assert_allclose(
        pose.transform(pose.planar(10.0, 0.0, np.pi / 2), np.array([1.0, 0, 0])), [10, 1, 0], atol=1e-12
    )


def test_a_point_ahead_left_and_high_is_in_the_upper_left_quarter():
    camera = Camera.facing((120, 160), 70.0, 2.0)
    camera_from_ego = pose.inverse(camera.ego_from_camera)
    u, v, depth = camera.project(pose.transform(camera_from_ego, np.array([21.6, 3.0, 4.0])))
    assert u < 79.5 and v < 59.5 and np.isclose(depth, 20.0)
    focal = 160 / (2 * np.tan(np.radians(35)))
    np.testing.assert_allclose([u, v], [79.5 - focal * 3 / 20, 59.5 - focal * 2 / 20])


@given(st.floats(0, 159), st.floats(0, 119), st.floats(0.5, 80), angle, st.floats(-20, 20))
def test_rays_and_projection_agree_in_any_frame(u, v, depth, yaw, pitch):
    camera = Camera.facing((120, 160), 80.0, 1.7, yaw_deg=15.0, pitch_deg=pitch)
    site_from_ego = pose.planar(5.0, -3.0, yaw)
    point_camera = camera.rays(np.array(u), np.array(v)) * depth
    np.testing.assert_allclose(camera.project(point_camera), [u, v, depth], atol=1e-6)
    field = camera.ray_field(site_from_ego)
    on_ray = field.origin_m + depth * (field.at_zero + u * field.per_u + v * field.per_v)
    np.testing.assert_allclose(on_ray, pose.transform(site_from_ego @ camera.ego_from_camera, point_camera), atol=1e-8)


def test_a_camera_without_focal_length_is_refused():
    with pytest.raises(UnseenError, match="positive"):
        Camera(size_px=(4, 4), focal_px=(0.0, 1.0), centre_px=(1.5, 1.5), ego_from_camera=np.eye(4))
