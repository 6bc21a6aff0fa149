"""Pixel targets against slow loops and pinned values; flat units are no free wins."""

import math
import statistics

import pytest
import torch

from unseen.contract import Clip, Units
from unseen.targets import Pixels

B, N, H, W, C = 2, 5, 3, 4, 3


def material(seed: int = 0) -> tuple[torch.Tensor, Units]:
    values = torch.randn(B, N, H, W, C, generator=torch.Generator().manual_seed(seed)) + 0.7
    return values, units_of(values)


def units_of(values: torch.Tensor) -> Units:
    n_units = values.shape[1]
    return Units(torch.zeros(1, n_units, 2), torch.ones(values.shape[:2], dtype=torch.bool), torch.ones(1, n_units))


def test_mae_rule_equals_a_slow_loop():
    values, units = material()
    made = Pixels(normalise="patch").make(values, units, Clip())
    for b in range(B):
        for n in range(N):
            numbers = values[b, n].double().flatten().tolist()
            mean, variance = statistics.fmean(numbers), statistics.variance(numbers)
            expected = [(x - mean) / math.sqrt(variance + 1e-6) for x in numbers]
            assert made[b, n].flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_videomae_rule_equals_a_slow_loop():
    values, units = material()
    made = Pixels(normalise="channel").make(values, units, Clip())
    for b in range(B):
        for n in range(N):
            for c in range(C):
                numbers = values[b, n, ..., c].double().flatten().tolist()
                mean, std = statistics.fmean(numbers), statistics.stdev(numbers)
                expected = [(x - mean) / (std + 1e-6) for x in numbers]
                assert made[b, n, ..., c].flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("rule", "first", "second"), [("patch", -1.1618947, -0.3872982), ("channel", -1.1618942, -0.387298)]
)
def test_values_are_pinned(rule, first, second):
    """The published rules on [0, 1, 2, 3]; the population variance would give 1.3416."""
    values = torch.arange(4.0, dtype=torch.float64).view(1, 1, 2, 2, 1)
    made = Pixels(normalise=rule).make(values, units_of(values), Clip()).flatten()
    assert made.tolist() == pytest.approx([first, second, -second, -first], abs=1e-7)


def test_raw_values_stay_as_they_are():
    values, units = material()
    assert torch.equal(Pixels(normalise="none").make(values, units, Clip()), values)


@pytest.mark.parametrize(("error", "power"), [("l2", 2), ("l1", 1)])
def test_loss_equals_a_slow_loop(error, power):
    (prediction, _), (target, _) = material(1), material(2)
    loss = Pixels(error=error).loss(prediction, target)
    assert loss.shape == (B, N)
    for b in range(B):
        for n in range(N):
            pairs = zip(prediction[b, n].flatten().tolist(), target[b, n].flatten().tolist(), strict=True)
            expected = statistics.fmean(abs(p - t) ** power for p, t in pairs)
            assert float(loss[b, n]) == pytest.approx(expected, rel=1e-5)


def test_half_precision_predictions_are_scored_in_float32():
    target, _ = material()
    loss = Pixels().loss(target.bfloat16(), target)
    assert loss.dtype == torch.float32 and 0 < loss.max() < 1e-3


def flat_and_textured() -> torch.Tensor:
    """Units: constant; one grey level of noise; ordinary; one channel constant."""
    generator = torch.Generator().manual_seed(0)
    values = torch.zeros(1, 4, 8, 8, 3) + 0.5
    level = 1 / 255 / 0.225
    values[0, 1] += level * (torch.rand(8, 8, 3, generator=generator) < 0.5)
    values[0, 2:] += torch.randn(2, 8, 8, 3, generator=generator)
    values[0, 3, ..., 1] = 2.0
    return values


@pytest.mark.parametrize(
    ("rule", "expected"), [("none", [1, 1, 1, 1]), ("patch", [0, 0, 1, 1]), ("channel", [0, 0, 1, 0])]
)
def test_flat_units_are_no_free_wins(rule, expected):
    values = flat_and_textured()
    assert Pixels(normalise=rule).weight(values, units_of(values), Clip()).tolist() == [expected]


def test_a_patch_of_one_colour_is_flat():
    """Under ImageNet's statistics a grey of 128 becomes three different numbers: still nothing to predict in it."""
    values = torch.tensor([0.073, 0.205, 0.426]).expand(1, 1, 8, 8, 3)
    assert Pixels(normalise="patch").weight(values, units_of(values), Clip()).tolist() == [[0]]


@pytest.mark.parametrize("rule", ["patch", "channel"])
def test_flat_std_zero_counts_all_as_the_published_losses_do(rule):
    values = flat_and_textured()
    target, units = Pixels(normalise=rule, flat_std=0.0), units_of(values)
    assert target.weight(values, units, Clip()).tolist() == [[1, 1, 1, 1]]
    made = target.make(values, units, Clip())
    assert torch.isfinite(made).all() and made[0, 0].abs().max() < 1e-3, "a constant unit has the target zero"
    missing = units._replace(valid=torch.tensor([[True, False, True, True]]))
    assert target.weight(values, missing, Clip()).tolist() == [[1, 0, 1, 1]]


def test_units_of_any_shape():
    """Tubes [t, h, w, c] and plain vectors of one channel."""
    tubes = torch.randn(2, 3, 2, 4, 4, 3)
    made = Pixels(normalise="channel").make(tubes, units_of(tubes), Clip())
    assert made.mean(dim=(2, 3, 4)).abs().max() < 1e-5
    torch.testing.assert_close(made.std(dim=(2, 3, 4)), torch.ones(2, 3, 3), rtol=1e-4, atol=1e-4)
