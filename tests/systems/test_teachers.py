"""Teachers and visual words: targets that a network makes."""

import dataclasses

import pytest
import torch

from unseen.contract import Clip
from unseen.data.views import Frames
from unseen.errors import UnseenError
from unseen.masks import Block, Nothing
from unseen.models import InPlace, LinearStem, MaskedAutoencoder, Quantiser, SelfAttention, VectorQuantised, ViT
from unseen.recipes.lineage import lineage_of, unknown_origins
from unseen.systems.codes import Codes, Commitment
from unseen.systems.encode import load_encoder, save_encoder
from unseen.systems.objective import Objective, Term, predict, sample_keys
from unseen.systems.teachers import Frozen, Momentum
from unseen.targets import Pixels
from unseen.units import Fixed, Patches

UNIT, VIT = Patches(size=(4, 4)), ViT(width=16, depth=3, heads=2, class_token=True, stem=LinearStem())
MODEL = MaskedAutoencoder(encoder=VIT, predictor=SelfAttention(width=8, depth=1, heads=2))


def clip(seed: int = 0) -> Clip:
    image = torch.randint(0, 255, (3, 3, 16, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Clip(image=image, sample_id=torch.arange(3) + seed)


def trained_by(target, model=MODEL, **settings):
    """The bound objective and its model."""
    term = Term(target=target, **settings)
    goal = Objective(normalise=Fixed(), unit=UNIT, mask=Block(ratio=0.5), targets={"features": term})
    net = model.build(goal.shapes(goal.batch(clip(), sample_keys(clip(), 0, 0))))
    return goal.bind(net), net


def batch_of(goal, raw=None):
    raw = raw or clip()
    return goal.batch(raw, sample_keys(raw, 0, 0))


@pytest.mark.parametrize("model", [MODEL, InPlace(encoder=VIT)], ids=["predictor", "in place"])
@pytest.mark.parametrize("last", [1, 2])
def test_features_are_standardised_and_as_wide_as_the_encoder(model, last):
    goal, net = trained_by(Momentum(last=last), model)
    batch = batch_of(goal)
    features = batch.target["features"]
    assert features.shape == (3, 24, 16)
    torch.testing.assert_close(features.mean(dim=2), torch.zeros(3, 24), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(dim=2, correction=0), torch.ones(3, 24), atol=1e-2, rtol=0)
    assert predict(net, batch)["features"].shape == (3, 12, 16)


def test_the_teacher_follows_by_its_momentum_and_by_nothing_else():
    goal, net = trained_by(Momentum(momentum=(0.9, 1.0)))
    network = goal.networks()["features"]
    before = network.norm.weight.clone()
    with torch.no_grad():
        net.encoder.norm.weight.add_(1.0)
    assert torch.equal(network.norm.weight, before), "the teacher shares weights with the model"
    goal.follow(net, 0.0)
    torch.testing.assert_close(network.norm.weight, before + 0.1)
    goal.follow(net, 1.0)
    torch.testing.assert_close(network.norm.weight, before + 0.1)
    assert not any(p.requires_grad for p in network.parameters())


def test_no_gradient_reaches_the_teacher_and_none_the_hidden_input():
    goal, net = trained_by(Momentum())
    batch = batch_of(goal)
    assert not batch.target["features"].requires_grad
    poisoned = batch._replace(input=batch.input.masked_fill(~batch.visible_mask[:, :, None, None, None], torch.nan))
    assert torch.equal(predict(net, batch)["features"], predict(net, poisoned)["features"])


def tokenizer(folder, unit=UNIT, logs=("a",)):
    """A tokenizer that was trained for one step, as a run leaves it."""
    terms = {
        "pixels": Term(target=Pixels(normalise="none"), weight=0.0, visible_weight=1.0),
        "commitment": Term(target=Commitment(code_width=6), weight=0.0, visible_weight=0.25),
    }
    goal = Objective(normalise=Fixed(), unit=unit, mask=Nothing(), targets=terms)
    spec = VectorQuantised(encoder=Quantiser(vit=VIT, codes=12, code_width=6), decoder=VIT)
    net = spec.build(goal.shapes(batch_of(goal)))
    predict(net.train(), batch_of(goal))
    save_encoder(folder, net, unit, Fixed(), Frames(frame_px=(16, 24)), lineage={"pretrained_on": list(logs)})
    return goal, net.eval()


def test_a_tokenizer_learns_its_codes_and_paints_from_them(tmp_path):
    goal, net = tokenizer(tmp_path)
    batch = batch_of(goal)
    before = net.encoder.table.clone()
    prediction = predict(net, batch)
    assert torch.equal(net.encoder.table, before), "the codes move only in training"
    assert prediction["pixels.visible"].shape == (3, 24, 4, 4, 3)
    assert prediction["commitment.visible"].shape == (3, 24, 6)
    torch.testing.assert_close(net.encoder.table.norm(dim=1), torch.ones(12))
    predict(net.train(), batch)
    assert not torch.equal(net.encoder.table, before)
    assert 1.0 <= net.encoder.measures()["perplexity"] <= 12.0


def test_commitment_pulls_tokens_to_their_codes_and_codes_carry_gradients(tmp_path):
    goal, net = tokenizer(tmp_path)
    prediction = predict(net, batch_of(goal))
    prediction["pixels.visible"].square().sum().backward()
    assert net.encoder.to_code.weight.grad.abs().sum() > 0, "the straight-through estimator is cut"


def test_codes_that_nobody_uses_come_back(tmp_path):
    _, net = tokenizer(tmp_path)
    encoder = net.encoder
    encoder.use.fill_(1.0)
    encoder.use[3] = 0.0
    encoder.table[3] = torch.nn.functional.normalize(-torch.ones(6), dim=0)
    tokens = torch.nn.functional.normalize(torch.rand(50, 6) + 0.1, dim=1)
    encoder.learn(tokens, encoder.ids(tokens))
    assert (tokens @ encoder.table[3]).max() > 0.999, "a dead code takes the place of a token"
    assert encoder.use[3] > 0


def test_units_that_do_not_exist_change_no_word(tmp_path):
    tokenizer(tmp_path)
    goal, _ = trained_by(Codes(tokenizer=str(tmp_path)), InPlace(encoder=VIT))
    values, units = UNIT.cut(Clip(image=torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))))
    there = units.valid.clone()
    there[:, 12:] = False
    other = values.clone()
    other[:, 12:] = 9.0
    words = [goal.target("features").make(v, units._replace(valid=there), {})[:, :12] for v in (values, other)]
    assert torch.equal(*words)


