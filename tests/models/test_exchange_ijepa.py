"""I-JEPA: encoders of official files and of transformers, on random weights."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.models import Learned, SinCos
from unseen.models.layouts import ijepa, load_weights, to_timm
from unseen.units import Patches

from .conftest import GRID, randomise, shapes, tiny

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def peer(**changes):
    settings = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "layer_norm_eps": 1e-6,
        "image_size": [12, 20],
        "patch_size": 4,
        "num_channels": 5,
    }
    return randomise(transformers.IJepaModel(transformers.IJepaConfig(**settings | changes))).eval()


def written(model, folder, state=None):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in (state or model.state_dict()).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    return folder


def ours(model, folder):
    spec, form = ijepa.describe(model.config.to_dict())
    read = spec.build(form)
    load_weights(read, written(model, folder))
    return read


def features(encoder, image):
    values, units = Patches(size=(4, 4)).cut(Clip(image=image))
    return encoder(values, units.centre.expand(len(image), -1, -1))


@pytest.mark.parametrize("changes", [{}, {"image_size": 20, "num_channels": 3, "layer_norm_eps": 1e-4}])
def test_features_and_gradients_agree(tmp_path, changes):
    theirs = peer(**changes)
    encoder = ours(theirs, tmp_path)
    size = (20, 20) if changes else (12, 20)
    image = torch.randn(2, theirs.config.num_channels, *size, generator=torch.Generator().manual_seed(3))
    expected, found = theirs(image).last_hidden_state, features(encoder, image)
    assert (found - expected).abs().max() < 1e-5
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4))
    (expected * weight).mean().backward()
    (found * weight).mean().backward()
    gradients, _ = ijepa.read({name: p.grad for name, p in theirs.named_parameters()})
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad - gradients.pop(name)).abs().max() < 1e-5, name
    assert not gradients


def test_transformers_reads_what_we_write(tmp_path):
    theirs = peer()
    state, card = ijepa.to_peer(ours(theirs, tmp_path / "in"), (3, 5))
    folder = tmp_path / "written"
    folder.mkdir()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(card))
    assert "encoder.layer.1.attention.attention.key.bias" in state
    read, report = transformers.IJepaModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    image = torch.randn(2, 5, 12, 20)
    assert (read.eval()(image).last_hidden_state - theirs(image).last_hidden_state).abs().max() < 1e-5


def test_both_versions_and_the_wrapped_model_are_read(tmp_path):
    theirs = peer()
    reference = ours(theirs, tmp_path / "five").state_dict()
    spec, form = ijepa.describe(theirs.config.to_dict())
    four, _ = ijepa.to_peer(ours(theirs, tmp_path / "again"), (3, 5))
    wrapped = {f"ijepa.{name}": value for name, value in four.items()} | {"classifier.bias": torch.zeros(2)}
    for number, state in enumerate((four, wrapped)):
        read = spec.build(form)
        matched = load_weights(read, written(theirs, tmp_path / str(number), state))
        assert matched.layout == "transformers I-JEPA"
        assert same(read, reference)
    assert matched.ignored == ("classifier.bias",)


def official(encoder, average):
    """The file of the official code: each network wrapped for distributed training, and the state of training."""
    wrap = {
        name: {f"module.{k}": v for k, v in to_timm(network, GRID).items()}
        for name, network in (("encoder", encoder), ("target_encoder", average))
    }
    predictor = {"module.predictor_embed.weight": torch.zeros(8, 24), "module.mask_token": torch.zeros(1, 1, 8)}
    return {**wrap, "predictor": predictor, "opt": {"state": {0: {"step": torch.ones(())}}}, "scaler": None, "epoch": 3}


def test_either_encoder_of_an_official_file_is_read(tmp_path):
    spec = tiny(class_token=False)
    encoder, average = (randomise(spec.build(shapes()), seed) for seed in (1, 2))
    torch.save(official(encoder, average), tmp_path / "jepa.pth")
    path = tmp_path / "jepa.pth"
    read = spec.build(shapes())
    matched = load_weights(read, path, grid=GRID)
    assert matched.layout == "official I-JEPA"
    assert same(read, encoder.state_dict())
    assert "target_encoder.norm.weight" in matched.ignored and "predictor.mask_token" in matched.ignored
    load_weights(read, path, grid=GRID, branch="target_encoder")
    assert same(read, average.state_dict())
    with pytest.raises(UnseenError, match="no branch 'teacher'"):
        load_weights(read, path, grid=GRID, branch="teacher")


def test_files_that_do_not_fit_are_refused(tmp_path):
    theirs = peer()
    spec, form = ijepa.describe(theirs.config.to_dict())
    folder = written(theirs, tmp_path / "in")
    with pytest.raises(UnseenError, match="not the sin-cos table"):
        load_weights(replace(spec, positions=SinCos()).build(form), folder)
    with pytest.raises(UnseenError, match=r"missing.*cls_token"):
        load_weights(replace(spec, class_token=True).build(form), folder)
    for change, match in (
        (lambda s: s.pop("layers.1.attention.k_proj.bias"), "missing.*attn.key.bias"),
        (lambda s: s.update({"layers.0.lambda_2": torch.zeros(24)}), "not of transformers' I-JEPA.*lambda_2"),
        (lambda s: s.update({"layernorm.bias": torch.zeros(3)}), r"norm.bias \(3,\) for \(24,\)"),
    ):
        state = dict(theirs.state_dict())
        change(state)
        with pytest.raises(UnseenError, match=match):
            load_weights(spec.build(form), written(theirs, tmp_path / "in", state))
    with pytest.raises(UnseenError, match="no I-JEPA"):
        ijepa.to_peer(tiny(positions=Learned(grid=GRID)).build(shapes()), GRID)


def same(model, reference):
    state = model.state_dict()
    return state.keys() == reference.keys() and all(torch.equal(v, reference[name]) for name, v in state.items())
