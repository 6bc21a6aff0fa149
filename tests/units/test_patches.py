"""Image patches and what is taken out of raw pixels."""

import pytest
import torch

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.units import Fixed, Patches, PerFrame
from unseen.units.normalise import apply


def test_content_is_row_column_channel():
    image = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    values, units = Patches(size=(2, 3)).cut(Clip(image=image))
    assert values.shape == (2, 4, 2, 3, 3) and units.grid == (2, 2)
    for unit, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        for y in range(2):
            for x in range(3):
                assert torch.equal(values[:, unit, y, x], image[:, :, 2 * row + y, 3 * column + x])


def test_an_image_that_does_not_divide_is_refused_with_a_remedy():
    with pytest.raises(UnseenError, match=r"17 x 24 px does not divide .* 16 x 24"):
        Patches(size=(4, 4)).cut(Clip(image=torch.zeros(1, 3, 17, 24)))


def test_each_sample_has_the_place_of_its_own_region():
    region = torch.tensor([[0.0, 0.0, 8.0, 8.0], [10.0, 20.0, 18.0, 36.0]])
    centre = Patches(size=(4, 4)).cut(Clip(image=torch.zeros(2, 1, 8, 8), region_px=region))[1].centre
    assert centre[0].tolist() == [[2, 2], [2, 6], [6, 2], [6, 6]]
    assert centre[1].tolist() == [[12, 24], [12, 32], [16, 24], [16, 32]]


@pytest.mark.parametrize(("dtype", "full"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_fixed_takes_out_imagenet_statistics(dtype, full):
    image = torch.full((1, 3, 2, 2), full).to(dtype)
    normalised = apply(Fixed(), Clip(image=image))["image"]
    expected = [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert normalised[0, :, 1, 1].tolist() == pytest.approx(expected)


def test_fixed_refuses_other_channels():
    for made in (
        lambda: Patches(size=(0, 4)),
        lambda: PerFrame(eps=0.0),
        lambda: Fixed(mean=(0.5,), std=(0.5, 0.5)),
        lambda: Fixed(mean=(0.5,), std=(0.0,)),
    ):
        with pytest.raises(UnseenError):
            made()
    with pytest.raises(UnseenError, match="1 channels but the recipe normalises 3"):
        apply(Fixed(), Clip(image=torch.zeros(1, 1, 2, 2, dtype=torch.uint8)))


def test_per_frame_standardises_and_a_grey_frame_stays_finite():
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image[1] = 200
    normalised = apply(PerFrame(), Clip(image=image))["image"]
    assert (
        normalised[0].mean(dim=(1, 2)).abs().max() < 1e-4 and (normalised[0].std(dim=(1, 2)) - 0.93).abs().max() < 0.03
    )
    assert (normalised[1].abs() < 1e-4).all()


def test_a_crop_is_standardised_by_its_frame():
    crop = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    clip = Clip(image=crop, frame_mean=torch.full((1, 3), 0.5), frame_std=torch.full((1, 3), 0.23))
    assert apply(PerFrame(), clip)["image"].flatten().tolist() == pytest.approx([2.0] * 48)


def test_the_frame_before_is_normalised_alike():
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    both = apply(PerFrame(), Clip(image=image, previous=image))
    assert torch.equal(both["image"], both["previous"])


def test_the_clip_itself_stays_raw():
    clip = Clip(image=torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    apply(Fixed(), clip)
    assert clip["image"].dtype == torch.uint8
