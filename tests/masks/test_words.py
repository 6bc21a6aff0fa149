"""Whole words, spans and corruptions beyond the laws: what they are for."""

import pytest
import torch

from unseen.contract import Mask, Units
from unseen.errors import UnseenError
from unseen.masks import KeepOrReplace, Noise, Span, WholeWord


def row(n_rows: int, lengths: list[int]) -> Units:
    group = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None]
    n = group.shape[1]
    centre = torch.arange(n)[None, :, None] + 0.5
    return Units(centre, torch.ones(n_rows, n, dtype=torch.bool), torch.ones(1, n), None, group)


def test_a_word_longer_than_the_count_is_hidden_alone():
    mask = WholeWord(ratio=0.1)(row(40, [5, 4, 6]), torch.arange(40), {})
    assert (mask.target.sum(dim=1) == 4).all() and mask.target[:, 5:9].all()


def test_a_row_of_one_word_is_split():
    mask = WholeWord(ratio=0.5)(row(3, [6]), torch.arange(3), {})
    assert (mask.target.sum(dim=1) == 3).all() and (mask.visible.sum(dim=1) == 3).all()


def test_units_without_words_say_so():
    units = row(2, [1, 2])._replace(group=None)
    for policy in (WholeWord(), Span(words=True)):
        with pytest.raises(UnseenError, match="no groups"):
            policy(units, torch.arange(2), {})


@pytest.mark.parametrize("words", [False, True])
def test_spans_have_their_mean_length(words):
    """Runs of hidden pieces are longer than under independent draws, and grow with the mean."""

    def run_length(policy) -> float:
        target = policy(row(400, [1] * 120), torch.arange(400), {}).target
        starts = target[:, 1:] & ~target[:, :-1]
        return float(target.sum()) / float(starts.sum() + target[:, 0].sum())

    short, long = (run_length(Span(ratio=0.15, mean_length=mean, words=words)) for mean in (1.0, 5.0))
    assert 1.0 <= short < 1.4 and 3.5 < long < 5.5


def test_bert_counts_and_no_special_ids():
    target = torch.ones(200, 20, dtype=torch.bool)
    values = torch.full((200, 20), 7)
    changed, mask = KeepOrReplace(vocabulary=30)(values, Mask(~target, target), torch.arange(200) * 7919)
    assert (mask.visible.sum(dim=1) == 4).all(), "80 % of 20 stay hidden"
    assert ((changed != 7).sum(dim=1) <= 2).all() and changed.min() >= 5 and changed.max() < 30
    assert len(changed[changed != 7].unique()) == 24, "every ordinary id is drawn"


def test_noise_is_what_it_says():
    values = torch.ones(50, 6, 40)
    mask = Mask(torch.arange(6).expand(50, 6) < 3, torch.arange(6).expand(50, 6) >= 3)
    key = torch.arange(50)
    masking, now = Noise(amount=0.25)(values, mask, key)
    assert now.visible.all() and (masking[:, :3] == 1).all()
    assert abs(float((masking[:, 3:] == 0).double().mean()) - 0.25) < 0.02
    gaussian, _ = Noise(kind="gaussian", amount=0.5)(values, mask, key)
    assert abs(float(gaussian[:, 3:].std()) - 0.5) < 0.02 and abs(float(gaussian[:, 3:].mean()) - 1) < 0.02
    salt, _ = Noise(kind="salt_pepper", amount=0.5, extremes=(-3.0, 4.0))(values, mask, key)
    assert set(salt[:, 3:].unique().tolist()) == {-3.0, 1.0, 4.0}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: KeepOrReplace(vocabulary=10, hide=0.8, keep=0.3, replace=0.1),
        lambda: KeepOrReplace(vocabulary=5),
        lambda: Noise(amount=0.0),
        lambda: Noise(amount=1.5),
        lambda: Span(mean_length=0.5),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UnseenError):
        wrong()
