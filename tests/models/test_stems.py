"""Stems: the order of pixels, whitening and its folding, and that no unit reads another."""

import pytest
import torch
import torch.nn.functional as F

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.models import ConvStem, LinearStem, WhitenedStem
from unseen.models.initialise import construct
from unseen.units import Patches

from .conftest import UNIT, close, randomise

STEMS = [LinearStem(), WhitenedStem(), WhitenedStem(hidden=13), ConvStem(channels=(5, 9))]


def values(batch: int = 2, n_units: int = 7, seed: int = 0):
    return torch.randn(batch, n_units, *UNIT, generator=torch.Generator().manual_seed(seed))


def test_the_linear_stem_is_the_patch_convolution():
    image = torch.randn(2, 3, 8, 18, generator=torch.Generator().manual_seed(1))
    stem = randomise(construct(lambda: LinearStem().build(UNIT, 10)))
    cut, _ = Patches(size=(4, 6)).cut(Clip(image=image))
    convolved = F.conv2d(image, stem.proj.weight, stem.proj.bias, stride=(4, 6)).flatten(2).transpose(1, 2)
    assert close(stem(cut), convolved)


@pytest.mark.parametrize("stem", STEMS, ids=str)
def test_no_unit_reads_another(stem):
    module, x = randomise(construct(lambda: stem.build(UNIT, 10))), values()
    assert module(x).shape == (2, 7, 10)
    before = module(x)
    x[:, 3] = torch.nan
    keep = torch.arange(7) != 3
    assert torch.equal(module(x)[:, keep], before[:, keep])


def test_whitened_patches_have_unit_variance():
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(72, 72, generator=generator)
    units = (torch.randn(4000, 72, generator=generator) @ mixing + 3).view(4000, *UNIT)
    module = construct(lambda: WhitenedStem(eps=0.0).build(UNIT, 10))
    module.calibrate(units)
    white = (units.flatten(1) - module.mean) @ module.whitening.T
    assert torch.allclose(torch.cov(white.T, correction=0), torch.eye(72), atol=1e-2)
    assert white.mean(0).abs().max() < 1e-2


def test_directions_without_variance_are_not_blown_up():
    units = torch.zeros(50, *UNIT)
    units[:, 0, 0, 0] = torch.linspace(-1, 1, 50)
    module = construct(lambda: WhitenedStem().build(UNIT, 10))
    module.calibrate(units)
    assert module.whitening.isfinite().all()
    module.calibrate(torch.full((50, *UNIT), 2.0))
    assert module.whitening.isfinite().all()


def test_whitening_folds_into_a_convolution():
    module = randomise(construct(lambda: WhitenedStem().build(UNIT, 10)))
    module.calibrate(values(40, 40).flatten(0, 1))
    plain = construct(lambda: LinearStem().build(UNIT, 10))
    weight, bias = module.fold()
    plain.load_state_dict({"proj.weight": weight, "proj.bias": bias})
    assert close(plain(values()), module(values()))
    with pytest.raises(UnseenError, match="hidden"):
        construct(lambda: WhitenedStem(hidden=5).build(UNIT, 10)).fold()


def test_a_convolution_needs_patches():
    with pytest.raises(UnseenError, match="patches"):
        ConvStem().build((5,), 10)
