"""The evaluation as a whole: no leaks, same draws for every encoder, paired rows, plain JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from unseen.errors import UnseenError
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.features import Source, pool, unit_shares
from unseen.evaluate.floors import HandMade, RawPixels
from unseen.evaluate.folds import class_draws, folds, frame_draws, inner_folds, log_draws, thinned
from unseen.evaluate.ledger import looks, split_id
from unseen.evaluate.probes import Classify, Dense, FineTune, spec_hash
from unseen.evaluate.score import checkerboard, upsampled
from unseen.systems.encode import Features

RAW, MADE = RawPixels(unit_px=(4, 4)), HandMade(unit_px=(4, 4), windows=(3,))
DENSE = Dense(
    name="seg", classifier="ridge", few_logs=(1, 2), few_frames=(5,), few_draws=2, small_share=0.2, small_px=1
)
FRAME = Classify(name="side", few_logs=(1, 3), few_draws=2)


def shuffled_labels(image):
    """Features that know nothing: of the size of the frame only."""
    n = len(image)
    return Features(torch.zeros(n, 2), torch.zeros(n, 24, 2), (4, 6))


@pytest.fixture
def judge(source, classes, split, tmp_path):
    def run(makers=None, probes=(DENSE,), **changes):
        settings = {"split": split, "lineage": (), "ledger": tmp_path, "classes": classes} | changes
        return evaluate(
            makers or {"subject": MADE, "raw pixels": RAW}, changes.pop("source", source), probes, **settings
        )

    return run


def test_a_pretraining_log_in_the_test_is_refused_before_anything_is_looked_at(judge, source, tmp_path):
    with pytest.raises(UnseenError, match="log6"):
        judge(lineage={"log6", "elsewhere"})
    assert source.asked == 40  # labels only: no maker has run
    assert not (tmp_path / "evaluations.jsonl").exists()
    judge(lineage={"log0", "log1"})  # logs to learn from may be in the pretraining


def test_leave_one_log_out_tests_every_log(judge):
    with pytest.raises(UnseenError, match="log0"):
        judge(probes=[replace(DENSE, protocol="leave-one-log-out")], lineage={"log0"})


def test_a_transductive_result_says_so(judge):
    assert judge(lineage={"log6"}, transductive=True)["probes"][0]["transductive"] == ["log6"]
    assert judge()["probes"][0]["transductive"] == []


def test_the_test_logs_choose_nothing(judge, source, split):
    """Replace all labels of the test logs: the fitted classifier may not move, so its confusion rows just swap."""
    before = judge(probes=[DENSE, FRAME])
    source.label[torch.from_numpy(source.log_of >= 5)] = 0
    after = judge(probes=[DENSE, FRAME])
    for one, other in zip(before["probes"], after["probes"], strict=True):
        assert [row["chosen"] for row in one["rows"]] == [row["chosen"] for row in other["rows"]]
    assert before["probes"][0]["rows"][0]["metrics"] != after["probes"][0]["rows"][0]["metrics"]


def test_every_look_is_counted(judge, tmp_path, source):
    assert [judge()["probes"][0]["looks"] for _ in range(3)] == [1, 2, 3]
    assert judge(probes=[replace(DENSE, name="other", tau=1.0)])["probes"][0]["looks"] == 4  # the same test logs
    assert looks(tmp_path, split_id("seg", source.log_ids[5:])) == 4
    (tmp_path / "evaluations.jsonl").write_text("{}\n")
    with pytest.raises(UnseenError, match="line 1"):
        judge()


def test_same_input_same_numbers(judge):
    drop = ("looks",)
    one, two = ([{k: v for k, v in p.items() if k not in drop} for p in judge()["probes"]] for _ in range(2))
    assert one == two


def test_the_result_is_plain_json_and_complete(judge):
    result = json.loads(json.dumps(judge(probes=[DENSE, FRAME], registered={spec_hash(DENSE)}), allow_nan=False))
    dense, frame = result["probes"]
    assert dense["registered_before_training"] and not frame["registered_before_training"]
    assert (dense["n_logs"], dense["logs"]) == (3, ["log5", "log6", "log7"])
    subject, raw = dense["rows"]
    assert subject["interval"] is None and "3 logs are too few" in subject["interval_note"]
    assert set(subject["per_class"]) == {"sky", "road", "car", "cone"}  # void is no class
    assert set(subject["metrics"]) == {"miou", "accuracy", "class_recall", "small_recall"}
    assert set(frame["rows"][0]["metrics"]) == {"accuracy", "class_recall"}
    against = subject["against"]["raw pixels"]
    assert set(against["per_log"]) == {"log5", "log6", "log7"} and against["low"] is None
    assert against["difference"] == pytest.approx(subject["metrics"]["miou"] - raw["metrics"]["miou"])
    assert raw["against"] == {}
    assert against["inside_recordings"] is None  # five frames are one block


def test_collapse_is_reported_beside_the_scores(judge):
    found = judge({"subject": MADE, "blind": shuffled_labels})["diagnostics"]
    assert found["subject"]["effective_rank"] > 1.5 and found["subject"]["n"] > 100
    assert found["blind"]["effective_rank"] == 0 and found["blind"]["collapsed"] == found["blind"]["dimensions"] == 2
    json.dumps(found, allow_nan=False)


def test_weights_of_unknown_lineage_stand_in_the_result(judge):
    assert judge(unknown_lineage=["a.pth"])["probes"][0]["unknown_lineage"] == ["a.pth"]
    assert judge()["probes"][0]["unknown_lineage"] == []


def test_five_test_logs_get_an_interval(judge, source):
    roles = {log: "probe" if i < 3 else "test" for i, log in enumerate(source.log_ids)}
    row = judge(split=roles)["probes"][0]["rows"][0]
    assert row["interval"]["n_logs"] == 5 and row["interval"]["low"] < row["metrics"]["miou"] < row["interval"]["high"]
    difference = row["against"]["raw pixels"]
    assert difference["low"] < difference["difference"] < difference["high"]


def test_a_probe_learns_what_is_there_and_nothing_from_nothing(judge):
    rows = judge({"subject": MADE, "blind": shuffled_labels})["probes"][0]["rows"]
    assert rows[0]["metrics"]["miou"] > 0.5
    assert rows[1]["metrics"]["miou"] == pytest.approx(rows[1]["per_class"]["sky"]["iou"] / 4, abs=1e-6)


@pytest.mark.parametrize("classifier", ["ridge", "logistic", "knn"])
def test_classifiers_of_frames(judge, classifier):
    result = judge({"subject": RAW}, probes=[replace(FRAME, classifier=classifier)])["probes"][0]
    assert result["rows"][0]["classifier"] == classifier
    assert 0 <= result["rows"][0]["metrics"]["accuracy"] <= 1


def test_logistic_on_units(judge):
    row = judge({"subject": MADE}, probes=[replace(DENSE, classifier="logistic")])["probes"][0]["rows"][0]
    assert row["metrics"]["miou"] > 0.5


def test_features_that_are_not_finite_are_named(judge):
    def broken(image):
        return Features(torch.zeros(len(image), 2), torch.full((len(image), 24, 2), torch.nan), (4, 6))

    with pytest.raises(UnseenError, match="'bad'"):
        judge({"bad": broken})


def test_few_label_curve_has_the_same_budgets_for_every_maker(judge):
    curve = judge()["probes"][0]["few_label"]
    points = [(p["features"], p.get("budget_logs"), p.get("budget_frames"), len(p["draws"])) for p in curve]
    for name in ("subject", "raw pixels"):
        own = {point[1:] for point in points if point[0] == name}
        assert own == {(1, None, 2), (2, None, 2), (5, None, 1), (None, 5, 2)}
    assert all(p["low"] <= p["mean"] <= p["high"] for p in curve)


def test_draws_of_few_labels_are_nested_and_by_log():
    logs = [f"log{i}" for i in range(9)]
    seen = set()
    for draw in range(5):
        chosen = dict(log_draws(logs, (4, 1, 2, 9), seed=3, draw=draw))
        assert {budget: len(own) for budget, own in chosen.items()} == {1: 1, 2: 2, 4: 4}
        assert set(chosen[1]) < set(chosen[2]) < set(chosen[4])
        assert chosen == dict(log_draws(logs, (4, 1, 2, 9), seed=3, draw=draw))
        seen.add(chosen[4])
    assert len(seen) == 5
    class_of = {log: i % 3 for i, log in enumerate(logs)}
    for budget, own in class_draws(logs, class_of, (1, 2, 5), seed=3, draw=0):
        assert sorted(class_of[log] for log in own) == sorted([0, 1, 2] * budget)
    log_of = np.repeat(["a", "b"], [6, 9])
    drawn = dict(frame_draws(log_of, (3, 8, 99), seed=3, draw=0))
    assert [(log_of[drawn[n]] == "a").sum() for n in (3, 8)] == [2, 4] and drawn[8].sum() == 8
    assert (drawn[3] <= drawn[8]).all()


def test_folds_keep_logs_whole():
    roles = {"a": "probe", "b": "test", "c": "train", "d": "val"}
    assert folds("split", roles, ["a", "b", "c", "d"]) == [(("a",), ("b",))]
    assert [fold.test for fold in folds("leave-one-log-out", roles, ["a", "b", "c", "d"])] == [("a",), ("b",), ("d",)]
    with pytest.raises(UnseenError, match="role test"):
        folds("split", {"a": "probe"}, ["a"])
    with pytest.raises(UnseenError, match="take turns"):
        folds("leave-one-log-out", {"a": "probe"}, ["a"])
    inner = inner_folds(np.repeat(list("abcdefg"), 3))
    assert (inner.reshape(7, 3) == inner.reshape(7, 3)[:, :1]).all() and set(inner) == {0, 1, 2, 3, 4}
    assert inner_folds(np.repeat("a", 5)).tolist() == [0, 0, 0, 1, 1]


def test_long_logs_are_thinned_evenly():
    log_of = np.repeat([0, 1], [7, 3])
    assert np.flatnonzero(thinned(log_of, 1, 3)).tolist() == [0, 3, 6, 7, 8, 9]
    assert np.flatnonzero(thinned(log_of, 2, 0)).tolist() == [0, 2, 4, 6, 7, 9]


def test_unit_shares_against_a_loop():
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 2, 255], size=(2, 9, 14)).astype(np.uint8)
    shares = unit_shares(labels, (3, 7), 3)
    for f, row, column, c in ((0, 0, 0, 0), (1, 2, 6, 2), (0, 1, 3, 1)):
        patch = labels[f, row * 3 : row * 3 + 3, column * 2 : column * 2 + 2]
        assert float(shares[f, row * 7 + column, c]) == pytest.approx((patch == c).mean())


def test_upsampling_puts_units_where_they_are():
    scores = torch.zeros(1, 24, 3)
    scores[0, 7, 2] = 1.0  # row 1, column 1 of 4 x 6
    called = upsampled(scores, (4, 6), (16, 24))
    assert called[0, 6, 6] == 2 and called.float().mean() < 0.4
    assert checkerboard((2, 4), 2).tolist() == [0, 2, 5, 7]


def test_pooling_is_the_same_rule_for_all(source):
    from unseen.evaluate.features import extract

    assert isinstance(source, Source)
    frozen = extract("raw", RAW, source, np.arange(7), batch=3)
    assert torch.equal(pool(frozen, "encoder"), frozen.pooled)
    assert torch.allclose(pool(frozen, "mean+std")[:, :57], frozen.units.mean(dim=1), atol=1e-6)
    assert torch.equal(pool(frozen, "mean+max")[:, 57:], frozen.units.amax(dim=1))


def test_the_hash_sees_every_setting():
    assert spec_hash(DENSE) == spec_hash(replace(DENSE))
    assert spec_hash(DENSE) != spec_hash(replace(DENSE, few_alpha=0.04))
    assert spec_hash(Dense(name="x")) != spec_hash(Classify(name="x")) != spec_hash(FineTune(name="x"))
