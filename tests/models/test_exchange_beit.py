"""BEiT against transformers on random weights: features, loss and gradients in float32, and files both ways."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.models import InPlace, Learned, Relative
from unseen.models.in_place import InPlaceViT
from unseen.models.layouts import beit, load_weights
from unseen.packing import pack
from unseen.units import Patches

from .conftest import randomise

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

GRID = (5, 5)


def config(**changes):
    settings = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "layer_norm_eps": 1e-6,
        "image_size": 20,
        "patch_size": 4,
        "vocab_size": 11,
        "drop_path_rate": 0.0,
        "use_mask_token": True,
        "use_shared_relative_position_bias": True,
    }
    return transformers.BeitConfig(**settings | changes)


def peer(**changes):
    return randomise(transformers.BeitForMaskedImageModeling(config(**changes))).eval()


def written(model, folder, state=None):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in (state or model.state_dict()).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    return folder


def built(model):
    encoder, shapes = beit.describe(model.config.to_dict())
    return InPlace(encoder=encoder).build(shapes)


def ours(model, folder):
    read = built(model)
    load_weights(read, written(model, folder), part="all")
    return read


def cut(image):
    return Patches(size=(4, 4)).cut(Clip(image=image))


def example(channels=3, size=(20, 20)):
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(2, channels, *size, generator=generator)
    hidden = torch.rand(2, size[0] // 4 * (size[1] // 4), generator=generator) < 0.4
    return image, hidden, torch.randint(0, 11, (int(hidden.sum()),), generator=generator)


VARIANTS = {
    "shared": {},
    "own": {"use_shared_relative_position_bias": False, "use_relative_position_bias": True},
    "absolute": {"use_shared_relative_position_bias": False, "use_absolute_position_embeddings": True},
    "five channels, other eps": {"num_channels": 5, "layer_norm_eps": 1e-3},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_loss_prediction_and_gradients_agree(tmp_path, changes):
    theirs = peer(**changes)
    model = ours(theirs, tmp_path)
    image, hidden, ids = example(theirs.config.num_channels)
    answer = theirs(image, bool_masked_pos=hidden, labels=ids)
    answer.loss.backward()

    values, units = cut(image)
    prediction = model(pack(values, ~hidden), ~hidden, hidden, {"centre": units.centre})
    live = torch.arange(prediction.shape[1]) < hidden.sum(1, keepdim=True)
    loss = F.cross_entropy(prediction[live], ids)
    loss.backward()

    assert (prediction[live] - answer.logits[hidden]).abs().max() < 1e-5
    assert abs(float(loss.detach() - answer.loss.detach())) < 1e-5
    expected, _ = beit.read({name: p.grad for name, p in theirs.named_parameters()})
    scale = max(1.0, max(float(g.abs().max()) for g in expected.values()))
    for name, parameter in model.named_parameters():
        hub = name.removeprefix("encoder.").replace("heads.pixels", "lm_head")
        assert (parameter.grad - expected.pop(hub)).abs().max() / scale < 1e-5, name
    assert not expected


def test_base_has_as_many_parameters_as_published():
    encoder, shapes = beit.describe(transformers.BeitConfig(use_shared_relative_position_bias=True).to_dict())
    with torch.device("meta"):
        model = InPlaceViT(InPlace(encoder=encoder), encoder, shapes)
    zeros = 12 * 768  # our keys have a bias
    assert sum(p.numel() for p in model.parameters()) == 91_965_776 + zeros


def test_a_window_that_is_not_square_agrees_with_a_corrected_peer(tmp_path, monkeypatch):
    """transformers reshapes its table to (columns, rows); with that put right the features are the same."""
    theirs = peer(image_size=[12, 20])

    def right(self, window_size, interpolate_pos_encoding=False, dim_size=None):
        index = self.generate_relative_position_index(window_size)
        return self.relative_position_bias_table[index].permute(2, 0, 1)[None]

    image, _, _ = example(size=(12, 20))
    wrong = theirs.beit(image).last_hidden_state
    monkeypatch.setattr(type(theirs.beit.shared_position_bias), "forward", right)
    expected = theirs.layernorm(theirs.beit(image).last_hidden_state)
    values, units = cut(image)
    model = ours(theirs, tmp_path)
    features = model.encoder(values, units.centre.expand(2, -1, -1))
    assert (features - expected).abs().max() < 1e-5
    assert (theirs.layernorm(wrong) - expected).abs().max() > 1e-3
    with pytest.raises(UnseenError, match="square"):
        beit.to_peer(model, (3, 5))


def old_names(state):
    """As version 4 named them."""
    for new, old in (
        ("shared_position_bias", "encoder.relative_position_bias"),
        ("beit.layers", "beit.encoder.layer"),
        ("q_proj", "attention.query"),
        ("k_proj", "attention.key"),
        ("v_proj", "attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):
        state = {name.replace(new, old): value for name, value in state.items()}
    return state


def test_version_4_spells_the_same_weights_otherwise(tmp_path):
    theirs = peer()
    reference = ours(theirs, tmp_path / "five").state_dict()
    state = old_names(theirs.state_dict())
    assert "beit.encoder.layer.1.attention.attention.query.bias" in state
    state["beit.encoder.relative_position_bias.relative_position_index"] = torch.zeros(26, 26)
    model = built(theirs)
    matched = load_weights(model, written(theirs, tmp_path / "four", state), part="all")
    assert matched.ignored == ("beit.encoder.relative_position_bias.relative_position_index",)
    assert same(model, reference)


@pytest.mark.parametrize("changes", list(VARIANTS.values())[:3], ids=list(VARIANTS)[:3])
def test_the_official_names_there_and_back(tmp_path, changes):
    theirs = peer(**changes)
    model = ours(theirs, tmp_path)
    state = beit.to_unilm(model, GRID)
    assert state["blocks.0.attn.q_bias"].shape == (24,) and "blocks.0.attn.qkv.bias" not in state
    assert ("rel_pos_bias.relative_position_bias_table" in state) == (changes == {})
    layer, block = theirs.beit.layers[1], {n[9:]: v for n, v in state.items() if n.startswith("blocks.1.")}
    attention = layer.attention
    assert torch.equal(block["gamma_1"], layer.lambda_1) and torch.equal(block["gamma_2"], layer.lambda_2)
    assert torch.equal(block["attn.q_bias"], attention.q_proj.bias)
    assert torch.equal(block["attn.v_bias"], attention.v_proj.bias)
    rows = [part.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert torch.equal(block["attn.qkv.weight"], torch.cat(rows))
    state |= {"blocks.0.attn.relative_position_index": torch.zeros(26, 26)}
    torch.save({"module": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "beit.pth")
    read = built(theirs)
    (tmp_path / "config.json").unlink()
    assert load_weights(read, tmp_path / "beit.pth", part="all").layout == "official BEiT"
    assert same(read, model.state_dict())


@pytest.mark.parametrize("changes", list(VARIANTS.values())[:3], ids=list(VARIANTS)[:3])
def test_transformers_reads_what_we_write(tmp_path, changes):
    theirs = peer(**changes)
    model = ours(theirs, tmp_path / "in")
    image, hidden, _ = example()
    for architecture, part in (("BeitForMaskedImageModeling", model), ("BeitModel", model.encoder)):
        state, card = beit.to_peer(part, GRID)
        folder = tmp_path / architecture
        folder.mkdir()
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(card))
        assert card["architectures"] == [architecture]
        read, report = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        read.eval()
        if architecture == "BeitModel":
            expected = theirs.layernorm(theirs.beit(image).last_hidden_state)
            assert (read(image).last_hidden_state - expected).abs().max() < 1e-5
        else:
            expected = theirs(image, bool_masked_pos=hidden).logits
            assert (read(image, bool_masked_pos=hidden).logits - expected).abs().max() < 1e-5


def test_what_save_pretrained_writes_is_read(tmp_path):
    theirs = peer(use_shared_relative_position_bias=False, use_relative_position_bias=True)
    reference = ours(theirs, tmp_path / "own").state_dict()
    theirs.save_pretrained(tmp_path / "saved")
    read = built(theirs)
    assert not load_weights(read, tmp_path / "saved", part="all").ignored
    assert same(read, reference)


def test_another_window_and_a_table_for_each_block(tmp_path):
    theirs = peer()
    folder = written(theirs, tmp_path / "in")
    encoder, shapes = beit.describe(theirs.config.to_dict())
    other = InPlace(encoder=replace(encoder, relative=Relative(grid=(4, 7), shared=False))).build(shapes)
    load_weights(other, folder)
    table = other.encoder.relative.table
    assert table.shape == (2, 7 * 13 + 3, 3) and torch.equal(table[0], table[1])
    assert torch.equal(table[0, -3:], load_file(folder / "model.safetensors")[TABLE][-3:])


TABLE = "beit.shared_position_bias.relative_position_bias_table"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("beit.layers.1.lambda_2"), r"missing.*blocks.1.ls2.gamma"),
        (lambda s: s.pop("beit.layers.1.attention.v_proj.bias"), r"missing.*blocks.1.attn.value.bias"),
        (lambda s: s.update(extra=torch.zeros(2)), "keys that are not of.*extra"),
        (lambda s: s.update({"beit.layers.0.lambda_1": torch.zeros(23)}), r"ls1.gamma \(23,\) for \(24,\)"),
        (lambda s: s.update({"beit.layernorm.weight": torch.zeros(24)}), "twice.*layernorm.weight"),
        (lambda s: s.update({"beit.pooler.layernorm.weight": torch.zeros(24)}), "after pooling"),
        (lambda s: s.update({TABLE: torch.zeros(83, 3)}), "80 displacements"),
        (lambda s: s.pop(TABLE), "missing.*relative.table"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, change, match):
    theirs = peer()
    state = dict(theirs.state_dict())
    change(state)
    read, untouched = built(theirs), built(theirs)
    with pytest.raises(UnseenError, match=match):
        load_weights(read, written(theirs, tmp_path / "in", state), part="all")
    assert same(read, untouched.state_dict())


def test_another_model_is_refused(tmp_path):
    theirs = peer()
    folder = written(theirs, tmp_path / "in")
    encoder, shapes = beit.describe(theirs.config.to_dict())
    for changes, match in (
        ({"positions": Learned(grid=GRID)}, "no positions that are added"),
        ({"relative": None}, "unexpected.*relative.table"),
        ({"layer_scale": None}, "unexpected.*ls1.gamma"),
        ({"norm_eps": 1e-5}, "norm_eps=1e-06"),
        ({"heads": 2}, "heads=3"),
    ):
        with pytest.raises(UnseenError, match=match):
            load_weights(replace(encoder, **changes).build(shapes), folder)


def same(model, reference):
    state = model.state_dict()
    return state.keys() == reference.keys() and all(torch.equal(v, reference[name]) for name, v in state.items())
