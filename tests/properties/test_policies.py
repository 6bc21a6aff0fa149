"""Every mask policy that the package exports obeys the laws of masks, and each law can fail."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from . import broken, laws
from .discover import key_of, name_of, policies

every_policy = pytest.mark.parametrize("policy", policies(), ids=name_of)
B, ROWS, COLUMNS = 3, 5, 7


@every_policy
@given(rows=st.integers(1, 9), columns=st.integers(2, 11), seed=st.integers(0, 2**40))
def test_counts_are_exact(policy, rows, columns, seed):
    valid = laws.some_valid(B, rows * columns, seed)
    laws.exact_counts(policy, laws.grid_units(B, rows, columns), key_of(B, seed))
    laws.exact_counts(policy, laws.grid_units(B, rows, columns, valid), key_of(B, seed))


@every_policy
def test_samples_with_hardly_any_unit_are_left_in_peace(policy):
    valid = torch.zeros(3, ROWS * COLUMNS, dtype=torch.bool)
    valid[1, 4] = valid[2, 4] = valid[2, 9] = True
    mask = laws.disjoint_and_existing(policy, laws.grid_units(3, ROWS, COLUMNS, valid), key_of(3))
    assert mask.visible.sum(dim=1).tolist() == [0, 1, 1]
    assert mask.target.sum(dim=1).tolist() == [0, 0, 1]


@every_policy
def test_same_key_same_mask(policy):
    laws.pure_function_of_the_key(policy, laws.grid_units(8, ROWS, COLUMNS), key_of(8))


@every_policy
def test_rows_are_independent(policy):
    laws.rows_are_independent(policy, laws.grid_units(B, ROWS, COLUMNS, laws.some_valid(B, ROWS * COLUMNS)), key_of(B))


@every_policy
def test_padding_keeps_the_counts(policy):
    laws.padding_keeps_the_counts(policy, ROWS, COLUMNS, key_of(B))


@every_policy
def test_coverage_is_even(policy):
    """A policy that means to favour some units says so with a class attribute `even_coverage = False`."""
    if getattr(policy, "even_coverage", True):
        laws.covers_evenly(policy, ROWS, COLUMNS)


def test_each_law_can_fail():
    units, key = laws.grid_units(8, ROWS, COLUMNS), key_of(8)
    ragged = laws.grid_units(8, ROWS, COLUMNS, laws.some_valid(8, ROWS * COLUMNS))
    for law, member, given_units in (
        (laws.exact_counts, broken.Truncates(), laws.grid_units(8, 4, 5)),
        (laws.exact_counts, broken.Bernoulli(), units),
        (laws.exact_counts, broken.CutToBatchMinimum(), ragged),
        (laws.pure_function_of_the_key, broken.GlobalGenerator(), units),
        (laws.pure_function_of_the_key, broken.IgnoresKey(), units),
        (laws.rows_are_independent, broken.CutToBatchMinimum(), ragged),
        (laws.disjoint_and_existing, broken.HidesPadding(), ragged),
    ):
        with pytest.raises(AssertionError):
            law(member, given_units, key)
    with pytest.raises(AssertionError):
        laws.padding_keeps_the_counts(broken.CountsPadding(), ROWS, COLUMNS, key)
    with pytest.raises(AssertionError):
        laws.covers_evenly(broken.SparesTheBorder(), ROWS, COLUMNS)
