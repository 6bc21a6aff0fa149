"""VideoMAE against transformers on random weights: features, loss and gradients in float32, and files both ways.

The peer is built without mean pooling (with it the encoder's norm is left out) and with the eps 1e-5 that its decoder
has fixed.
"""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from unseen.errors import UnseenError
from unseen.models import MaskedAutoencoder, Sequence1D, SinCos
from unseen.models.layouts import load_weights, video_mae
from unseen.models.masked_autoencoder import MaskedAutoencoderModel
from unseen.packing import pack

from .conftest import randomise

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

FRAMES, PATCH, GRID = 2, 4, (3, 2, 5)  # of a tube; time slots, rows and columns


def peer(channels=3, norm_pix=True, **changes):
    settings = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "layer_norm_eps": 1e-5,
        "image_size": [GRID[1] * PATCH, GRID[2] * PATCH],
        "patch_size": PATCH,
        "num_channels": channels,
        "num_frames": GRID[0] * FRAMES,
        "tubelet_size": FRAMES,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 20,
        "norm_pix_loss": norm_pix,
        "use_mean_pooling": False,
    }
    config = transformers.VideoMAEConfig(**settings | changes)
    return randomise(transformers.VideoMAEForPreTraining(config)).eval()


def written(model, folder, state=None):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in (state or model.state_dict()).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    return folder


def built(model):
    spec, shapes, _ = video_mae.describe(model.config.to_dict())
    return spec.build(shapes)


def ours(model, folder):
    read = built(model)
    load_weights(read, written(model, folder), part="all")
    return read


def tubes(video):
    """Units [B, N, frames, rows, columns, channels] of a video [B, T, C, H, W], and their centres."""
    slots, rows, columns = GRID
    batch, channels = video.shape[0], video.shape[2]
    cells = video.view(batch, slots, FRAMES, channels, rows, PATCH, columns, PATCH).permute(0, 1, 4, 6, 2, 5, 7, 3)
    index = torch.cartesian_prod(*(torch.arange(side) + 0.5 for side in GRID))
    return cells.flatten(1, 3), index[None] * torch.tensor([FRAMES, PATCH, PATCH])


def example(channels=3):
    generator = torch.Generator().manual_seed(3)
    video = torch.randn(2, GRID[0] * FRAMES, channels, GRID[1] * PATCH, GRID[2] * PATCH, generator=generator)
    hidden = torch.rand(2, 30, generator=generator).argsort(dim=1) < 21
    return video, hidden


def target_of(video, norm_pix):
    """VideoMAE's: pixels in [0, 1], each channel of a tube normalised on its own, eps outside the root."""
    if video.shape[2] == 3:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        video = video * std + mean
    values = tubes(video)[0].flatten(2, 4)
    if norm_pix:
        values = (values - values.mean(2, keepdim=True)) / (values.std(2, keepdim=True) + 1e-6)
    return values.flatten(2)


@pytest.mark.parametrize(("channels", "norm_pix"), [(3, True), (3, False), (1, True), (5, True)])
def test_loss_prediction_and_gradients_agree(tmp_path, channels, norm_pix):
    theirs = peer(channels, norm_pix)
    model = ours(theirs, tmp_path)
    video, hidden = example(channels)
    answer = theirs(video, bool_masked_pos=hidden)
    answer.loss.backward()

    values, centre = tubes(video)
    prediction = model(pack(values, ~hidden), ~hidden, hidden, {"centre": centre}).flatten(2)
    loss = (prediction - pack(target_of(video, norm_pix), hidden)).square().mean()
    loss.backward()

    assert (prediction - answer.logits).abs().max() < 1e-5
    assert abs(float(loss.detach() - answer.loss.detach())) < 1e-5
    expected, _ = video_mae.read({name: p.grad for name, p in theirs.named_parameters()})
    scale = max(1.0, max(float(g.abs().max()) for g in expected.values()))
    names = {"predictor.embed": "decoder_embed", "predictor.blocks": "decoder_blocks", "predictor.norm": "decoder_norm"}
    for name, parameter in model.named_parameters():
        hub = name.removeprefix("encoder.").replace("heads.pixels", "decoder_pred")
        for here, there in (names | {"predictor.mask_token": "mask_token"}).items():
            hub = hub.replace(here, there)
        assert (parameter.grad - expected.pop(hub)).abs().max() / scale < 1e-5, name
    assert not expected


def test_base_has_as_many_parameters_as_published():
    spec, shapes, norm_pix = video_mae.describe(transformers.VideoMAEConfig().to_dict())
    with torch.device("meta"):
        model = MaskedAutoencoderModel(spec, shapes)
    zeros = 12 * 768 + 4 * 384  # our keys have a bias
    assert sum(p.numel() for p in model.parameters()) == 94_210_944 + zeros
    assert norm_pix and shapes.grid == (8, 14, 14)


def old_names(state):
    """As version 4 named them."""
    names = (("attention.attention.query.bias", "attention.attention.q_bias"), ("value.bias", "v_bias"))
    for new, old in names:
        state = {name.replace(new, old): value for name, value in state.items()}
    return state


def test_version_4_spells_the_same_weights_otherwise(tmp_path):
    theirs = peer()
    reference = ours(theirs, tmp_path / "five").state_dict()
    state = old_names(theirs.state_dict())
    assert "decoder.decoder_layers.1.attention.attention.v_bias" in state
    read = built(theirs)
    assert load_weights(read, written(theirs, tmp_path / "four", state), part="all").layout == "transformers VideoMAE"
    assert same(read, reference)


