"""Every model: shapes, padding, batch mates, leaks, seeds, recomputation."""

import dataclasses

import pytest
import torch

from unseen.contract import Output
from unseen.errors import UnseenError
from unseen.models import CrossAttention, InPlace, MaskedAutoencoder, SelfAttention, ViT, initialise
from unseen.models.heads import Heads
from unseen.packing import pack

from .conftest import GRID, SPECS, UNIT, Batch, close, randomise, shapes, tiny

OUTPUTS = {"pixels": Output(UNIT), "depth": Output((2,)), "pixels.visible": Output(UNIT, "visible")}


def run(model, batch, target=None):
    target = batch.target if target is None else target
    return model(pack(batch.values, batch.visible), batch.visible, target, batch.metadata)


def test_a_lone_mask_gives_a_lone_packed_tensor(spec):
    batch = Batch()
    assert run(spec.build(shapes()), batch).shape == (3, 4, *UNIT)


def test_named_outputs_on_hidden_and_visible_units(spec):
    batch, model = Batch(), randomise(spec.build(shapes(**OUTPUTS)))
    fewer = batch.target & (torch.arange(12) % 2 == 0)
    fewer[:, 0], fewer[:, 1] = batch.target[:, 0], batch.target[:, 1]
    answer = run(model, batch, {"depth": fewer, "pixels": batch.target, "pixels.visible": batch.visible})
    assert list(answer) == ["depth", "pixels", "pixels.visible"]
    assert answer["depth"].shape == (3, int(fewer.sum(1).max()), 2)
    assert answer["pixels.visible"].shape == (3, 3, *UNIT)
    same = run(model, batch, {"depth": batch.target, "pixels": batch.target, "pixels.visible": batch.visible})
    assert torch.equal(answer["pixels"], same["pixels"])
    among = torch.zeros(3, 12, 2).masked_scatter(batch.target[..., None].expand(-1, -1, 2), same["depth"])
    assert torch.equal(answer["depth"], pack(among, fewer))


def test_hidden_content_never_arrives(spec):
    batch, model = Batch(ragged=True), randomise(spec.build(shapes()))
    before = run(model, batch)
    batch.values[~batch.visible] = torch.nan
    assert torch.equal(run(model, batch), before)


def test_padding_and_batch_mates_do_not_matter(spec):
    batch, model = Batch(ragged=True), randomise(spec.build(shapes())).eval()
    together = run(model, batch)
    for row in range(3):
        alone = run(model, batch.rows([row]))
        n_target = int(batch.target[row].sum())
        assert close(together[row, :n_target], alone[0]), row
        assert not together[row, n_target:].any()


def test_content_of_padding_does_not_matter(spec):
    batch, model = Batch(ragged=True), randomise(spec.build(shapes()))
    x = pack(batch.values, batch.visible)
    before = model(x, batch.visible, batch.target, batch.metadata)
    dead = torch.arange(x.shape[1]) >= batch.visible.sum(1, keepdim=True)
    x[dead] = 1e3
    assert torch.equal(model(x, batch.visible, batch.target, batch.metadata), before)


def test_units_that_do_not_exist_do_not_matter():
    batch, model = Batch(), randomise(InPlace(encoder=tiny()).build(shapes()))
    gone = ~batch.visible & ~batch.target
    batch.metadata["valid"] = ~gone
    before = run(model, batch)
    batch.metadata["centre"][gone] += 100
    assert torch.equal(run(model, batch), before)


def test_positions_matter(spec):
    if getattr(spec, "backbone", None) is not None:
        pytest.skip("a backbone reads images, not coordinates")
    batch, model = Batch(), randomise(spec.build(shapes()))
    before = run(model, batch)
    batch.metadata["centre"] = batch.metadata["centre"] * 0.7
    assert not close(run(model, batch), before)


