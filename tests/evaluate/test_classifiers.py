"""Ridge, logistic regression and kNN against scikit-learn, and the choice of their penalties."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from unseen.errors import UnseenError
from unseen.evaluate.linear import (
    Examples,
    best_of,
    class_weights,
    descend,
    fit_logistic,
    fit_ridge,
    moments,
    solve,
    unit_confusion,
)
from unseen.evaluate.metrics import accuracy
from unseen.evaluate.neighbours import fit_neighbours, vote


def problem(frames=30, units=4, dims=7, n_classes=3, seed=0):
    """Soft labels that depend linearly on the features; columns of very different scale, one constant."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((frames, units, dims))
    logits = x @ draw.standard_normal((dims, n_classes))
    h = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    h = h * (draw.random((frames, units, 1)) < 0.9) * draw.uniform(0.5, 1, (frames, units, 1))  # partly unlabelled
    x = x * 10.0 ** np.arange(-3, dims - 3) + 5
    x[..., 2] = 1.25
    fold = np.arange(frames) % 3
    return Examples(torch.from_numpy(x).float(), torch.from_numpy(h).float(), fold)


def flat(examples, weight):
    """Rows for scikit-learn: standardised by weighted training statistics, in float64."""
    x, h = examples.x.flatten(0, 1).double().numpy(), (examples.h.flatten(0, 1) * weight).double().numpy()
    w = h.sum(axis=1)
    mean = (w @ x) / w.sum()
    std = np.sqrt(w @ (x - mean) ** 2 / w.sum())
    z = (x - mean) / np.where(std > 1e-6, std, np.inf)
    return x, z, h, w


def test_class_weights_follow_frequency():
    h = torch.tensor([[[0.5, 0.5, 0.0, 0.0]], [[0.75, 0.0, 0.25, 0.0]]])
    weight = class_weights(h, 0.5)
    assert weight[3] == 0
    assert float(weight[1] / weight[0]) == pytest.approx((1.25 / 0.5) ** 0.5)
    assert float((weight * h.sum(dim=(0, 1))).sum() / h.sum()) == pytest.approx(1)
    assert (class_weights(h, 0.0)[:3] == 1).all()


@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_ridge_agrees_with_sklearn(alpha):
    examples = problem()
    weight = class_weights(examples.h, 0.5)
    model = next(solve(moments(examples.x, examples.h, weight), [alpha]))
    x, z, h, w = flat(examples, weight)
    y = h / np.where(w > 0, w, 1)[:, None]
    reference = Ridge(alpha=alpha * w.sum()).fit(z, y, sample_weight=w)
    assert model(torch.from_numpy(x)).numpy() == pytest.approx(reference.predict(z), abs=2e-4)


def test_moments_of_parts_add_up():
    examples = problem()
    weight = class_weights(examples.h, 0.5)
    whole = moments(examples.x, examples.h, weight)
    parts = [moments(*examples.inside(examples.fold == f)[:2], weight) for f in range(3)]
    for a, b in zip(parts[0] + parts[1] + parts[2], whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-12)


def test_one_eigendecomposition_serves_all_penalties():
    examples = problem()
    sums = moments(examples.x, examples.h, class_weights(examples.h, 0.0))
    for alpha, model in zip((1e-2, 10.0), solve(sums, (1e-2, 10.0)), strict=True):
        assert torch.equal(model.weight, next(solve(sums, [alpha])).weight)
    assert (model.weight[2] == 0).all()  # the constant column


def test_logistic_agrees_with_sklearn():
    examples, l2 = problem(frames=60), 1e-2
    weight = class_weights(examples.h, 0.5)
    model = next(descend(examples, weight, [l2], iterations=300))
    x, _, h, w = flat(examples, weight)
    x, h = x[w > 0], h[w > 0]
    std = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(std > 1e-6, std, np.inf)
    n, k = h.shape  # soft labels: every row once per class, weighted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = LogisticRegression(C=1 / (l2 * h.sum()), tol=1e-8, max_iter=5000)
        reference.fit(np.repeat(z, k, axis=0), np.tile(np.arange(k), n), sample_weight=h.ravel())
    ours = model(torch.from_numpy(x)).softmax(dim=1).numpy()
    assert ours == pytest.approx(reference.predict_proba(z), abs=5e-3)


def test_forty_iterations_are_enough_for_the_same_calls():
    examples = problem(frames=60)
    weight = class_weights(examples.h, 0.5)
    short, long = (next(descend(examples, weight, [1e-3], n))(examples.x).argmax(dim=2) for n in (40, 400))
    assert float((short == long).float().mean()) > 0.98


def test_penalty_is_chosen_on_the_fold_that_was_left_out():
    """More dimensions than frames: the weakest penalties interpolate the noise, and inner folds must see that."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(640, 1, 300, generator=draw)
    label = (x[:, 0, :20].sum(dim=1) + 3 * torch.randn(640, generator=draw) > 0).long()
    examples = Examples(x, torch.nn.functional.one_hot(label, 2).float()[:, None], np.arange(640) % 4)
    learn, test = examples.inside(np.arange(640) < 240), examples.inside(np.arange(640) >= 240)

    def score(c):
        return float(accuracy(c))

    chosen, weak = fit_ridge(learn, 0.0, score), fit_ridge(learn, 0.0, score, alphas=(1e-6,))
    right = [score(unit_confusion(model(test.x), test.h)) for model in (chosen, weak)]
    assert chosen.chosen >= 0.1
    assert right[0] > right[1] + 0.03


def test_ties_take_the_middle():
    assert best_of([0.1, 0.5, 0.5, 0.5, 0.2]) == 2
    assert best_of([0.5, 0.5]) == 0


def test_unit_confusion_spreads_the_area():
    h = torch.tensor([[[0.75, 0.25], [0.0, 0.5]]])
    scores = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert unit_confusion(scores, h).tolist() == [[0.75, 0.0], [0.25, 0.5]]


def test_all_fits_are_repeatable():
    examples = problem()
    for fit in (fit_ridge, fit_logistic):
        one, two = (fit(examples, 0.5, lambda c: float(accuracy(c))) for _ in range(2))
        assert torch.equal(one.weight, two.weight) and one.chosen == two.chosen


def test_pinned_votes():
    similarity, label = torch.tensor([1, 0.93, 0.86]), torch.tensor([0, 1, 1])
    assert vote(similarity, label, 2, k=3, temperature=0.07).tolist() == pytest.approx([1, 0.5032], abs=1e-4)
    assert vote(similarity, label, 2, k=3, temperature=0.5)[1] == pytest.approx(1.6251, abs=1e-4)


def test_knn_agrees_with_sklearn():
    examples = problem(frames=40, units=1)
    hard = torch.nn.functional.one_hot(examples.h.argmax(dim=2), 3).float()
    examples = examples._replace(h=hard)
    model = fit_neighbours(examples, 0.0, lambda c: float(accuracy(c)), ks=(5,))
    x = examples.x[:, 0].double().numpy()
    std = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(std > 1e-6, std, np.inf)
    reference = KNeighborsClassifier(5, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    reference.fit(z, hard[:, 0].argmax(dim=1).numpy())
    votes = model(examples.x)[:, 0]
    assert (votes / votes.sum(dim=1, keepdim=True)).numpy() == pytest.approx(reference.predict_proba(z), abs=1e-4)


def test_knn_refuses_class_weights():
    with pytest.raises(UnseenError, match="tau"):
        fit_neighbours(problem(units=1), 0.5, lambda c: float(accuracy(c)))
