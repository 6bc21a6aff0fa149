"""Against transformers ViTMAE on random weights: loss, prediction and gradients in float32, and files both ways."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.models import MaskedAutoencoder
from unseen.models.layouts import load_weights, to_official
from unseen.models.layouts.transformers import (
    describe,
    from_official_names,
    to_official_names,
    vit_mae_config,
)
from unseen.packing import pack
from unseen.units import Patches

from .conftest import randomise

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def config(channels: int = 3, norm_pix: bool = False, eps: float = 1e-6):
    return transformers.ViTMAEConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        layer_norm_eps=eps,
        image_size=20,
        patch_size=4,
        num_channels=channels,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=3,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=40,
        norm_pix_loss=norm_pix,
        mask_ratio=0.6,
    )


def peer(**settings):
    """A ViTMAE with random weights and right position tables: one built from a config has zeros there, and is blind."""
    model = transformers.ViTMAEForPreTraining(config(**settings))
    state = {k: v for k, v in randomise(model).state_dict().items() if "pos" not in k}
    spec, shapes, _ = describe(model.config.to_dict())
    tables = to_official(spec.build(shapes), shapes.grid)
    state["vit.embeddings.position_embeddings"] = tables["pos_embed"]
    state["decoder.decoder_pos_embed"] = tables["decoder_pos_embed"]
    model.load_state_dict(state)
    return model, spec, shapes


def ours(model, spec, shapes, path):
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(model.config.to_dict()))
    built = spec.build(shapes)
    load_weights(built, path, part="all")
    return built


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("norm_pix", [False, True])
def test_loss_prediction_and_gradients_agree(tmp_path, channels, norm_pix):
    theirs, spec, shapes = peer(channels=channels, norm_pix=norm_pix)
    model = ours(theirs, spec, shapes, tmp_path)
    generator = torch.Generator().manual_seed(3)
    image, noise = torch.randn(2, channels, 20, 20, generator=generator), torch.rand(2, 25, generator=generator)
    answer = theirs(image, noise=noise)
    answer.loss.backward()

    values, units = Patches(size=(4, 4)).cut(Clip(image=image))
    target = values.flatten(2)
    if norm_pix:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    hidden = answer.mask.bool()
    prediction = model(pack(values, ~hidden), ~hidden, hidden, {"centre": units.centre}).flatten(2)
    loss = (prediction - pack(target, hidden)).square().mean()
    loss.backward()

    assert (prediction - pack(answer.logits, hidden)).abs().max() < 1e-5
    assert abs(float(loss.detach() - answer.loss.detach())) < 1e-5
    gradients = {k: p.grad for k, p in theirs.named_parameters() if p.grad is not None}
    expected, _ = to_official_names(gradients)
    scale = max(float(g.abs().max()) for g in expected.values())
    mine = {"encoder." + k: v for k, v in expected.items()}
    renamed = {"decoder_embed": "embed", "decoder_blocks": "blocks", "decoder_norm": "norm", "mask_token": "mask_token"}
    for name, parameter in model.named_parameters():
        back = name.replace("heads.pixels", "decoder_pred")
        for theirs_name, our_name in renamed.items():
            back = back.replace(f"predictor.{our_name}", theirs_name)
        wanted = expected[back] if back in expected else mine[name]
        assert (parameter.grad - wanted).abs().max() / max(scale, 1) < 1e-5, name


@pytest.mark.parametrize("spelling", ["decoder.decoder_layers", "decoder.decoder_encoder.layer"])
@pytest.mark.parametrize("version", [4, 5])
def test_all_spellings_give_the_same_weights(tmp_path, spelling, version):
    theirs, spec, shapes = peer()
    state = theirs.state_dict()
    if version == 4:
        official, _ = to_official_names(state)
        state = from_official_names(official)
    state = {name.replace("decoder.decoder_layers", spelling): value for name, value in state.items()}
    reference = ours(theirs, spec, shapes, tmp_path).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    model = spec.build(shapes)
    load_weights(model, tmp_path, part="all")
    assert all(torch.equal(value, reference[name]) for name, value in model.state_dict().items())


def test_what_save_pretrained_writes_is_read(tmp_path):
    theirs, spec, shapes = peer()
    reference = ours(theirs, spec, shapes, tmp_path).state_dict()
    theirs.save_pretrained(tmp_path / "saved")
    model = spec.build(shapes)
    matched = load_weights(model, tmp_path / "saved", part="all")
    assert matched.layout == "transformers"
    assert not matched.ignored
    assert all(torch.equal(value, reference[name]) for name, value in model.state_dict().items())


def test_transformers_reads_what_we_write(tmp_path):
    theirs, spec, shapes = peer(norm_pix=True)
    model = ours(theirs, spec, shapes, tmp_path)
    folder = tmp_path / "written"
    folder.mkdir()
    save_file(from_official_names(to_official(model, shapes.grid)), folder / "model.safetensors", {"format": "pt"})
    card = vit_mae_config(spec, shapes.unit, shapes.grid, norm_pix=True)
    (folder / "config.json").write_text(json.dumps(card))
    read, report = transformers.ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert read.config.norm_pix_loss
    assert read.config.layer_norm_eps == pytest.approx(1e-6)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(value, read.state_dict()[name], atol=1e-6), name


def test_tables_of_zeros_are_refused(tmp_path):
    theirs, spec, shapes = peer()
    state = theirs.state_dict()
    state["decoder.decoder_pos_embed"] = torch.zeros_like(state["decoder.decoder_pos_embed"])
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UnseenError, match="all zeros"):
        load_weights(spec.build(shapes), tmp_path, part="all")


def test_another_number_of_heads_is_refused(tmp_path):
    theirs, spec, shapes = peer()
    ours(theirs, spec, shapes, tmp_path)
    wrong = MaskedAutoencoder(encoder=replace(spec.encoder, heads=2), predictor=spec.predictor).build(shapes)
    with pytest.raises(UnseenError, match="heads=3"):
        load_weights(wrong, tmp_path)


def test_another_norm_eps_is_refused(tmp_path):
    theirs, spec, shapes = peer(eps=1e-12)
    assert spec.encoder.norm_eps == 1e-12
    ours(theirs, spec, shapes, tmp_path)
    right = replace(spec.encoder, norm_eps=1e-6)
    wrong = MaskedAutoencoder(encoder=right, predictor=spec.predictor).build(shapes)
    with pytest.raises(UnseenError, match="norm_eps=1e-12"):
        load_weights(wrong, tmp_path)


def test_a_file_without_decoder_fills_the_encoder_only(tmp_path):
    theirs, spec, shapes = peer()
    reference = ours(theirs, spec, shapes, tmp_path).encoder.state_dict()
    state = {name: v for name, v in load_file(tmp_path / "model.safetensors").items() if name.startswith("vit.")}
    save_file(state, tmp_path / "model.safetensors")
    model = spec.build(shapes)
    before = model.predictor.embed.weight.clone()
    load_weights(model, tmp_path)
    assert torch.equal(model.predictor.embed.weight, before)
    assert all(torch.equal(value, reference[name]) for name, value in model.encoder.state_dict().items())
    with pytest.raises(UnseenError, match="decoder"):
        load_weights(model, tmp_path, part="all")