def test_every_parameter_learns(spec):
    batch, model = Batch(), randomise(spec.build(shapes(**OUTPUTS)))
    answer = run(model, batch, {name: batch.visible if "." in name else batch.target for name in OUTPUTS})
    sum(value.square().sum() for value in answer.values()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_recomputed_activations_give_the_same_gradients(spec):
    batch, gradients = Batch(ragged=True), []
    for recompute in (False, True):
        model = randomise(spec.build(shapes()))
        for part in model.modules():
            if hasattr(part, "recompute"):
                part.recompute = recompute
        run(model, batch).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_autocast_stays_close_to_float32(spec):
    batch, model = Batch(ragged=True), initialise(spec.build(shapes()), 3)
    exact = run(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = run(model, batch)
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_weights_are_a_function_of_the_seed_alone(spec):
    state = torch.get_rng_state()
    first = {n: p.clone() for n, p in initialise(spec.build(shapes()), 5).named_parameters()}
    second = dict(initialise(randomise(spec.build(shapes())), 5).named_parameters())
    other = dict(initialise(spec.build(shapes()), 6).named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    drawn = [name for name, value in first.items() if value.std() > 0]
    assert drawn
    assert not [name for name in drawn if torch.equal(first[name], other[name])]


def test_one_weight_does_not_depend_on_the_rest():
    small = MaskedAutoencoder(encoder=tiny(), predictor=SelfAttention(width=16, depth=1, heads=2)).build(shapes())
    large = MaskedAutoencoder(encoder=tiny(depth=3), predictor=CrossAttention(width=8, depth=2, heads=2)).build(
        shapes()
    )
    assert torch.equal(small.encoder.blocks[1].mlp.fc1.weight, large.encoder.blocks[1].mlp.fc1.weight)


def test_initial_weights_follow_mae():
    predictor = SelfAttention(width=128, depth=1, heads=2)
    model = MaskedAutoencoder(encoder=ViT(width=96, depth=1, heads=3), predictor=predictor).build(shapes())
    model.requires_grad_(False)
    encoder, qkv = model.encoder, model.encoder.blocks[0].attn.qkv
    bound = (6 / (96 + 3 * 96)) ** 0.5
    assert 0.95 * bound < float(qkv.weight.abs().max()) <= bound
    assert not qkv.bias.any()
    flat = (6 / (96 + 4 * 6 * 3)) ** 0.5
    assert 0.95 * flat < float(encoder.patch_embed.proj.weight.abs().max()) <= flat
    assert (encoder.norm.weight == 1).all()
    assert 0.015 < float(encoder.cls_token.std()) < 0.025
    assert 0.015 < float(model.predictor.mask_token.std()) < 0.025


@pytest.mark.parametrize(
    ("size", "encoder", "decoder"),
    [("tiny", 5_486_592, 25_713_408), ("small", 21_590_016, 25_811_712), ("base", 85_647_360, 26_008_320)],
)
def test_published_parameter_counts(size, encoder, decoder):
    spec, patch = MaskedAutoencoder(encoder=getattr(ViT, size)()), (16, 16, 3)
    with torch.device("meta"):
        from unseen.models.masked_autoencoder import MaskedAutoencoderModel

        model = MaskedAutoencoderModel(spec, shapes(pixels=Output(patch))._replace(unit=patch))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["encoder"] == encoder
    assert count["predictor"] + count["heads"] == decoder


def test_names_of_timm():
    names = set(tiny(depth=1).build(shapes()).state_dict())
    block = {f"blocks.0.{n}" for n in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
    assert names == {"cls_token"} | {
        f"{n}.{leaf}" for n in {"patch_embed.proj", "norm"} | block for leaf in ("weight", "bias")
    }


def test_layers_come_through_the_final_norm():
    encoder, batch = randomise(tiny(depth=3).build(shapes())), Batch()
    x, centre = batch.values, batch.metadata["centre"]
    layers = encoder(x, centre, None, (0, -1))
    assert torch.equal(layers[1], encoder(x, centre))
    assert not close(layers[0], layers[1])
    with pytest.raises(UnseenError, match="layer 3"):
        encoder(x, centre, None, (3,))


def test_unfit_settings_are_refused():
    for build in (
        lambda: tiny(heads=5),
        lambda: SelfAttention(width=10, heads=4),
        lambda: CrossAttention(width=10, heads=4),
        lambda: InPlace(),
        lambda: InPlace(encoder=tiny(), backbone=SPECS["in place, same grid"].backbone),
    ):
        with pytest.raises(UnseenError):
            build()
    batch, model = Batch(), SPECS["mae"].build(shapes())
    with pytest.raises(UnseenError, match="nothing"):
        run(model, batch, {"nothing": batch.target})
    with pytest.raises(UnseenError, match="mask per output"):
        run(SPECS["mae"].build(shapes(**OUTPUTS)), batch)


def test_specs_are_values():
    assert ViT.tiny() == ViT(width=192, depth=12, heads=3)
    assert dataclasses.replace(SPECS["mae"], encoder=ViT.small()).encoder.heads == 6


def test_heads_take_scalars():
    assert Heads(4, {"score": Output(())}, 4)("score", torch.zeros(2, 3, 4), None).shape == (2, 3)


def test_the_grid_of_these_tests_is_not_square():
    assert GRID[0] != GRID[1] and len(set(UNIT)) == 3
