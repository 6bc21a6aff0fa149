"""The attentive probe finds what the mean of the units hides, and is a pure function of its seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unseen.evaluate.attentive import AttentivePool, fit_attentive
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.floors import RawPixels
from unseen.evaluate.folds import inner_folds
from unseen.evaluate.linear import Examples, fit_ridge
from unseen.evaluate.metrics import accuracy
from unseen.evaluate.probes import Attentive, Classify, spec_hash

PROBE = Attentive(name="look", epochs=40, batch=16)


def one_odd_unit(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames [n, 12, 8] of noise of which one unit, anywhere, carries a flag and the class; the mean drowns it."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 12, 8, generator=draw), torch.randint(2, (n,), generator=draw)
    place = torch.randint(12, (n,), generator=draw)
    x[torch.arange(n), place, 0] = 6.0
    x[torch.arange(n), place, 1] = 3.0 * (2 * y - 1)
    x[:, :, 1] -= x[:, :, 1].mean(dim=1, keepdim=True)  # nothing is left in the mean
    return x, torch.nn.functional.one_hot(y, 2).float()[:, None]


def test_it_finds_one_unit_that_the_mean_hides():
    (x, h), (test, truth) = one_odd_unit(240, 0), one_odd_unit(200, 1)
    fold = inner_folds(np.repeat(np.arange(6), 40))
    score = lambda c: float(accuracy(c))  # noqa: E731
    right = lambda scores: float((scores.argmax(2) == truth.argmax(2)).float().mean())  # noqa: E731
    linear = fit_ridge(Examples(x.mean(1, keepdim=True), h, fold), 0.0, score)
    found = fit_attentive(Examples(x, h, fold), 0.0, score, probe=PROBE, seed=0)
    assert right(linear(test.mean(1, keepdim=True))) < 0.65 < 0.85 < right(found(test))


def test_it_is_a_pure_function_of_its_seed():
    (x, h), fold, probe = one_odd_unit(60, 0), inner_folds(np.repeat(np.arange(6), 10)), replace(PROBE, epochs=2)
    score = lambda c: float(accuracy(c))  # noqa: E731
    one, again, other = (fit_attentive(Examples(x, h, fold), 0.0, score, probe=probe, seed=s)(x) for s in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_scale_and_offset_of_the_features_do_not_matter():
    (x, h), fold = one_odd_unit(60, 0), inner_folds(np.repeat(np.arange(6), 10))
    score = lambda c: float(accuracy(c))  # noqa: E731
    plain = fit_attentive(Examples(x, h, fold), 0.0, score, probe=PROBE, seed=0)(x)
    scaled = fit_attentive(Examples(1000 * x + 5, h, fold), 0.0, score, probe=PROBE, seed=0)(1000 * x + 5)
    assert torch.allclose(plain, scaled, atol=0.05)


def test_a_rate_is_chosen_on_inner_logs():
    (x, h), fold = one_odd_unit(120, 0), inner_folds(np.repeat(np.arange(6), 20))
    probe = replace(PROBE, lrs=(1e-9, 3e-3), epochs=20)
    assert fit_attentive(Examples(x, h, fold), 0.0, lambda c: float(accuracy(c)), probe=probe, seed=0).chosen == 3e-3


@pytest.mark.parametrize(("width", "heads"), [(12, 6), (7, 7), (13, 1), (3, 3)])
def test_heads_divide_any_width(width, heads):
    pool = AttentivePool(width, 7, 2)
    assert pool.block.cross_attn.heads == heads


def test_it_stands_in_an_evaluation_beside_a_linear_probe(source, classes, split, tmp_path):
    probes = [Classify(name="side", few_logs=()), replace(PROBE, epochs=5)]
    makers = {"subject": RawPixels(unit_px=(4, 4)), "raw pixels": RawPixels(unit_px=(4, 4))}
    result = evaluate(makers, source, probes, split=split, lineage=(), ledger=tmp_path, classes=classes)
    one = result["probes"][1]
    assert (one["primary"], one["rows"][0]["classifier"], one["few_label"]) == ("accuracy", "attentive", [])
    assert set(one["rows"][0]["metrics"]) == {"accuracy", "class_recall"}
    assert one["rows"][0]["against"]["raw pixels"]["difference"] == 0
    assert spec_hash(PROBE) != spec_hash(replace(PROBE, epochs=41))
