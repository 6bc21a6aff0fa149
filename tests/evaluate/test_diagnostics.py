import math

import pytest
import torch

from unseen.evaluate.diagnostics import (
    collapsed_dimensions,
    diagnose,
    effective_rank,
    participation_ratio,
    rank_me,
    sampled,
)


def test_pinned_rank_me():
    assert rank_me(torch.diag(torch.tensor([3.0, 1.0])), centred=False) == pytest.approx(1.7547652934, abs=1e-9)
    assert rank_me(torch.eye(4), centred=False) == pytest.approx(4.0000006, abs=1e-7)
    assert rank_me(torch.ones(4, 3), centred=False) == pytest.approx(1, abs=1e-5)
    pairs = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert rank_me(pairs, centred=False) == pytest.approx(2, abs=1e-5)
    assert rank_me(pairs, centred=True) == pytest.approx(1, abs=1e-5)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert rank_me(corners, centred=False) == pytest.approx(2, abs=1e-5)


def test_an_offset_kills_the_uncentred_rank():
    z = torch.randn(512, 64, generator=torch.Generator().manual_seed(0)) + 100
    assert rank_me(z, centred=False) < 2 < 55 < rank_me(z, centred=True)


def test_wide_and_tall_features_agree_through_either_gram_matrix():
    z = torch.randn(9, 23, generator=torch.Generator().manual_seed(1))
    s = torch.linalg.svdvals(z.double())
    p = s / s.sum()
    assert rank_me(z, centred=False) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-4)


def test_covariance_spectrum():
    z = torch.tensor([[math.sqrt(3), 1], [math.sqrt(3), -1], [-math.sqrt(3), 1], [-math.sqrt(3), -1]])  # 3 : 1
    assert participation_ratio(z) == pytest.approx(1.6, abs=1e-6)
    assert effective_rank(z) == pytest.approx(4 / 3**0.75, abs=1e-6)
    assert effective_rank(torch.ones(5, 3)) == 0


def test_collapse_is_counted():
    z = torch.randn(400, 16, generator=torch.Generator().manual_seed(2))
    z[:, :3] = 0
    found = collapsed_dimensions(z)
    assert found["collapsed"] == 3
    assert found["median_std"] == pytest.approx(found["healthy_std"], rel=0.3)
    assert all(math.isfinite(value) for value in diagnose(z).values())


def test_units_are_drawn_by_a_key_and_no_more_than_the_rank_needs():
    units = torch.arange(40 * 6 * 3, dtype=torch.float32).view(40, 6, 3)
    few = sampled(units, seed=0)
    assert few.shape == (48, 3) and len(few.unique(dim=0)) == 48
    assert torch.equal(few, sampled(units.to(torch.float64), seed=0)) and not torch.equal(few, sampled(units, seed=1))
    assert len(sampled(units[:2], seed=0)) == 12
