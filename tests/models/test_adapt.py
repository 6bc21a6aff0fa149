"""Image weights for video, colour weights for grey: the response that the rule promises, also through a file."""

import pytest
import torch
from safetensors.torch import save_file

from unseen.contract import Output
from unseen.errors import UnseenError
from unseen.models import Learned
from unseen.models.layouts import load_weights, to_timm
from unseen.models.layouts.adapt import adapt_channels, inflate

from .conftest import GRID, randomise, shapes, tiny

WEIGHT = torch.randn(7, 3, 4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", ["mean", "central"])
def test_a_clip_that_stands_still_has_the_response_of_its_frame(how):
    tubes = inflate(WEIGHT, 5, how)
    frame = torch.randn(3, 4, 6)
    assert tubes.shape == (7, 3, 5, 4, 6)
    response = torch.einsum("dcthw,chw->d", tubes, frame)
    assert torch.allclose(response, torch.einsum("dchw,chw->d", WEIGHT, frame), atol=1e-5)


def test_mean_and_central_inflation_put_the_weight_where_they_say():
    assert torch.allclose(inflate(WEIGHT, 2)[:, :, 1], WEIGHT / 2)
    central = inflate(WEIGHT, 4, "central")
    assert torch.equal(central[:, :, 2], WEIGHT)
    assert not central[:, :, [0, 1, 3]].any()
    with pytest.raises(UnseenError, match="inflation"):
        inflate(WEIGHT, 0)


def test_a_grey_image_has_the_same_response_in_colour():
    grey = torch.randn(1, 4, 6)
    colour = torch.einsum("dchw,chw->d", WEIGHT, grey.expand(3, 4, 6))
    narrow = adapt_channels(WEIGHT, 1)
    assert torch.allclose(torch.einsum("dchw,chw->d", narrow, grey), colour, atol=1e-5)
    wide = adapt_channels(narrow, 3)
    assert torch.allclose(torch.einsum("dchw,chw->d", wide, grey.expand(3, 4, 6)), colour, atol=1e-5)
    assert adapt_channels(WEIGHT, 3) is WEIGHT
    with pytest.raises(UnseenError, match="3 channels for 5"):
        adapt_channels(WEIGHT, 5)


@pytest.mark.parametrize("positions", ["computed", "learned"])
def test_an_image_encoder_becomes_one_of_grey_video(tmp_path, positions):
    settings = {"positions": Learned(grid=GRID)} if positions == "learned" else {}
    image = randomise(tiny(**settings).build(shapes()))
    save_file(to_timm(image, GRID), tmp_path / "image.safetensors")
    unit, grid = (2, 4, 6, 1), (5, *GRID)
    form = shapes(pixels=Output(unit))._replace(unit=unit, spacing=(2.0, 4.0, 6.0), grid=grid)
    video = tiny(**({"positions": Learned(grid=grid)} if settings else {})).build(form)
    with pytest.raises(UnseenError, match=r"patch_embed\.proj\.weight"):
        load_weights(video, tmp_path / "image.safetensors", grid=GRID)
    load_weights(video, tmp_path / "image.safetensors", grid=GRID, channels="adapt", video="mean")
    expected = inflate(adapt_channels(image.patch_embed.proj.weight, 1), 2)
    assert torch.equal(video.patch_embed.proj.weight, expected)
    assert torch.equal(video.blocks[1].mlp.fc2.weight, image.blocks[1].mlp.fc2.weight)
    if settings:
        assert torch.equal(video.pos_embed[0, 13:25], image.pos_embed[0, 1:])
