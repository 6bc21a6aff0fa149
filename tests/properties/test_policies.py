"""Every mask policy that the package exports obeys the laws of masks, and each law can fail."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unseen.contract import promises
from unseen.masks import Random

from . import broken, laws
from .discover import key_of, name_of, policies, works

every_policy = pytest.mark.parametrize("policy", policies(), ids=name_of)
on_each = pytest.mark.parametrize("slots", [None, 6, 0], ids=["image", "clip", "row"])
B, ROWS, COLUMNS = 3, 5, 7
KINDS = (None, 6, 0)


def skip_unless_taken(policy, slots) -> None:
    """A policy may need one kind of grid, but then it says so in one line; none may refuse all."""
    assert any(takes(policy, kind) for kind in KINDS), "the policy takes units neither of images, of clips nor of text"
    if not takes(policy, slots):
        pytest.skip("not for this grid")


@cache
def takes(policy, slots) -> bool:
    return works(lambda: policy(laws.grid_units(1, 3, 4, slots=slots), key_of(1), {}))


@every_policy
@on_each
@given(rows=st.integers(1, 9), columns=st.integers(2, 11), seed=st.integers(0, 2**40))
def test_counts_are_exact(policy, slots, rows, columns, seed):
    skip_unless_taken(policy, slots)
    valid = laws.some_valid(B, rows * columns * (slots or 1), seed)
    laws.exact_counts(policy, laws.grid_units(B, rows, columns, slots=slots), key_of(B, seed))
    laws.exact_counts(policy, laws.grid_units(B, rows, columns, valid, slots), key_of(B, seed))


@every_policy
@on_each
def test_samples_with_hardly_any_unit_are_left_in_peace(policy, slots):
    skip_unless_taken(policy, slots)
    valid = torch.zeros(3, ROWS * COLUMNS * (slots or 1), dtype=torch.bool)
    valid[1, 4] = valid[2, 4] = valid[2, 9] = True
    mask = laws.disjoint_and_existing(policy, laws.grid_units(3, ROWS, COLUMNS, valid, slots), key_of(3))
    assert mask.visible.sum(dim=1).tolist() == [0, 1, 1]
    assert mask.target.sum(dim=1).tolist() == [0, 0, 1]


@every_policy
@on_each
def test_same_key_same_mask(policy, slots):
    skip_unless_taken(policy, slots)
    laws.pure_function_of_the_key(policy, laws.grid_units(8, ROWS, COLUMNS, slots=slots), key_of(8))


@every_policy
@on_each
def test_rows_are_independent(policy, slots):
    skip_unless_taken(policy, slots)
    ragged = laws.some_valid(B, ROWS * COLUMNS * (slots or 1))
    ragged[1] = True  # one full sample: a shortcut for full batches must give what the long way gives
    laws.rows_are_independent(policy, laws.grid_units(B, ROWS, COLUMNS, ragged, slots), key_of(B))


@every_policy
@on_each
def test_padding_keeps_the_counts(policy, slots):
    skip_unless_taken(policy, slots)
    laws.padding_keeps_the_counts(policy, ROWS, COLUMNS, key_of(B), slots)


@every_policy
@on_each
def test_coverage_is_even(policy, slots):
    """A policy that means to favour some units says so: `even_coverage = False` (`contract.Promises`)."""
    skip_unless_taken(policy, slots)
    if promises(policy).even_coverage:
        laws.covers_evenly(policy, laws.grid_units(3000, ROWS, COLUMNS, slots=slots))


@every_policy
@on_each
def test_inclusion_probabilities_are_kept(policy, slots):
    skip_unless_taken(policy, slots)
    laws.inclusion_is_what_happens(policy, laws.grid_units(3000, ROWS, COLUMNS, slots=slots))


@every_policy
def test_tubes_are_whole(policy):
    skip_unless_taken(policy, 6)
    laws.tubes_are_whole(policy, laws.grid_units(8, ROWS, COLUMNS, slots=6), key_of(8))


@every_policy
def test_slots_are_alike_where_places_are_followed(policy):
    laws.slots_are_alike(policy, laws.grid_units(8, ROWS, COLUMNS + 1, slots=6), key_of(8))


@every_policy
def test_what_is_hidden_in_the_world_stays_hidden(policy):
    laws.places_stay_hidden(policy)


def test_each_law_can_fail():
    units, key = laws.grid_units(8, ROWS, COLUMNS), key_of(8)
    ragged = laws.grid_units(8, ROWS, COLUMNS, laws.some_valid(8, ROWS * COLUMNS))
    many, clip = laws.grid_units(3000, ROWS, COLUMNS), laws.grid_units(8, ROWS, COLUMNS, slots=6)
    row = laws.grid_units(8, ROWS, COLUMNS, slots=0)
    for law, member, arguments in (
        (laws.exact_counts, broken.Truncates(), (laws.grid_units(8, 4, 5), key)),
        (laws.exact_counts, broken.Bernoulli(), (units, key)),
        (laws.exact_counts, broken.CutToBatchMinimum(), (ragged, key)),
        (laws.pure_function_of_the_key, broken.GlobalGenerator(), (units, key)),
        (laws.pure_function_of_the_key, broken.IgnoresKey(), (units, key)),
        (laws.rows_are_independent, broken.CutToBatchMinimum(), (ragged, key)),
        (laws.disjoint_and_existing, broken.HidesPadding(), (ragged, key)),
        (laws.padding_keeps_the_counts, broken.CountsPadding(), (ROWS, COLUMNS, key)),
        (laws.covers_evenly, broken.SparesTheBorder(), (many,)),
        (laws.inclusion_is_what_happens, broken.ClaimsItsWeights(), (many,)),
        (laws.tubes_are_whole, broken.SplitsTubes(), (clip, key)),
        (laws.slots_are_alike, broken.CountsByTheClip(), (clip, key)),
        (laws.places_stay_hidden, broken.NoGuard(), ()),
        (laws.places_stay_hidden, broken.KeepsToPixels(), ()),
        (laws.hides_whole_words, Random(ratio=0.3), (row, key)),
        (laws.hides_whole_words, broken.OneWord(), (row, key)),
        (laws.hides_whole_words, broken.OvershootsByAWord(), (row, key)),
    ):
        with pytest.raises(AssertionError):
            law(member, *arguments)