def test_transformers_reads_what_we_write(tmp_path):
    theirs = peer()
    model = ours(theirs, tmp_path / "in")
    video, hidden = example()
    for architecture, part in (("VideoMAEForPreTraining", model), ("VideoMAEModel", model.encoder)):
        state, card = video_mae.to_peer(part)
        folder = tmp_path / architecture
        folder.mkdir()
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(card))
        assert card["architectures"] == [architecture]
        read, report = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        if part is model:
            expected = theirs(video, bool_masked_pos=hidden).logits
            assert (read.eval()(video, bool_masked_pos=hidden).logits - expected).abs().max() < 1e-5
        else:
            features = model.encoder(tubes(video)[0], tubes(video)[1].expand(2, -1, -1))
            assert (read.eval()(video).last_hidden_state - features).abs().max() < 1e-5


def test_the_official_names_there_and_back(tmp_path):
    theirs = peer()
    model = ours(theirs, tmp_path)
    (tmp_path / "config.json").unlink()
    state = video_mae.to_official(model)
    for network, layer in (
        ("encoder", theirs.videomae.encoder.layer[1]),
        ("decoder", theirs.decoder.decoder_layers[1]),
    ):
        block, attention = f"{network}.blocks.1.", layer.attention.attention
        assert torch.equal(state[f"{block}attn.q_bias"], attention.query.bias)
        assert torch.equal(state[f"{block}attn.v_bias"], attention.value.bias)
        assert torch.equal(state[f"{block}attn.qkv.weight"].chunk(3)[1], attention.key.weight)
        assert torch.equal(state[f"{block}norm2.weight"], layer.layernorm_after.weight)
    assert state["encoder.blocks.1.attn.q_bias"].shape == (24,) and "encoder_to_decoder.bias" not in state
    torch.save({"model": state, "epoch": 3}, tmp_path / "whole.pth")
    read = built(peer())
    assert load_weights(read, tmp_path / "whole.pth", part="all").layout == "official VideoMAE"
    assert same(read, model.state_dict())
    alone = built(peer())
    matched = load_weights(alone, tmp_path / "whole.pth")
    assert same(alone.encoder, model.encoder.state_dict()) and not same(alone.predictor, model.predictor.state_dict())
    assert "decoder_embed.weight" in matched.ignored
    torch.save({"module": video_mae.to_official(model.encoder)}, tmp_path / "encoder.pth")
    alone = built(peer()).encoder
    load_weights(alone, tmp_path / "encoder.pth")
    assert same(alone, model.encoder.state_dict())


def test_what_save_pretrained_writes_is_read(tmp_path):
    theirs = peer()
    reference = ours(theirs, tmp_path / "own").state_dict()
    theirs.save_pretrained(tmp_path / "saved")
    read = built(theirs)
    assert not load_weights(read, tmp_path / "saved", part="all").ignored
    assert same(read, reference)


def test_an_encoder_without_its_norm_is_refused(tmp_path):
    theirs = peer(use_mean_pooling=True)
    with pytest.raises(UnseenError, match=r"missing \['norm.weight', 'norm.bias'\]"):
        load_weights(built(theirs).encoder, written(theirs, tmp_path))
    state = dict(theirs.state_dict()) | {"fc_norm.weight": torch.ones(24)}
    with pytest.raises(UnseenError, match="after pooling"):
        load_weights(built(theirs).encoder, written(theirs, tmp_path, state))


def test_other_positions_are_refused(tmp_path):
    theirs = peer()
    folder = written(theirs, tmp_path)
    spec, shapes, _ = video_mae.describe(theirs.config.to_dict())
    wrong = Sequence1D(grid=(3, 5, 2))
    for positions in (SinCos(), None, wrong):
        with pytest.raises(UnseenError, match=r"positions of the encoder.*\(3, 2, 5\)"):
            load_weights(replace(spec.encoder, positions=positions).build(shapes), folder)
    other = MaskedAutoencoder(encoder=spec.encoder, predictor=replace(spec.predictor, positions=wrong)).build(shapes)
    with pytest.raises(UnseenError, match="positions of the predictor"):
        load_weights(other, folder, part="all")
    heads = MaskedAutoencoder(encoder=spec.encoder, predictor=replace(spec.predictor, heads=4)).build(shapes)
    with pytest.raises(UnseenError, match="SelfAttention has heads=4"):
        load_weights(heads, folder, part="all")
    with pytest.raises(UnseenError, match="no VideoMAE"):
        video_mae.to_peer(replace(spec.encoder, positions=SinCos()).build(shapes))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("encoder_to_decoder.weight"), "missing.*predictor.embed.weight"),
        (lambda s: s.pop("videomae.encoder.layer.0.attention.attention.key.weight"), "missing.*attn.key.weight"),
        (lambda s: s.update(extra=torch.zeros(2)), "keys that are not of.*extra"),
        (lambda s: s.update({"decoder.head.bias": torch.zeros(95)}), r"heads.pixels.bias \(95,\) for \(96,\)"),
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


def same(model, reference):
    state = model.state_dict()
    return state.keys() == reference.keys() and all(torch.equal(v, reference[name]) for name, v in state.items())
