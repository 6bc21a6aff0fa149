"""The objective: what it hands to a model, what it samples, and what the loss counts."""

import dataclasses

import pytest
import torch

from unseen.contract import Clip, MaskedModel, check
from unseen.errors import UnseenError
from unseen.masks import Random
from unseen.packing import pack
from unseen.systems.objective import VISIBLE, Objective, Term, predict, sample, sample_keys, total, unit_weights
from unseen.targets import Descriptors, Pixels
from unseen.units import Fixed, Patches


def clip(batch: int = 4) -> Clip:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (batch, 3, 16, 24), generator=generator, dtype=torch.uint8)
    return Clip(image=image, sample_id=torch.arange(batch) + 50, timestamp_ns=torch.arange(batch), log_id=["a"] * batch)


def objective(**settings) -> Objective:
    targets = {
        "pixels": Term(target=Pixels(), weight=2.0),
        "look": Term(target=Descriptors(), weight=0.0, visible_weight=0.5),
    }
    return Objective(
        **{"normalise": Fixed(), "unit": Patches(size=(4, 4)), "mask": Random(), "targets": targets} | settings
    )


def made(goal: Objective, batch: int = 4, seed: int = 0):
    raw = clip(batch)
    return check(goal.batch(raw, sample_keys(raw, seed, 0)), frozenset({"look" + VISIBLE}))


def test_batch_has_what_the_terms_ask_for():
    goal = objective()
    batch = made(goal)
    assert list(batch.target) == list(batch.target_mask) == list(batch.metadata["weight"]) == ["pixels", "look.visible"]
    assert goal.weights() == {"pixels": 2.0, "look.visible": 0.5}
    assert torch.equal(batch.target_mask["look.visible"], batch.visible_mask)
    assert torch.equal(batch.target_mask["pixels"], ~batch.visible_mask)
    assert batch.metadata["log_id"] == ["a"] * 4 and batch.metadata["timestamp_ns"].tolist() == [0, 1, 2, 3]
    assert batch.input.dtype == torch.float32 and batch.input.shape == (4, 24, 4, 4, 3)


def test_shapes_tell_a_model_all_it_needs():
    goal = objective()
    shapes = goal.shapes(made(goal))
    assert shapes.unit == (4, 4, 3) and shapes.spacing == (4.0, 4.0) and shapes.grid == (4, 6)
    assert shapes.outputs["pixels"] == ((4, 4, 3), "hidden")
    assert shapes.outputs["look.visible"] == ((126,), "visible")


def test_predict_hands_over_visible_units_and_nothing_else():
    seen = {}

    class Spy(MaskedModel):
        def forward(self, x_visible, visible_mask, target_mask, metadata=None):
            seen.update(x=x_visible, names=set(metadata))
            return {}

    batch = made(objective())
    predict(Spy(), batch)
    assert torch.equal(seen["x"], pack(batch.input, batch.visible_mask))
    assert seen["names"] == {"centre", "valid", "grid", "log_id", "timestamp_ns"}, "weights are made of hidden content"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decode": 0.0}, "decode is 0.0"),
        ({"decode": 1.5}, "decode is 1.5"),
        ({"targets": {}}, "no target"),
        ({"targets": {"pixels": Term(target=Pixels(), weight=0.0)}}, "no target"),
        ({"targets": {"pixels": Term(target=Pixels(), weight=-1.0)}}, "weighs -1.0"),
        ({"targets": {"pixels.visible": Term(target=Pixels())}}, "pixels.visible"),
    ],
)
def test_an_objective_that_means_nothing_is_refused(settings, message):
    with pytest.raises(UnseenError, match=message):
        objective(**settings)


def test_a_target_that_weighs_nothing_is_not_made():
    @dataclasses.dataclass(frozen=True)
    class Never(Pixels):
        def make(self, values, units, clip):
            raise AssertionError("made")

    goal = objective(targets={"pixels": Term(target=Pixels()), "never": Term(target=Never(), weight=0.0)})
    assert list(made(goal).target) == ["pixels"]


def test_targets_share_one_sample_of_the_hidden_units():
    both = {"pixels": Term(target=Pixels()), "look": Term(target=Descriptors())}
    batch = made(objective(targets=both, decode=0.5))
    assert batch.target_mask["pixels"] is batch.target_mask["look"]


def test_masks_follow_sample_and_visit():
    goal, raw = objective(), clip()
    again = goal.batch(raw, sample_keys(raw, 0, 0)).visible_mask
    assert torch.equal(again, made(goal).visible_mask)
    assert not torch.equal(again, goal.batch(raw, sample_keys(raw, 0, 1)).visible_mask)
    assert not torch.equal(again, goal.batch(raw, sample_keys(raw, 1, 0)).visible_mask)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_decoded_sample_is_exact_and_unbiased(share):
    """Every hidden unit is predicted equally often, so the mean over the sample is the mean over all."""
    n_draws, n_units = 4000, 20
    hidden = torch.zeros(n_draws, n_units, dtype=torch.bool)
    hidden[:, 4:17] = True
    chosen = sample(hidden, share, torch.arange(n_draws))
    assert not (chosen & ~hidden).any()
    assert (chosen.sum(dim=1) == round(13 * share)).all()
    often = chosen[:, 4:17].double().mean(dim=0)
    assert (often - round(13 * share) / 13).abs().max() < 5 * (0.25 / n_draws) ** 0.5
    loss = torch.rand(n_units, generator=torch.Generator().manual_seed(1)).double()
    estimate = (chosen * loss).sum(dim=1) / chosen.sum(dim=1)
    assert abs(estimate.mean() - loss[4:17].mean()) < 5 * estimate.std() / n_draws**0.5


