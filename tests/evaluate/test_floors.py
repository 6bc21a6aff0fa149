import pytest
import torch

from unseen.errors import UnseenError
from unseen.evaluate.features import in_plane
from unseen.evaluate.floors import HandMade, RawPixels, place
from unseen.systems.encode import Features

IMAGE = torch.randint(0, 256, (2, 3, 24, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_sizes():
    raw, made = RawPixels()(IMAGE), HandMade()(IMAGE)
    assert raw.units.shape == (2, 15, 192 + 9) and raw.grid == (3, 5)
    assert made.units.shape == (2, 15, 205) and made.grid == (3, 5)
    assert made.pooled.shape == (2, 205)
    assert HandMade(unit_px=(4, 8))(IMAGE[:, :1]).units.shape == (2, 30, 4 * (36 + 4 + 1) + 9)


def test_raw_pixels_are_the_unit_and_its_place():
    raw = RawPixels()(IMAGE).units[1, 7]  # row 1, column 2
    patch = IMAGE[1, :, 8:16, 16:24].permute(1, 2, 0).flatten().float() / 255
    assert torch.allclose(raw[:192], patch)
    assert torch.allclose(raw[192:], place(3, 5)[7])
    assert raw[192:194].tolist() == pytest.approx([0, 0])  # the middle of the frame


def test_frames_do_not_mix():
    together, alone = HandMade()(IMAGE).units[1], HandMade()(IMAGE[1:]).units[0]
    assert torch.allclose(together, alone, atol=1e-6)


def test_hand_made_is_blind_to_exposure():
    dim = (IMAGE.float() * 0.5).to(torch.uint8)
    bright, dark = HandMade()(IMAGE).units, HandMade()(dim).units
    assert (bright - dark).abs().mean() < 0.03 * bright.abs().mean()
    assert (RawPixels()(IMAGE).units - RawPixels()(dim).units).abs().mean() > 0.1


def test_neighbourhoods_are_means_over_what_exists():
    made = HandMade(windows=(3,))(IMAGE).units[0].view(3, 5, 49 * 2 + 9)
    own, mean = made[..., :49], made[..., 49:98]
    assert torch.allclose(mean[1, 1], own[0:3, 0:3].mean(dim=(0, 1)), atol=1e-5)
    assert torch.allclose(mean[0, 0], own[0:2, 0:2].mean(dim=(0, 1)), atol=1e-5)


def test_edges_of_another_direction_fall_into_other_bins():
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[:, :, :, ::4] = 200
    upright, lying = (HandMade()(image).units[0, :, :36].mean(dim=0) for image in (stripes, stripes.mT.contiguous()))
    assert torch.nn.functional.cosine_similarity(upright, lying, dim=0) < 0.3


def test_a_unit_must_fit():
    with pytest.raises(UnseenError, match="unit"):
        HandMade(unit_px=(7, 8))(IMAGE)


def test_of_a_video_the_middle_frame_is_judged():
    """Labels are those of the middle frame: floors look at it, and of an encoder's units its slot is taken."""
    video = torch.stack([IMAGE // 4, IMAGE // 2, IMAGE, IMAGE // 8], dim=1)
    for floor in (RawPixels(), HandMade()):
        assert torch.equal(floor(video).units, floor(IMAGE).units)
    units = torch.arange(2 * 4 * 15.0).view(2, 60, 1)
    plane = in_plane(Features(units.mean(dim=1), units, (4, 3, 5)))
    assert plane.grid == (3, 5) and torch.equal(plane.units, units[:, 30:45])
    assert in_plane(plane) is plane
