"""What a model completes on held-out logs, beside what needs no model: exact sums, paired by log."""

import json

import numpy as np
import pytest
import torch

from unseen.contract import Clip, MaskedModel
from unseen.evaluate.completion import BATCH, completion, log_sums, summary, training_means
from unseen.masks import Random
from unseen.systems.baselines import predictions
from unseen.systems.objective import Objective, Term, sample_keys, unit_weights
from unseen.targets import Pixels, TokenIds
from unseen.units import Fixed, Patches, Tokens

N_LOGS = 22
GOAL = Objective(normalise=Fixed(), unit=Patches(size=(4, 4)), mask=Random(), targets={"p": Term(target=Pixels())})
WORDS = Objective(
    normalise=None, unit=Tokens(), mask=Random(ratio=0.3), targets={"t": Term(target=TokenIds(vocabulary=9))}
)


class Drives:
    """Two frames a log, the second a little shifted."""

    def __len__(self):
        return 2 * N_LOGS

    def frames(self, indices, *, previous=False, labels=False):
        image = (torch.rand(N_LOGS, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
        image = torch.stack([image, image.roll(1, dims=3)], dim=1).flatten(0, 1)
        index = torch.as_tensor(indices)
        before = torch.where(index % 2 == 1, index - 1, index)
        past = Clip(previous=image[before], previous_there=before != index) if previous else Clip()
        return Clip(image=image[index], sample_id=index, log_id=names(index)) | past


class Reports(Drives):
    """Two rows of words a log, most of them the same word."""

    def frames(self, indices, *, previous=False, labels=False):
        draw = torch.rand(2 * N_LOGS, 12, generator=torch.Generator().manual_seed(0))
        index, token = torch.as_tensor(indices), (draw * 9).long() * (torch.arange(12) % 3 == 0)
        return Clip(token=token[index], sample_id=index, log_id=names(index))


def names(index):
    return [f"log-{number // 2}" for number in index.tolist()]


class Same(MaskedModel):
    """Predicts what it was told, everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x_visible, visible_mask, target_mask, metadata=None):
        most = {name: int(mask.sum(dim=1).max()) for name, mask in target_mask.items()}
        return {name: self.value.expand(len(x_visible), n, *self.value.shape) for name, n in most.items()}


@pytest.fixture
def found():
    return completion(Same(torch.zeros(4, 4, 3)), GOAL, Drives(), Drives())["p"]


def test_losses_equal_a_loop_over_samples(found):
    total, units = {}, 0.0
    for start in range(0, 2 * N_LOGS, BATCH):
        clip = Drives().frames(range(start, min(start + BATCH, 2 * N_LOGS)), previous=True)
        batch = GOAL.batch(clip, sample_keys(clip, 0, 0, "completion"))
        weight = unit_weights(batch)["p"]
        units += float(weight.sum())
        for kind, made in predictions(GOAL, batch, clip).items():
            total[kind] = total.get(kind, 0.0) + float((GOAL.losses(made, batch)["p"] * weight).sum())
    assert found["losses"].keys() == {"model", "training mean", "null", "mean", "neighbour", "previous"}
    for kind, value in total.items():
        assert found["losses"][kind] == pytest.approx(value / units, rel=1e-5)
    assert found["losses"]["model"] == pytest.approx(found["losses"]["null"], rel=1e-6)
    assert found["n_logs"] == N_LOGS and found["units"] == pytest.approx(units)


def test_a_model_like_a_baseline_differs_from_it_in_no_log(found):
    same = found["against"]["null"]
    assert same["difference"] == same["low"] == same["high"] == same["logs_ahead"] == 0
    ahead = found["against"]["neighbour"]
    assert ahead["difference"] == pytest.approx(found["losses"]["model"] - found["losses"]["neighbour"])
    assert ahead["low"] < ahead["difference"] < ahead["high"] and "22 logs" in ahead["method"]
    json.dumps(found, allow_nan=False)


def test_words_have_perplexities_and_no_past():
    found = completion(Same(torch.zeros(9)), WORDS, Reports(), Reports())["t"]
    assert found["perplexity"]["model"] == pytest.approx(9, rel=1e-5)
    assert found["losses"].keys() == {"model", "training mean", "null", "mean", "neighbour"}
    assert found["against"]["training mean"]["low"] > 0 == found["against"]["training mean"]["logs_ahead"]


def test_the_interval_follows_the_number_of_logs():
    draw = np.random.default_rng(0)
    for n_logs, word in ((4, "too few"), (5, "Student"), (20, "bootstrap")):
        sums = {"units": np.full(n_logs, 3.0), "model": draw.random(n_logs), "mean": 1 + draw.random(n_logs)}
        one = summary(sums, of_ids=False, seed=0)["against"]["mean"]
        assert word in one["method"] and (one["low"] is None) == (n_logs < 5) and one["logs_ahead"] == n_logs
        assert one["low"] is None or one["low"] < one["difference"] < one["high"] < 0


def test_logs_without_a_hidden_unit_say_nothing():
    sums = {"units": np.array([0.0, 4.0]), "model": np.array([0.0, 2.0]), "mean": np.array([0.0, 4.0])}
    one = summary(sums, of_ids=False, seed=0)
    assert one["n_logs"] == 1 and one["losses"] == {"model": 0.5, "mean": 1.0}
    assert summary({kind: value[:1] for kind, value in sums.items()}, of_ids=False, seed=0)["losses"] == {}


def test_a_training_in_which_no_unit_counts_means_nothing_known():
    class Flat(Drives):
        def frames(self, indices, *, previous=False, labels=False):
            return Clip(**super().frames(indices, previous=previous) | {"image": torch.zeros(len(indices), 3, 16, 24)})

    [mean] = training_means(GOAL, Flat(), 4, 0).values()
    assert torch.equal(mean.prediction, torch.zeros(4, 4, 3))


def test_a_batch_without_a_past_counts_its_neighbours():
    parts = [{"units": np.ones(2), "neighbour": np.array([1.0, 2.0])}]
    parts += [{"units": np.ones(1), "neighbour": np.array([3.0]), "previous": np.array([0.5])}]
    sums = log_sums(parts, np.array([0, 1, 1]))
    assert sums["previous"].tolist() == [1.0, 2.5] and sums["units"].tolist() == [1, 2]
