"""Every unit that the package exports cuts without loss and says where its pieces are."""

import pytest
import torch

from unseen.contract import Clip

from . import broken, laws
from .discover import clip, name_of, units, works

every_unit = pytest.mark.parametrize("unit", units(), ids=name_of)
of_images = pytest.mark.parametrize(
    "unit", [unit for unit in units() if works(lambda unit=unit: unit.cut(Clip(image=clip()["image"])))], ids=name_of
)


@every_unit
def test_cutting_loses_nothing(unit):
    laws.cuts_without_loss(unit, clip())


@of_images
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_join_is_the_exact_inverse(unit, channels, dtype):
    full = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}[dtype]
    video = (torch.rand(2, 4, channels, 16, 24, generator=torch.Generator().manual_seed(0)) * full).to(dtype)
    laws.cuts_without_loss(unit, Clip(image=video[:, 0].contiguous(), video=video))


@of_images
def test_centres_are_where_the_pixels_are(unit):
    laws.centres_are_where_the_pixels_are(unit, 16, 24)


@every_unit
def test_units_are_described(unit):
    laws.describes_its_units(unit, clip())
    laws.centres_are_free_of_content(unit, clip())


def test_each_law_can_fail():
    for law, member, arguments in (
        (laws.cuts_without_loss, broken.SwapsAxes(), (clip(),)),
        (laws.centres_are_where_the_pixels_are, broken.SwapsCentres(), (12, 20)),
        (laws.centres_are_free_of_content, broken.CentresOfMass(), (clip(),)),
    ):
        with pytest.raises(AssertionError):
            law(member, *arguments)