def test_words_are_the_tokenizers_ids_and_its_logs_count_as_seen(tmp_path):
    _, net = tokenizer(tmp_path / "tokens", logs=("seen_by_the_tokenizer",))
    goal, model = trained_by(Codes(tokenizer=str(tmp_path / "tokens")), InPlace(encoder=VIT))
    batch = batch_of(goal)
    assert batch.target["features"].dtype == torch.int64 and batch.target["features"].shape == (3, 24)
    tokens = net.encoder(batch.input, batch.metadata["centre"].expand(3, -1, -1))
    assert torch.equal(batch.target["features"], net.encoder.ids(tokens))
    prediction = predict(model, batch)
    assert prediction["features"].shape == (3, 12, 12)
    loss = goal.losses(prediction, batch)["features"]
    assert loss.shape == (3, 12) and (loss > 0).all()


def test_a_run_tells_its_teachers(tmp_path):
    from unseen.files import write_whole
    from unseen.recipes.lineage import teachers
    from unseen.recipes.objectives import beit

    tokenizer(tmp_path / "tokens", logs=("seen_by_the_tokenizer",))
    recipe = beit()
    term = Term(target=Codes(tokenizer=str(tmp_path / "tokens")))
    found = teachers(dataclasses.replace(recipe, targets={"codes": term}))
    (told,) = found
    assert told["run"] == str(tmp_path / "tokens") and len(told["digest"]) == 32
    assert told["lineage"] == {"pretrained_on": ["seen_by_the_tokenizer"]}
    import json

    lineage = {"pretrained_on": ["own"], "init": None, "teachers": found}
    write_whole(tmp_path / "lineage.json", json.dumps(lineage))
    assert lineage_of(tmp_path) == {"own", "seen_by_the_tokenizer"}
    assert unknown_origins(tmp_path) == set()


def test_a_recipe_whose_view_brings_a_file_has_no_teacher():
    from unseen.recipes.lineage import teachers
    from unseen.recipes.text import bert

    assert teachers(bert()) == [], "the file of a view is asked with its store, by its own name"


def test_networks_of_other_units_are_refused(tmp_path):
    tokenizer(tmp_path / "other", unit=Patches(size=(8, 8)))
    with pytest.raises(UnseenError, match="unit"):
        trained_by(Codes(tokenizer=str(tmp_path / "other")), InPlace(encoder=VIT))
    with pytest.raises(UnseenError, match="tokenizer"):
        trained_by(Codes(), InPlace(encoder=VIT))


def test_networks_stand_where_the_model_does_and_compute_as_it_does(tmp_path):
    tokenizer(tmp_path)
    terms = {"mean": Term(target=Momentum()), "codes": Term(target=Codes(tokenizer=str(tmp_path)))}
    goal = Objective(normalise=Fixed(), unit=UNIT, mask=Block(ratio=0.5), targets=terms)
    net = InPlace(encoder=VIT).build(goal.shapes(batch_of(goal))).to("meta")
    bound = goal.bind(net, "bfloat16")
    assert {p.device.type for n in bound.networks().values() for p in (*n.parameters(), *n.buffers())} == {"meta"}
    assert bound.targets["mean"].target.precision == "bfloat16"


def test_words_do_not_depend_on_autocast(tmp_path):
    _, net = tokenizer(tmp_path)
    codes = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 2e-3]]), dim=1)  # alike in bfloat16
    net.encoder.table = torch.cat([codes, torch.zeros(2, 4)], dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert net.encoder.ids(net.encoder.table[None]).tolist() == [[0, 1]]


def test_a_frozen_teacher_is_the_encoder_of_a_run(tmp_path):
    _, net = trained_by(Pixels())
    save_encoder(tmp_path, net, UNIT, Fixed(), Frames(frame_px=(16, 24)), lineage={})
    goal, model = trained_by(Frozen(encoder=str(tmp_path), error="cosine"))
    batch = batch_of(goal)
    units = load_encoder(tmp_path).read(clip()).units
    expected = torch.nn.functional.layer_norm(units, (16,))
    torch.testing.assert_close(batch.target["features"], expected, atol=2e-1, rtol=0)  # bfloat16 where there is one
    goal.follow(model, 0.5)
    assert torch.equal(goal.networks()["features"].norm.weight, net.encoder.norm.weight)
    loss = goal.losses(predict(model, batch), batch)["features"]
    assert ((loss >= 0) & (loss <= 2)).all()
