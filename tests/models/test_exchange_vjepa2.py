"""V-JEPA 2 against transformers on random weights: encoder, predictor, gradients, and files of both layouts."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models import InPlace, MaskedAutoencoder, RotarySelfAttention, RotaryViT, ViT
from unseen.models.layouts import load_weights, vjepa2
from unseen.models.rotary import rotate, turns

from .conftest import randomise

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

GRID = (3, 4, 4)


def config():
    return transformers.VJEPA2Config(
        patch_size=4,
        crop_size=16,
        frames_per_clip=6,
        tubelet_size=2,
        in_chans=3,
        hidden_size=40,  # heads of 20: parts of 6, and 2 numbers that are not turned
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=3.0,
        pred_hidden_size=28,
        pred_num_hidden_layers=3,
        pred_num_attention_heads=2,
        pred_num_mask_tokens=4,
        pred_mlp_ratio=2.0,
        num_pooler_layers=1,
    )


def peer():
    return randomise(transformers.VJEPA2Model(config()).eval())


def build():
    spec, shapes = vjepa2.describe(config().to_dict())
    return spec.build(shapes)


def ours(theirs, folder):
    folder.mkdir(exist_ok=True)
    theirs.save_pretrained(folder)
    model = build()
    matched = load_weights(model, folder, part="all")
    assert matched.ignored == ("mask token 0", "mask token 2", "mask token 3")
    return model


def video(seed: int = 1):
    return torch.randn(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def cut(clip):
    """Tubes [B, N, t, row, column, channel] of [B, T, C, H, W]."""
    (slots, rows, columns), batch = GRID, len(clip)
    tubes = clip.view(batch, slots, 2, 3, rows, 4, columns, 4).permute(0, 1, 4, 6, 2, 5, 7, 3)
    return tubes.reshape(batch, slots * rows * columns, 2, 4, 4, 3)


def centre(first: float = 1.0):
    """(t, y, x) in frames and px; `first` is where the middle of the first slot is said to be."""
    index = torch.cartesian_prod(*(torch.arange(float(side)) for side in GRID))
    return (index * torch.tensor([2.0, 4.0, 4.0]) + torch.tensor([first, 2.0, 2.0]))[None]


@pytest.mark.parametrize("first", [1.0, 0.5])  # the middle of the slot, or the mean of the times of its frames
def test_features_agree(tmp_path, first):
    theirs = peer()
    model = ours(theirs, tmp_path)
    wanted = theirs(video(), skip_predictor=True).last_hidden_state
    assert (model.encoder(cut(video()), centre(first)) - wanted).abs().max() < 1e-5
    right = replace(model.spec.encoder, pairing="neighbours").build(model.shapes)
    right.load_state_dict(model.encoder.state_dict())
    assert (right(cut(video()), centre(first)) - wanted).abs().max() > 1e-2  # what the released form costs to ignore


def test_the_predictor_agrees(tmp_path):
    theirs = peer()
    model = ours(theirs, tmp_path)
    order = torch.rand(2, 48, generator=torch.Generator().manual_seed(2)).argsort(dim=1)
    context, target = order[:, :13].sort(dim=1)[0], order[:, 13:30].sort(dim=1)[0]
    answer = theirs(video(), context_mask=[context], target_mask=[target])
    features = model.encoder(cut(video()), centre())
    place = centre()[0]
    seen = features.gather(1, context[..., None].expand(-1, -1, 40))
    tokens = model.predictor(seen, place[context], None, place[target], None)
    prediction = model.heads("latent", tokens, None)
    assert (prediction - answer.predictor_output.last_hidden_state).abs().max() < 1e-5


def test_gradients_agree(tmp_path):
    theirs = peer()
    model = ours(theirs, tmp_path)
    weight = torch.randn(2, 48, 40, generator=torch.Generator().manual_seed(4))
    (theirs(video(), skip_predictor=True).last_hidden_state * weight).mean().backward()
    (model.encoder(cut(video()), centre()) * weight).mean().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    expected, _ = vjepa2.read_peer(gradients, model.spec.encoder)
    found = {f"encoder.{name}": p.grad for name, p in model.encoder.named_parameters()}
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    assert all((found[name] - wanted).abs().max() < 1e-5 * max(scale, 1) for name, wanted in expected.items())


def test_transformers_reads_what_we_write(tmp_path):
    theirs = peer()
    model, folder = ours(theirs, tmp_path / "theirs"), tmp_path / "written"
    folder.mkdir()
    state, card = vjepa2.to_peer(model, GRID)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(card))
    read, report = transformers.VJEPA2Model.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(read.predictor.embeddings.mask_tokens[0], theirs.predictor.embeddings.mask_tokens[1])
    with torch.no_grad():
        assert torch.allclose(read(video())[0], theirs(video())[0], atol=1e-6)
    bare, same = vjepa2.to_peer(model.encoder)
    assert same["crop_size"] == 16 and same["frames_per_clip"] == 6
    assert set(bare) == {name for name in state if name.startswith("encoder.")}


@pytest.mark.parametrize("branch", ["encoder", "target_encoder"])
def test_official_files_there_and_back(tmp_path, branch):
    model, average = ours(peer(), tmp_path / "peer"), randomise(build(), seed=5)
    content = {
        **vjepa2.to_official(model),
        "target_encoder": vjepa2.to_official(average.encoder)["encoder"],
        "opt": {"state": {}},
        "scaler": None,
        "epoch": 3,
    }
    assert "module.backbone.blocks.1.attn.qkv.weight" in content["encoder"]
    assert "module.backbone.predictor_blocks.2.mlp.fc1.bias" in content["predictor"]
    tokens = content["predictor"].pop("module.backbone.mask_tokens.0")
    content["predictor"] |= {"module.backbone.mask_tokens.1": tokens, "module.backbone.mask_tokens.0": 0 * tokens}
    torch.save(content, tmp_path / "vitl.pt")
    read = build()
    matched = load_weights(read, tmp_path / "vitl.pt", part="all", branch=branch)
    assert matched.layout == "official V-JEPA 2"
    assert any(name.startswith("target_encoder" if branch == "encoder" else "encoder.") for name in matched.ignored)
    wanted = (model if branch == "encoder" else average).encoder.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in read.encoder.state_dict().items())
    assert all(torch.equal(v, model.predictor.state_dict()[n]) for n, v in read.predictor.state_dict().items())


def test_an_encoder_stands_in_place_and_takes_the_file(tmp_path):
    theirs = peer()
    theirs.save_pretrained(tmp_path)
    spec, shapes = vjepa2.describe(config().to_dict())
    model = InPlace(encoder=spec.encoder).build(shapes)
    matched = load_weights(model, tmp_path)
    assert "predictor.norm.weight" in matched.ignored
    values, hidden = cut(video()), torch.arange(48).expand(2, -1) % 3 == 0
    seen = values[~hidden].view(2, -1, *values.shape[2:])
    assert model(seen, ~hidden, hidden, {"centre": centre()}).shape == (2, 16, 40)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("encoder.layer.1.mlp.fc2.bias"), "missing.*blocks.1.mlp.fc2.bias"),
        (lambda s: s.pop("predictor.proj.bias"), "missing.*heads.latent.bias"),
        (lambda s: s.pop("encoder.layer.0.attention.key.bias"), "missing.*key.bias"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra"),
        (lambda s: s.update({"encoder.layer.7.norm1.bias": torch.zeros(40)}), "unexpected.*blocks.7"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, change, match):
    state = {name: value.clone() for name, value in peer().state_dict().items()}
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    model, untouched = build(), build()
    with pytest.raises(UnseenError, match=match):
        load_weights(model, tmp_path, part="all")
    assert all(torch.equal(value, untouched.state_dict()[name]) for name, value in model.state_dict().items())


def test_another_form_or_other_settings_are_refused(tmp_path):
    peer().save_pretrained(tmp_path)
    spec, shapes = vjepa2.describe(config().to_dict())
    right = replace(spec, encoder=replace(spec.encoder, pairing="neighbours")).build(shapes)
    with pytest.raises(UnseenError, match="pairing='released'"):
        load_weights(right, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnseenError, match='pairing="released"'):
        load_weights(right, tmp_path)
    config().save_pretrained(tmp_path)
    with pytest.raises(UnseenError, match='pairing="released"'):
        vjepa2.to_peer(right, GRID)
    heads = replace(spec, encoder=replace(spec.encoder, heads=4)).build(shapes)
    with pytest.raises(UnseenError, match="heads=2"):
        load_weights(heads, tmp_path)
    with pytest.raises(UnseenError, match="no branch 'target_encoder'"):
        load_weights(build(), tmp_path, branch="target_encoder")
    with pytest.raises(UnseenError, match="class token"):
        MaskedAutoencoder(encoder=ViT(width=40, heads=2), predictor=RotarySelfAttention()).build(shapes)
    with pytest.raises(UnseenError, match="heads of width 4"):
        RotaryViT(width=40, heads=10).build(shapes)
    with pytest.raises(UnseenError, match="square"):
        vjepa2.config(build(), (3, 4, 5))


def scores(pairing, shift):
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(2, 1, 1, 5, 20, generator=generator)
    place = torch.randint(0, 9, (1, 5, 3), generator=generator).float() + shift
    cos, sin = turns(place, 20, 10_000.0, pairing)
    return rotate(query, cos, sin, pairing) @ rotate(key, cos, sin, pairing).transpose(-1, -2)


@pytest.mark.parametrize("pairing", ["halves", "neighbours"])
def test_rotary_scores_depend_on_distances_alone(pairing):
    assert torch.allclose(scores(pairing, 0.0), scores(pairing, torch.tensor([7.0, 2.5, 4.0])), atol=1e-4)


def test_those_of_the_released_form_do_not():
    assert not torch.allclose(scores("released", 0.0), scores("released", 7.0), atol=1e-2)


def test_rotary_values():
    """Head of 4, one coordinate, place 2: pair (0, 1) turns by 2, pair (2, 3) by 2 / sqrt(base)."""
    cos, sin = turns(torch.full((1, 1, 1), 2.0), 4, 10_000.0, "neighbours")
    turned = rotate(torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4), cos, sin, "neighbours")
    assert turned.flatten().tolist() == pytest.approx([-0.416147, 0.909297, -0.019999, 0.9998], abs=1e-5)


def test_rotary_encoders_read_images_too():
    shapes = Shapes((4, 6, 3), (4.0, 6.0), (2, 6), {})
    encoder = RotaryViT(width=24, depth=2, heads=3).build(shapes)
    values, place = torch.randn(2, 5, 4, 6, 3), torch.rand(2, 5, 2) * 20
    live = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    features = encoder(values, place, live)
    assert torch.allclose(encoder(values[1:, :3], place[1:, :3])[0], features[1, :3], atol=1e-5)
    assert torch.allclose(encoder(values, place + 9.5, live)[live], features[live], atol=1e-4)  # distances alone
