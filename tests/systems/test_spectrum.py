"""The effective rank, under the monitors and the diagnosis."""

import pytest
import torch

from unseen.systems.spectrum import effective_rank, singular_values


def test_effective_rank_knows_the_number_of_directions_and_no_offset():
    z = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    assert effective_rank(z) == pytest.approx(6, abs=0.02)
    assert effective_rank(z + 100) == pytest.approx(effective_rank(z), rel=1e-3)
    assert effective_rank(z[:, :1] * torch.ones(6)) == pytest.approx(1)
    assert effective_rank(torch.ones(9, 4)) == 0


def test_wide_and_tall_features_have_the_same_spectrum():
    z = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(singular_values(z, centred=False), singular_values(z.T, centred=False))
    assert effective_rank(z) == pytest.approx(effective_rank(torch.cat([z] * 4)), rel=1e-6)
