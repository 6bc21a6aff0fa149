"""The encoder in the hands of a user: saved, loaded, exported, always with the same answer."""

import json

import pytest
import torch
from safetensors.torch import load_file

from unseen.contract import Clip, Output, Shapes
from unseen.data.passages import Passages
from unseen.data.views import Frames
from unseen.errors import UnseenError
from unseen.models import InPlace, Learned, MaskedAutoencoder, Relative, SelfAttention, TokenStem, ViT, WhitenedStem
from unseen.models.layouts import load_weights, to_timm
from unseen.systems import encode
from unseen.systems.encode import FrozenEncoder, load_encoder, save_encoder
from unseen.systems.export import export
from unseen.units import Fixed, Patches, PerFrame, Tokens

from .conftest import SmallNet, close, randomise

VIEW, UNIT, TRUST = Frames(frame_px=(16, 36)), Patches(size=(8, 6)), (SmallNet.__module__,)
SHAPES = Shapes((8, 6, 3), (8.0, 6.0), (2, 6), {"pixels": Output((8, 6, 3))})


def image(batch=2, height=16, width=36, channels=3, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, torch.iinfo(dtype).max, (batch, channels, height, width), generator=generator).to(dtype)


def vit(**changes):
    encoder = ViT(**{"width": 24, "depth": 2, "heads": 3} | changes)
    return MaskedAutoencoder(encoder=encoder, predictor=SelfAttention(width=16, depth=1, heads=2))


def saved(folder, spec=None, normalise=None):
    model = randomise((spec or vit()).build(SHAPES))
    save_encoder(folder, model, UNIT, normalise or Fixed(), VIEW, lineage={"logs": ["a"]})
    return model


SPECS = {
    "vit": vit(),
    "whitened": vit(stem=WhitenedStem(hidden=9), class_token=False),
    "in place": InPlace(encoder=ViT(width=24, depth=1, heads=2, positions=Learned(grid=(2, 6)))),
    "backbone": InPlace(backbone=SmallNet(stride=(4, 3))),
}


@pytest.mark.parametrize("name", SPECS)
def test_what_is_loaded_is_what_was_saved(tmp_path, name):
    model = saved(tmp_path, SPECS[name], PerFrame())
    frozen = FrozenEncoder(model.encoder, UNIT, PerFrame(), VIEW)
    loaded = load_encoder(tmp_path, trust=TRUST)
    ours, theirs = frozen(image()), loaded(image())
    assert torch.equal(ours.units, theirs.units)
    assert torch.equal(ours.pooled, ours.units.mean(dim=1))
    assert ours.grid == ((4, 12) if name == "backbone" else (2, 6))
    assert ours.units.shape[:2] == (2, ours.grid[0] * ours.grid[1])
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_any_size_that_the_patch_divides(tmp_path):
    saved(tmp_path)
    frozen = load_encoder(tmp_path)
    assert frozen(image(1, 24, 30)).grid == (3, 5)
    with pytest.raises(UnseenError, match="divide"):
        frozen(image(1, 25, 30))


def test_positions_span_the_nominal_frame(tmp_path):
    saved(tmp_path)
    frozen, seen = load_encoder(tmp_path), []
    frozen.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    frozen(image(1, 32, 72))
    assert seen[0][0, 0].tolist() == [2.0, 1.5]
    assert seen[0][0, -1].tolist() == [14.0, 34.5]


@pytest.mark.parametrize("at_once", [2, 64])
def test_samples_of_several_rows_are_pooled_over_all_of_them(monkeypatch, at_once):
    monkeypatch.setattr(encode, "ROWS", at_once)
    spec = InPlace(encoder=ViT(width=24, depth=2, heads=3, class_token=False, stem=TokenStem(vocabulary=30)))
    model = randomise(spec.build(Shapes((), (1.0,), None, {"tokens": Output((30,))})))
    frozen = FrozenEncoder(model.encoder, Tokens(), None, Passages(length=8))
    token = torch.randint(0, 30, (5, 8), generator=torch.Generator().manual_seed(1))
    token[1, 3:], token[4, 6:] = -1, -1
    rows = frozen.read(Clip(token=token))
    joined = frozen.read(Clip(token=token, part_of=torch.tensor([0, 0, 1, 2, 2])))
    assert torch.allclose(joined.pooled[0], (8 * rows.pooled[0] + 3 * rows.pooled[1]) / 11, atol=1e-5)
    assert torch.allclose(joined.pooled[1], rows.pooled[2], atol=1e-5)
    assert torch.allclose(joined.pooled[2], (8 * rows.pooled[3] + 6 * rows.pooled[4]) / 14, atol=1e-5)
    assert torch.allclose(joined.units, rows.units[[0, 2, 3]], atol=1e-5) and joined.grid is None


