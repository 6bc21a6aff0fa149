"""Tubes of video and patches of several cameras: where they are, in which order their content stands."""

import numpy as np
import pytest
import torch

from unseen.contract import Clip
from unseen.data.rig import on_canvas
from unseen.errors import UnseenError
from unseen.geometry.camera import OPTICAL_AXES
from unseen.geometry.pose import turn
from unseen.targets import Pixels
from unseen.units import Mosaic, Tubes


def video(frames: int = 4, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.arange(2 * frames * 3 * height * width).view(2, frames, 3, height, width).float()


def test_a_tube_holds_frame_row_column_channel():
    values, units = Tubes(size=(2, 4, 6)).cut(Clip(video=video()))
    assert values.shape == (2, 8, 2, 4, 6, 3) and units.grid == (2, 2, 2)
    for slot, row, column, t, y, x, c in ((0, 0, 0, 0, 0, 0, 0), (1, 0, 1, 1, 3, 2, 2), (1, 1, 0, 0, 1, 5, 1)):
        expected = video()[1, slot * 2 + t, c, row * 4 + y, column * 6 + x]
        assert values[1, slot * 4 + row * 2 + column, t, y, x, c] == expected


def test_the_videomae_rule_on_tubes_equals_a_slow_loop():
    """(x - mean) / (std + 1e-6), per channel over all frames and pixels of a tube, std unbiased."""
    content = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    values, units = Tubes(size=(2, 4, 4)).cut(Clip(video=content))
    made = Pixels(normalise="channel").make(values, units, Clip())
    for slot, row, column, c in ((0, 0, 0, 0), (1, 0, 1, 2), (0, 1, 1, 1)):
        cube = content[1, slot * 2 : slot * 2 + 2, c, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].double()
        expected = (cube - cube.mean()) / (cube.flatten().std(correction=1) + 1e-6)
        torch.testing.assert_close(made[1, slot * 4 + row * 2 + column, ..., c].double(), expected, atol=1e-5, rtol=0)
    assert Pixels(normalise="patch").make(values, units, Clip()).shape == values.shape


def test_time_is_in_seconds_and_the_first_slot_half_a_step_in():
    unit = Tubes(size=(2, 4, 4), frame_s=0.2)
    assert unit.spacing == pytest.approx((0.4, 4, 4))
    nominal = unit.cut(Clip(video=video()))[1].centre
    assert nominal[0, :, 0].unique().tolist() == pytest.approx([0.2, 0.6])
    slow = torch.tensor([[0.0, 0.2, 0.4, 0.6], [0.0, 0.5, 1.0, 1.5]])
    true = unit.cut(Clip(video=video(), frame_time_s=slow))[1].centre
    assert true[:, :, 0].unique(dim=1)[0].tolist() == pytest.approx([0.2, 0.6])
    assert true[1, :, 0].unique().tolist() == pytest.approx([0.35, 1.35])
    assert torch.equal(true[0, :, 1:], true[1, :, 1:])


def test_a_strip_shows_the_frames_side_by_side():
    values, units = Tubes(size=(2, 4, 6)).cut(Clip(video=video()))
    strip = Tubes(size=(2, 4, 6)).picture(values, units)
    assert torch.equal(strip, torch.cat(list(video().unbind(dim=1)), dim=3))


def test_what_does_not_divide_is_refused():
    with pytest.raises(UnseenError, match="4 frames of 8 x 12"):
        Tubes(size=(3, 4, 4)).cut(Clip(video=video()))
    with pytest.raises(UnseenError, match="no video"):
        Tubes().cut(Clip(image=torch.zeros(1, 3, 8, 8)))
    with pytest.raises(UnseenError, match="frame_s"):
        Tubes(frame_s=0.0)
    with pytest.raises(UnseenError, match="width of each camera"):
        Mosaic(size=(4, 4)).cut(Clip(image=torch.zeros(1, 3, 8, 12), camera_there=torch.ones(1, 2, dtype=torch.bool)))


def test_no_patch_crosses_a_seam_and_missing_cameras_have_no_units():
    image = torch.arange(3.0).repeat_interleave(8).expand(2, 1, 8, 24)  # each camera one grey
    there = torch.tensor([[True, True, True], [True, False, True]])
    values, units = Mosaic(size=(4, 4)).cut(Clip(image=image, **on_canvas(there, 100)))
    assert (values.flatten(2).std(dim=2) == 0).all() and units.grid == (2, 6)
    assert units.valid.view(2, 2, 6).tolist() == [[[True] * 6] * 2, [[True, True, False, False, True, True]] * 2]


def test_cameras_stand_side_by_side_on_the_canvas_wherever_they_were_cropped():
    region = torch.tensor([[10.0, 20.0, 18.0, 36.0]])
    clip = Clip(image=torch.zeros(1, 1, 4, 16), region_px=region, **on_canvas(torch.ones(1, 2, dtype=torch.bool), 100))
    centre = Mosaic(size=(4, 4)).cut(clip)[1].centre
    assert centre[0].tolist() == [[14, 24], [14, 32], [14, 124], [14, 132]]


def rig(yaw_deg: tuple[float, ...], known: bool = True) -> Clip:
    pose = torch.eye(4).repeat(1, len(yaw_deg), 1, 1)
    for camera, angle in enumerate(yaw_deg):
        pose[0, camera, :3, :3] = torch.from_numpy(turn(np.radians(angle)) @ OPTICAL_AXES)
    k = torch.tensor([[8.0, 0, 7.5], [0, 8.0, 3.5], [0, 0, 1]]).repeat(1, len(yaw_deg), 1, 1)
    if not known:
        k[0, -1] = torch.nan
    there = torch.ones(1, len(yaw_deg), dtype=torch.bool)
    image = torch.zeros(1, 3, 8, 16 * len(yaw_deg))
    return Clip(image=image, intrinsics=k, world_from_camera=pose, **on_canvas(there, 16))


def test_angles_say_where_a_patch_looks():
    """A camera 90 degrees wide: its 16 px sides look 45 degrees to the left and to the right of its own direction."""
    unit = Mosaic(size=(8, 8), step_deg=(30.0, 45.0))
    assert unit.spacing == (30.0, 45.0)
    centre = unit.cut(rig((90.0, 0.0, -90.0)))[1].centre
    half = np.degrees(np.arctan(0.5))
    assert centre[0, :, 1].tolist() == pytest.approx(
        [-90 - half, -90 + half, -half, half, 90 - half, 90 + half], abs=1e-3
    )
    assert centre[0, :, 0].abs().max() < 1e-4
    down = Mosaic(size=(4, 16), step_deg=(30.0, 45.0)).cut(rig((0.0,)))[1].centre[0, :, 0]
    assert down.tolist() == pytest.approx([-np.degrees(np.arctan(0.25)), np.degrees(np.arctan(0.25))], abs=1e-3)
    with pytest.raises(UnseenError, match="no calibration"):
        unit.cut(Clip(image=torch.zeros(1, 3, 8, 16)))
    lame = rig((0.0, 90.0), known=False)
    with pytest.raises(UnseenError, match="a camera has no calibration"):
        unit.cut(lame)
    lame["camera_there"][0, 1] = False
    assert torch.isfinite(unit.cut(lame)[1].centre).all()