def test_a_decoded_sample_is_unrelated_to_the_mask_that_it_samples():
    """The mask's own scores come from the same key; the sample must not favour its top."""
    raw = clip(4)
    keys = torch.cat([sample_keys(raw, 0, visit) for visit in range(500)])
    units = Patches(size=(4, 4)).cut(Clip(image=torch.zeros(1, 3, 16, 24)))[1]
    units = units._replace(valid=units.valid.expand(len(keys), -1))
    fuller, sparser = (Random(ratio=ratio)(units, keys, {}).target for ratio in (0.75, 0.4))
    share_of_top = (sample(fuller, 0.5, keys) & sparser).sum() / sparser.sum()
    assert abs(float(share_of_top) - 0.5) < 0.02


def test_a_sample_of_one_keeps_one_and_a_share_of_one_keeps_all():
    hidden = torch.tensor([[False, True, False], [True, True, True]])
    assert sample(hidden, 0.01, torch.arange(2)).sum(dim=1).tolist() == [1, 1]
    assert sample(hidden, 1.0, torch.arange(2)) is hidden


def test_losses_are_per_unit_and_by_name():
    goal = objective(decode=0.5)
    batch = made(goal)
    prediction = {name: torch.zeros_like(pack(batch.target[name], batch.target_mask[name])) for name in batch.target}
    losses = goal.losses(prediction, batch)
    assert losses["pixels"].shape == (4, 9) and losses["look.visible"].shape == (4, 6)
    expected = pack(batch.target["pixels"], batch.target_mask["pixels"]).square().flatten(2).mean(dim=2)
    torch.testing.assert_close(losses["pixels"], expected)


def test_totals_count_units_over_micro_batches():
    """Micro-batches with unequal counts add up to the loss and the gradient of the whole batch."""
    goal = objective(targets={"pixels": Term(target=Pixels(flat_std=0.02), weight=3.0)})
    raw = clip(5)
    raw["image"][0, :, :, :12] = 90  # flat units of the first sample weigh nothing
    parameter = torch.tensor(0.3, requires_grad=True)

    def parts(rows: slice):
        part = {name: value[rows] for name, value in raw.items()}
        batch = goal.batch(part, sample_keys(part, 0, 0))
        prediction = {"pixels": parameter * pack(batch.target["pixels"], batch.target_mask["pixels"])}
        return goal.losses(prediction, batch), unit_weights(batch)

    losses, weights = parts(slice(0, 5))
    sums = {"pixels": weights["pixels"].sum()}
    assert sums["pixels"] < weights["pixels"].numel(), "some units weigh nothing"
    whole = total(losses, weights, sums, goal)
    (gradient,) = torch.autograd.grad(whole, parameter)
    expected = 3 * (losses["pixels"] * weights["pixels"]).sum() / sums["pixels"]
    torch.testing.assert_close(whole, expected)
    pieces = [total(*parts(rows), sums, goal) for rows in (slice(0, 1), slice(1, 5))]
    torch.testing.assert_close(sum(pieces), whole)
    torch.testing.assert_close(sum(torch.autograd.grad(piece, parameter)[0] for piece in pieces), gradient)


def test_a_step_in_which_nothing_counts_has_loss_zero():
    goal = objective(targets={"pixels": Term(target=Pixels())})
    raw = clip()
    raw["image"][:] = 128
    batch = goal.batch(raw, sample_keys(raw, 0, 0))
    truth = pack(batch.target["pixels"], batch.target_mask["pixels"])
    weights = unit_weights(batch)
    sums = {"pixels": weights["pixels"].sum()}
    assert sums["pixels"] == 0
    assert total(goal.losses({"pixels": truth + 1}, batch), weights, sums, goal) == 0


def test_emphasis_is_taken_back_by_the_correction_and_both_losses_are_told():
    """Rare units with five times the loss: drawn by importance the mean is too high, corrected it is that of all."""
    from unseen.masks import Weighted
    from unseen.systems.cues import Importance
    from unseen.systems.objective import other_weights, unit_weights

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class FirstEighth:
        def __call__(self, values, units, clip, unit):
            rare = (torch.arange(values.shape[1]) < values.shape[1] // 8).float()
            return rare.expand(values.shape[:2])

    emphasis = Importance(cues=(FirstEighth(),), factor=3.0)
    raw = clip(batch=400)
    for correct in (False, True):
        goal = objective(unit=Patches(size=(2, 2)), mask=Weighted(ratio=0.5), importance=emphasis, correct=correct)
        batch = goal.batch(raw, sample_keys(raw, 0, 0))
        assert "inclusion" in batch.metadata and batch.metadata["inclusion"].shape == batch.visible_mask.shape
        loss = torch.where(torch.arange(batch.visible_mask.shape[1]) < batch.visible_mask.shape[1] // 8, 5.0, 1.0)
        truth = float(loss.mean())
        hidden = torch.stack([loss[mask] for mask in batch.target_mask["pixels"]])
        own, other = unit_weights(batch)["pixels"], other_weights(batch, goal)["pixels"]
        means = [float((hidden * weight).sum() / weight.sum()) for weight in (own, other)]
        drawn, corrected = reversed(means) if correct else means
        assert drawn > 1.1 * truth
        assert corrected == pytest.approx(truth, rel=0.03)
