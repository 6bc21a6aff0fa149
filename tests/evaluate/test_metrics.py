"""Metrics against torchmetrics on random cases, against slow loops, and against pinned cases."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from unseen.errors import UnseenError
from unseen.evaluate.metrics import (
    Counts,
    accuracy,
    compute,
    confusion,
    iou,
    mean_iou,
    recall,
    small_objects,
    total,
)


@given(st.integers(0, 10**6))
def test_agrees_with_torchmetrics(seed):
    draw = np.random.default_rng(seed)
    truth, prediction = draw.integers(0, 4, (3, 7, 5)), draw.integers(0, 5, (3, 7, 5))  # class 4 is never true
    truth[draw.random(truth.shape) < 0.2] = 255
    if (truth == 255).all():
        return
    counts = confusion(prediction, truth, 6)  # class 5 never occurs
    p, t = torch.from_numpy(prediction), torch.from_numpy(truth)
    assert accuracy(counts) == pytest.approx(float(multiclass_accuracy(p, t, 6, average="micro", ignore_index=255)))
    per_class = multiclass_jaccard_index(p, t, 6, average="none", ignore_index=255)
    assert np.nan_to_num(iou(counts)) == pytest.approx(per_class.numpy(), abs=1e-6)
    macro = multiclass_jaccard_index(p, t, 6, average="macro", ignore_index=255)
    assert mean_iou(counts, "union") == pytest.approx(float(macro), abs=1e-6)


def test_mean_iou_conventions_differ_as_named():
    counts = np.array([[6, 2, 0, 0], [0, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0]])  # class 1 predicted only, 3 nowhere
    assert mean_iou(counts, "truth") == pytest.approx((0.75 + 1) / 2)
    assert mean_iou(counts, "union") == pytest.approx((0.75 + 0 + 1) / 3)
    assert mean_iou(counts, "all") == pytest.approx((0.75 + 0 + 1 + 0) / 4)


def test_pinned_grid():
    truth, prediction = np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 0, 0], [1, 0, 0]])
    counts = confusion(prediction, truth, 2)
    assert iou(counts)[1] == pytest.approx(1 / 3, abs=1e-12)
    assert recall(counts).tolist() == [0.75, 0.5]


def test_pooled_iou_is_not_the_mean_over_logs():
    logs = np.array([[[0, 10], [0, 90]], [[0, 0], [9, 1]]])  # (TP, FP, FN) of class 1: (90, 10, 0), (1, 0, 9)
    assert iou(logs.sum(axis=0))[1] == pytest.approx(91 / 110, abs=1e-12)
    assert iou(logs)[:, 1].mean() == pytest.approx(0.5, abs=1e-12)


def test_undefined_is_left_out_and_never_zero():
    nothing = np.zeros((3, 3))
    assert np.isnan(iou(nothing)).all()
    assert np.isnan(mean_iou(nothing, "truth"))
    assert np.isnan(compute(Counts(nothing, np.zeros((3, 2))))["small_recall"])


def test_confusion_refuses_a_class_outside_the_list():
    with pytest.raises(UnseenError, match="class 7"):
        confusion(np.array([0]), np.array([7]), 3)
    with pytest.raises(UnseenError, match="prediction holds class -1"):
        confusion(np.array([-1]), np.array([0]), 3)


def test_small_objects():
    truth = np.zeros((9, 12), dtype=np.uint8)
    truth[1:3, 1:3] = 2  # 4 px: half of it is found
    truth[5, 5], truth[6, 6] = 2, 2  # touch at a corner: one object of 2 px, none of it found
    truth[0:5, 8:12] = 2  # 20 px: not small
    truth[8, 0] = 2  # 1 px: below the smallest
    truth[8, 8:11] = 1  # another class, not asked for
    prediction = np.zeros_like(truth)
    prediction[1, 1:3] = 2
    prediction[0:5, 8:12] = 2
    counts = small_objects(prediction, truth, 3, (2,), below_px=20, above_px=2)
    assert counts.tolist() == [[0, 0], [0, 0], [1, 2]]
    stricter = small_objects(prediction, truth, 3, (2,), below_px=20, above_px=2, share=0.6)
    assert stricter[2].tolist() == [0, 2]


def test_counts_of_parts_add_up_to_the_counts_of_all():
    draw = np.random.default_rng(0)
    truth, prediction = draw.integers(0, 3, (4, 6, 5)), draw.integers(0, 3, (4, 6, 5))
    parts = np.stack([confusion(p, t, 3) for p, t in zip(prediction, truth, strict=True)])
    frames = Counts(parts, np.zeros((4, 3, 2)))
    assert (total(frames).confusion == confusion(prediction, truth, 3)).all()
    twice_the_first = total(frames, np.array([[2.0, 0, 0, 0]]))
    assert (twice_the_first.confusion[0] == 2 * parts[0]).all()