def test_it_is_frozen_and_its_own(tmp_path):
    model = saved(tmp_path)
    frozen = FrozenEncoder(model.encoder, UNIT, Fixed(), VIEW)
    before = frozen(image()).pooled
    randomise(model, seed=1)
    assert torch.equal(frozen.train()(image()).pooled, before)
    assert not frozen.training and not before.requires_grad
    assert all(p.requires_grad for p in model.parameters())
    assert close(frozen(image())[0][:1], frozen(image()[:1])[0])


def test_sixteen_bit_images_are_scaled_by_their_own_range(tmp_path):
    saved(tmp_path)
    frozen = load_encoder(tmp_path)
    deep = (image().int() * 257).to(torch.uint16)
    assert close(frozen(deep).pooled, frozen(image()).pooled, atol=1e-4)


def test_units_that_grow_with_the_picture_are_refused_in_words(tmp_path):
    encoder = saved(tmp_path).encoder
    with pytest.raises(UnseenError, match=r"units of .9, 6, 3. numbers.*one shape"):
        encoder(torch.zeros(1, 4, 9, 6, 3), torch.zeros(1, 4, 2))


def test_layers_stand_side_by_side(tmp_path):
    saved(tmp_path)
    both, last = load_encoder(tmp_path, layers=(0, 1))(image()), load_encoder(tmp_path)(image())
    assert both.units.shape[2] == 48
    assert torch.equal(both.units[..., 24:], last.units)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: image(channels=1), "expand"),
        (lambda: image(channels=5), "trained on 3"),
        (lambda: image().float(), "raw uint8"),
        (lambda: image(height=0), "no pixel"),
        (lambda: image(width=0), "no pixel"),
    ],
)
def test_wrong_images_are_refused_with_the_remedy(tmp_path, wrong, match):
    saved(tmp_path)
    with pytest.raises(UnseenError, match=match):
        load_encoder(tmp_path)(wrong())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: image()[0], r"image\[None\]"),
        (lambda: image()[None], r"a batch \[B, C, H, W\]"),
        (lambda: image().numpy(), r"numpy\.ndarray.*from_numpy"),
        (lambda: "photo.jpg", "a torch.Tensor"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_remedy(tmp_path, wrong, match):
    saved(tmp_path)
    with pytest.raises(UnseenError, match=match):
        load_encoder(tmp_path).view.present(wrong())  # forward's own annotation is enforced in tests


def test_a_run_starts_from_a_saved_encoder_of_the_same_kind_only(tmp_path):
    trained = saved(tmp_path)
    model = vit().build(SHAPES)
    assert load_weights(model, tmp_path).layout == "unseen"
    assert all(torch.equal(v, trained.encoder.state_dict()[n]) for n, v in model.encoder.state_dict().items())
    with pytest.raises(UnseenError, match="heads=3"):
        load_weights(vit(heads=2).build(SHAPES), tmp_path)


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(UnseenError, match="no encoder"):
        load_encoder(tmp_path)
    saved(tmp_path, SPECS["backbone"])
    with pytest.raises(UnseenError, match="trust"):
        load_encoder(tmp_path)
    saved(tmp_path)
    card = json.loads((tmp_path / "encoder.json").read_text())
    assert card["lineage"] == {"logs": ["a"]}
    card["encoder"]["fields"]["depth"] = 3
    (tmp_path / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(UnseenError, match=r"blocks\.2"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps(card | {"version": 99}))
    with pytest.raises(UnseenError, match="version"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(UnseenError, match="damaged"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("stem", [None, WhitenedStem()])
def test_transformers_gives_the_same_features(tmp_path, stem):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    square = Patches(size=(6, 6))
    shapes = Shapes((6, 6, 3), (6.0, 6.0), (2, 5), {})
    encoder = vit(**({"stem": stem} if stem else {})).encoder
    model = randomise(MaskedAutoencoder(encoder=encoder).build(shapes._replace(outputs={"x": Output((2,))})))
    save_encoder(tmp_path, model, square, Fixed(), Frames(frame_px=(12, 30)))
    told = export(tmp_path, to="transformers", out=tmp_path / "out")
    frozen, raw = load_encoder(tmp_path), image(2, 12, 30)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (Fixed().mean, Fixed().std))
    theirs, report = transformers.ViTModel.from_pretrained(
        tmp_path / "out", add_pooling_layer=False, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and told["grid"] == [2, 5]
    tokens = theirs.eval()((raw / 255 - mean) / std).last_hidden_state.detach()
    assert close(tokens[:, 1:], frozen(raw).units, atol=1e-5)
    mae = transformers.ViTMAEModel.from_pretrained(tmp_path / "out", mask_ratio=0.0)
    tokens = mae((raw / 255 - mean) / std, noise=torch.arange(10.0).expand(2, -1)).last_hidden_state.detach()
    assert close(tokens[:, 1:], frozen(raw).units, atol=1e-5)


PEERS = {
    "BeitModel": {"positions": None, "relative": Relative(grid=(5, 5)), "layer_scale": 0.1},
    "IJepaModel": {"class_token": False},
}


@pytest.mark.parametrize("name", PEERS)
def test_transformers_has_a_model_for_each_kind(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    shapes = Shapes((6, 6, 3), (6.0, 6.0), (5, 5), {"x": Output((2,))})
    save_encoder(
        tmp_path, randomise(vit(**PEERS[name]).build(shapes)), Patches(size=(6, 6)), Fixed(), Frames(frame_px=(30, 30))
    )
    assert export(tmp_path, to="transformers", out=tmp_path / "out")["model"] == name
    frozen, raw = load_encoder(tmp_path), image(2, 30, 30)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (Fixed().mean, Fixed().std))
    theirs, report = getattr(transformers, name).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokens = theirs.eval()((raw / 255 - mean) / std).last_hidden_state.detach()
    assert close(tokens[:, -25:], frozen(raw).units, atol=1e-5)
    if name == "BeitModel":
        with pytest.raises(UnseenError, match="no ViT of timm"):
            export(tmp_path, to="timm", out=tmp_path / "timm")


def test_timm_gets_the_table_of_the_frame(tmp_path):
    model = saved(tmp_path)
    export(tmp_path, to="timm", out=tmp_path / "out")
    state, card = load_file(tmp_path / "out/model.safetensors"), json.loads((tmp_path / "out/config.json").read_text())
    expected = to_timm(model.encoder, (2, 6))
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    assert card["model_args"]["img_size"] == [16, 36] and card["model_args"]["patch_size"] == [8, 6]
    assert card["pretrained_cfg"]["mean"] == list(Fixed().mean)


def test_timm_loads_the_folder_by_itself(tmp_path):
    """Where timm is there: it demands torchvision, so the suite does not demand timm."""
    timm = pytest.importorskip("timm")
    saved(tmp_path)
    export(tmp_path, to="timm", out=tmp_path / "out")
    theirs, frozen, raw = (
        timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval(),
        load_encoder(tmp_path),
        image(),
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (Fixed().mean, Fixed().std))
    with torch.no_grad():
        tokens = theirs.forward_features((raw / 255 - mean) / std)
    assert close(tokens[:, -12:], frozen(raw).units, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "backbone"])
def test_onnx_runtime_gives_the_same_features(tmp_path, name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    saved(tmp_path, SPECS[name], PerFrame())
    told = export(tmp_path, to="onnx", out=tmp_path / "out", trust=TRUST)
    assert told["max_difference"] < 1e-4 * told["largest_feature"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["encoder.onnx", "unseen.json"]


def test_an_export_is_whole_or_absent(tmp_path):
    saved(tmp_path, SPECS["whitened"])
    with pytest.raises(UnseenError, match="hidden layer"):
        export(tmp_path, to="timm", out=tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(UnseenError, match="not empty"):
        export(tmp_path, to="onnx", out=tmp_path / "out")
