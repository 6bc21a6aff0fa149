"""Views: the region says truly where the crop lies, and integers stay integers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unseen.data.images import resize, resize_nearest
from unseen.data.views import Frames
from unseen.errors import UnseenError

RAMP = Frames(frame_px=(60, 80), crop_px=(24, 40), area=(0.3, 0.9), channels=1)


def ramp(height: int, width: int, dtype=np.uint8) -> np.ndarray:
    """Brightness is the place from left to right."""
    full = np.iinfo(dtype).max
    row = (np.arange(width) + 0.5) / width * full
    return np.broadcast_to(row[None, :, None], (height, width, 1)).astype(dtype).copy()


def crops(view: Frames, image: np.ndarray, count: int = 40):
    frame = view.frame(image)
    for draw in view.draws(torch.arange(count)):
        out = torch.empty(
            (view.channels, *view.image_px), dtype=torch.uint8 if image.dtype == np.uint8 else torch.uint16
        )
        yield np.array(view.train(frame, draw, out)), out.numpy().astype(float)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_region_is_where_the_crop_was(dtype):
    full = float(np.iinfo(dtype).max)
    seen = set()
    for (y0, x0, y1, x1), out in crops(RAMP, ramp(100, 200, dtype)):
        assert 0 <= y0 < y1 <= 60 and 0 <= x0 < x1 <= 80
        left, right = out[0, 12, 8] / full * 80, out[0, 12, 31] / full * 80
        expected = x0 + (x1 - x0) * np.array([8.5, 31.5]) / 40
        flipped = left > right
        seen.add(bool(flipped))
        np.testing.assert_allclose([left, right], 80 - expected if flipped else expected, atol=0.8)
    assert seen == {True, False}


def test_area_and_aspect_stay_in_their_ranges():
    regions = np.array([region for region, _ in crops(replace(RAMP, aspect=(0.8, 1.25)), ramp(300, 400), 200)])
    height, width = regions[:, 2] - regions[:, 0], regions[:, 3] - regions[:, 1]
    area = height * width / (60 * 80)
    assert area.max() <= 0.92 and area.min() >= 0.28 and area.std() > 0.1
    aspect = width / height / (40 / 24)
    assert aspect.min() > 0.7 and aspect.max() < 1.3


def test_the_crop_keeps_the_nominal_geometry_whatever_the_recorded_size():
    small = [region for region, _ in crops(RAMP, ramp(60, 80))]
    large = [region for region, _ in crops(RAMP, ramp(180, 480))]
    np.testing.assert_allclose(small, large, atol=1.1)


def test_a_decoded_frame_is_kept_no_larger_than_it_can_be_used():
    view = Frames(frame_px=(48, 64), crop_px=(48, 64), area=(0.25, 1.0))
    assert view.sufficient_px == (77, 103)
    assert view.frame(np.zeros((900, 1600, 3), np.uint8)).image.shape == (77, 103, 3)
    assert view.frame(np.zeros((150, 1600, 3), np.uint8)).image.shape == (150, 1600, 3)


def test_whole_frames_are_not_random_and_grey_becomes_what_the_view_wants():
    view = Frames(frame_px=(10, 12), channels=3)
    grey = ramp(20, 24)
    whole = view.whole(view.frame(grey))
    assert whole.shape == (3, 10, 12) and torch.equal(whole[0], whole[2])
    colour = np.stack([np.full((20, 24), v, np.uint8) for v in (255, 0, 0)], axis=2)
    assert int(replace(view, channels=1).whole(replace(view, channels=1).frame(colour))[0, 0, 0]) == 76


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jitter_varies_the_crop_and_not_the_statistics(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (30, 40, 3)).astype(dtype)
    plain = Frames(frame_px=(30, 40), flip=False)
    shaken = replace(plain, jitter=0.3)
    means = np.array([out.mean((1, 2)) for _, out in crops(shaken, image, 30)]) / np.iinfo(dtype).max
    assert means.std(0).min() > 0.02
    same = next(crops(plain, image, 1))[1]
    np.testing.assert_array_equal(same, image.transpose(2, 0, 1))
    frame = shaken.frame(image)
    np.testing.assert_allclose(frame.mean, image.mean((0, 1)) / np.iinfo(dtype).max, atol=1e-3)
    np.testing.assert_allclose(frame.std, image.std((0, 1)) / np.iinfo(dtype).max, atol=1e-3)


def test_position_crop_pretends_that_each_crop_is_the_frame():
    regions = {tuple(region) for region, _ in crops(replace(RAMP, position="crop"), ramp(60, 80))}
    assert regions == {(0.0, 0.0, 60.0, 80.0)}


def test_resize_agrees_between_8_and_16_bit():
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    coarse = resize(image, (13, 17)).numpy().astype(float)
    fine = resize(image.astype(np.uint16) * 257, (13, 17)).numpy() / 257
    assert np.abs(coarse - fine).max() <= 1.5


def test_nearest_resize_keeps_class_ids():
    ids = np.random.default_rng(1).integers(0, 9, (7, 5), dtype=np.uint8)
    assert np.array_equal(resize_nearest(np.kron(ids, np.ones((3, 4), np.uint8)), (7, 5)), ids)


@pytest.mark.parametrize("bad", [{"area": (0.0, 1.0)}, {"area": (0.5, 1.5)}, {"aspect": (2.0, 1.0)}, {"channels": 2}])
def test_impossible_views_are_refused(bad):
    with pytest.raises(UnseenError):
        Frames(**bad)
