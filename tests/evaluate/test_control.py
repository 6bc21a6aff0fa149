"""The permutation control stays at chance where nothing leaks, and rings where something does."""

from dataclasses import replace

import numpy as np
import pytest

from unseen.codec import from_json, to_json
from unseen.errors import UnseenError
from unseen.evaluate.control import check_permuted, independent, permuted
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.features import extract
from unseen.evaluate.floors import HandMade, RawPixels
from unseen.evaluate.folds import Fold
from unseen.evaluate.metrics import Counts, accuracy, iou
from unseen.evaluate.probes import Classify, Dense, Permuted
from unseen.evaluate.score import prepare

FRAME = Classify(name="side", classifier="knn")
DENSE = Dense(name="seg", classifier="ridge", aggregate="sum")
MADE = HandMade(unit_px=(4, 4), windows=(3,))


@pytest.fixture
def ready(source, classes, split):
    def prepared(probe, maker=MADE):
        plan = prepare(probe, source, split, classes[probe.labels], 16)
        return plan, extract("subject", maker, source, plan.indices, 16)

    return prepared


@pytest.mark.parametrize("probe", [FRAME, DENSE])
def test_labels_of_other_logs_are_at_chance_and_a_leak_is_not(ready, probe):
    plan, frozen = ready(probe)
    control = Permuted(name="null", of=probe, shuffles=8)
    fair = check_permuted(control, plan, frozen, seed=0)
    assert not fair["alarm"] and abs(fair["above"]) < 3 * fair["spread"]
    everything = tuple(sorted(set(plan.log_of)))
    leaky = replace(plan, folds=[Fold(everything, fold.test) for fold in plan.folds])  # learns from the test logs
    if probe is FRAME:
        assert check_permuted(control, leaky, frozen, seed=0)["alarm"]


def test_true_labels_are_far_above_the_chance_of_their_margins(ready):
    """What the control would say of an evaluation that learned: its chance is no excuse."""
    plan, frozen = ready(DENSE)
    from unseen.evaluate.score import score

    logs = plan.by_log(score(plan, frozen, 0)[0])
    assert np.nanmean(iou(logs.confusion.sum(0))) > 2 * np.nanmean(iou(independent(logs).confusion.sum(0)))


def test_no_log_keeps_its_labels_and_each_shuffle_is_another(ready):
    for probe in (FRAME, DENSE):
        plan, _ = ready(probe)
        shuffles = [permuted(plan, 0, number) for number in range(3)]
        assert np.array_equal(shuffles[0], permuted(plan, 0, 0))
        assert not np.array_equal(shuffles[0], shuffles[1])
        counts = [np.bincount(one.ravel().astype(int), minlength=256) for one in (plan.labels, *shuffles)]
        assert all(np.array_equal(counts[0], other) for other in counts[1:])  # logs of one length: the same labels
    marked, _ = ready(FRAME)
    own = np.unique(marked.log_of, return_inverse=True)[1]
    for number in range(20):
        assert (permuted(replace(marked, labels=own), 0, number) != own).all()


def test_chance_is_what_the_margins_give():
    confusion = np.array([[[30.0, 10], [20, 40]]])
    chance = independent(Counts(confusion, np.zeros((1, 2, 2)))).confusion
    np.testing.assert_allclose(chance, [[[20, 20], [30, 30]]])
    assert accuracy(chance)[0] == pytest.approx(0.5)
    assert not independent(Counts(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))).confusion.any()


def test_a_control_is_a_node_of_a_recipe_and_looks_at_nothing(source, classes, split, tmp_path):
    control = Permuted(name="null", of=Classify(name="side"), shuffles=3)
    assert from_json(to_json(control)) == control
    settings = {"split": split, "lineage": (), "ledger": tmp_path, "classes": classes}
    result = evaluate({"subject": RawPixels(unit_px=(4, 4))}, source, [control], **settings)
    (check,) = result["controls"]
    assert result["probes"] == [] and (check["features"], check["of"], check["shuffles"]) == ("subject", "side", 3)
    assert not (tmp_path / "evaluations.jsonl").exists()
    with pytest.raises(UnseenError, match="two shuffles"):
        Permuted(name="null", of=DENSE, shuffles=1)


def test_one_log_has_nobody_to_trade_with(ready):
    plan, _ = ready(FRAME)
    with pytest.raises(UnseenError, match="two logs"):
        permuted(replace(plan, log_of=np.full(len(plan.log_of), "a")), 0, 0)
