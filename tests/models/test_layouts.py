"""timm and official MAE files: both ways, strictly, with their positions."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from unseen.errors import UnseenError
from unseen.models import ConvStem, Learned, MaskedAutoencoder, SelfAttention, WhitenedStem
from unseen.models.layouts import load_weights, to_official, to_timm
from unseen.models.layouts.official import check_sincos

from .conftest import GRID, Batch, close, randomise, shapes, tiny

SPEC = MaskedAutoencoder(encoder=tiny(), predictor=SelfAttention(width=16, depth=1, heads=2))


@pytest.fixture
def model():
    return randomise(SPEC.build(shapes()))


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def written(state, folder, name="model.safetensors"):
    save_file({key: value.contiguous() for key, value in state.items()}, folder / name)
    return folder / name


def test_official_there_and_back(tmp_path, model):
    path = written(to_official(model, GRID), tmp_path)
    read = SPEC.build(shapes())
    matched = load_weights(read, path, part="all", grid=GRID)
    assert same(model, read)
    assert matched.layout == "official MAE"
    assert str(matched) == f"official MAE: {len(model.state_dict())} tensors loaded"


def test_the_encoder_alone_leaves_the_decoder_out_by_name(tmp_path, model):
    read = SPEC.build(shapes())
    matched = load_weights(read, written(to_official(model, GRID), tmp_path), grid=GRID)
    assert same(model.encoder, read.encoder)
    assert not same(model.predictor, read.predictor)
    assert "mask_token" in matched.ignored and "decoder_pos_embed" in matched.ignored


def test_the_pickles_of_the_official_code_are_read_and_others_are_not(tmp_path, model):
    path = tmp_path / "mae.pth"
    torch.save({"model": to_official(model, GRID), "args": argparse.Namespace(lr=1.0), "epoch": 3}, path)
    read = SPEC.build(shapes())
    load_weights(read, path, part="all", grid=GRID)
    assert same(model, read)
    torch.save({"model": to_official(model, GRID), "args": Batch}, path)
    with pytest.raises(UnseenError, match="safely"):
        load_weights(read, path)


def test_timm_there_and_back(tmp_path, model):
    state = to_timm(model.encoder, GRID) | {"head.weight": torch.zeros(5, 24), "head.bias": torch.zeros(5)}
    read = SPEC.build(shapes())
    matched = load_weights(read, written(state, tmp_path), grid=GRID)
    assert same(model.encoder, read.encoder)
    assert matched.ignored == ("head.bias", "head.weight") or matched.ignored == ("head.weight", "head.bias")


def test_a_supervised_timm_encoder_keeps_its_learned_table(tmp_path, model):
    state = to_timm(model.encoder, GRID)
    state["pos_embed"] = torch.randn(1, 13, 24)
    path = written(state, tmp_path)
    with pytest.raises(UnseenError, match="learned table"):
        load_weights(SPEC.build(shapes()), path, grid=GRID)
    learned = tiny(positions=Learned(grid=GRID)).build(shapes())
    load_weights(learned, path, grid=GRID)
    assert torch.equal(learned.pos_embed, state["pos_embed"])
    assert torch.equal(to_timm(learned, GRID)["pos_embed"], state["pos_embed"])
    larger = tiny(positions=Learned(grid=(4, 12))).build(shapes())
    load_weights(larger, path, grid=GRID)
    assert larger.pos_embed.shape == (1, 49, 24)
    assert torch.equal(larger.pos_embed[:, 0], state["pos_embed"][:, 0])


def test_our_own_encoder_file_is_read(tmp_path, model):
    read = SPEC.build(shapes())
    assert load_weights(read, written(model.encoder.state_dict(), tmp_path)).layout == "unseen"
    assert same(model.encoder, read.encoder)
    assert load_weights(read, written(model.state_dict(), tmp_path), part="all").layout == "unseen"
    assert same(model, read)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("blocks.1.mlp.fc2.bias"), "missing.*blocks.1.mlp.fc2.bias"),
        (lambda s: s.update({"blocks.2.norm1.bias": torch.zeros(24)}), "unexpected.*blocks.2.norm1.bias"),
        (lambda s: s.update({"extra": torch.zeros(24)}), "unknown keys.*extra"),
        (lambda s: s.update({"norm.bias": torch.zeros(25)}), r"norm.bias \(25,\) for \(24,\)"),
        (lambda s: s.update({"pos_embed": s["pos_embed"].roll(12, dims=2)}), "not the sin-cos table"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, model, change, match):
    state = to_official(model, GRID)
    change(state)
    read, untouched = SPEC.build(shapes()), SPEC.build(shapes())
    with pytest.raises(UnseenError, match=match):
        load_weights(read, written(state, tmp_path), grid=GRID)
    assert same(read, untouched)


def test_a_grid_that_is_not_square_must_be_told(tmp_path, model):
    path = written(to_timm(model.encoder, GRID), tmp_path)
    with pytest.raises(UnseenError, match="pass grid="):
        load_weights(SPEC.build(shapes()), path)
    with pytest.raises(UnseenError, match=r"\(2, 5\)"):
        load_weights(SPEC.build(shapes()), path, grid=(2, 5))


def test_rows_and_columns_are_not_exchanged(model):
    table = to_timm(model.encoder, (2, 6))["pos_embed"]
    check_sincos(table, (2, 6), "pos_embed")
    with pytest.raises(UnseenError, match="3 x 4"):
        check_sincos(table, (3, 4), "pos_embed")


def test_a_whitened_stem_becomes_a_convolution(tmp_path):
    encoder = randomise(tiny(stem=WhitenedStem()).build(shapes()))
    batch = Batch()
    encoder.patch_embed.calibrate(batch.values.flatten(0, 1))
    plain = tiny().build(shapes())
    load_weights(plain, written(to_timm(encoder, GRID), tmp_path), grid=GRID)
    inputs = batch.values, batch.metadata["centre"]
    assert close(plain(*inputs), encoder(*inputs), atol=1e-4)
    with pytest.raises(UnseenError, match="convolution"):
        to_timm(tiny(stem=ConvStem(channels=(4,))).build(shapes()), GRID)


def test_files_that_are_not_there_are_named(tmp_path, model):
    with pytest.raises(UnseenError, match=r"nothing\.pth"):
        load_weights(model, tmp_path / "nothing.pth")
    with pytest.raises(UnseenError, match="no weights"):
        load_weights(model, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UnseenError, match="damaged"):
        load_weights(model, tmp_path)
