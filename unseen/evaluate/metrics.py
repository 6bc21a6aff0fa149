"""Metrics as pure functions: update -> sufficient statistics -> compute, so that frames, logs and shards just add up.

A ratio whose denominator is zero is undefined: it is NaN in these arrays, left out of every mean, and null in a file.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from unseen.data.cameras import IGNORE
from unseen.errors import UnseenError

Numbers = np.ndarray | np.number  # arrays; numpy hands out a number where no axis is left
Over = Literal["truth", "union", "all"]


class Counts(NamedTuple):
    """All that the metrics need of some frames. Leading axes (frames, logs, bootstrap draws) are free; sums merge."""

    confusion: Float64[np.ndarray, "*L K K"]  # pixels or frames: rows are the truth, columns the prediction
    objects: Float64[np.ndarray, "*L K 2"]  # small objects of each class: found, present


def confusion(
    prediction: Integer[np.ndarray, "*S"], truth: Integer[np.ndarray, "*S"], n_classes: int, ignore: int = IGNORE
) -> Int64[np.ndarray, "K K"]:
    """Count pairs (truth, prediction); places where the truth is `ignore` count nothing.

    >>> confusion(np.array([1, 0, 0]), np.array([1, 1, 255]), n_classes=2)
    array([[0, 0],
           [1, 1]])
    """
    known = truth != ignore
    rows, columns = truth[known].astype(np.int64), prediction[known].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and (values.min() < 0 or values.max() >= n_classes):
            raise UnseenError(
                f"the {name} holds class {int(values.max() if values.max() >= n_classes else values.min())}",
                f"classes run from 0 to {n_classes - 1}; {ignore} is ignored",
                "correct the class list or the labels",
            )
    return np.bincount(rows * n_classes + columns, minlength=n_classes**2).reshape(n_classes, n_classes)


def small_objects(
    prediction: Integer[np.ndarray, "H W"],
    truth: Integer[np.ndarray, "H W"],
    n_classes: int,
    small: tuple[int, ...],
    *,
    below_px: int,
    above_px: int = 1,
    share: float = 0.5,
) -> Int64[np.ndarray, "K 2"]:
    """Count the small objects of one frame: (found, present) per class.

    An object is a connected component (8 neighbours) of a class in `small` whose area lies in [above_px, below_px); it
    is found when at least `share` of its pixels are predicted as its class.
    """
    from scipy import ndimage

    counts = np.zeros((n_classes, 2), dtype=np.int64)
    for c in small:
        component, n = ndimage.label(truth == c, structure=np.ones((3, 3)))
        if n == 0:
            continue
        area = np.bincount(component.ravel(), minlength=n + 1)[1:]
        hit = np.bincount(component[prediction == c].ravel(), minlength=n + 1)[1:]
        counted = (area >= above_px) & (area < below_px)
        counts[c] = (counted & (hit >= share * area)).sum(), counted.sum()
    return counts


def total(counts: Counts, weight: Float64[np.ndarray, "*D L"] | None = None) -> Counts:
    """Sum over the first axis; `weight` says how often each member counts (one row per bootstrap draw)."""
    if weight is None:
        return Counts(counts.confusion.sum(axis=0), counts.objects.sum(axis=0))
    return Counts(*(np.tensordot(weight, part, axes=([-1], [0])) for part in counts))


def iou(confusion: np.ndarray) -> Numbers:
    """Intersection over union per class [..., K]; undefined where a class is neither true nor predicted."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(hit, confusion.sum(axis=-1) + confusion.sum(axis=-2) - hit)


def recall(confusion: np.ndarray) -> Numbers:
    """Share of each class's true pixels that are predicted right [..., K]; undefined for an absent class."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def mean_iou(confusion: np.ndarray, over: Over) -> Numbers:
    """Mean IoU [...] over the classes of the truth, of truth or prediction ("union", as torchmetrics), or all.

    "all" counts a class that never occurs as 0; "truth" leaves out a class that is only predicted (its false positives
    still cost the classes that they cover).
    """
    values = iou(confusion)
    if over == "all":
        return np.nan_to_num(values, nan=0.0).mean(axis=-1)
    if over == "truth":
        values = np.where(confusion.sum(axis=-1) > 0, values, np.nan)
    return defined_mean(values)


def accuracy(confusion: np.ndarray) -> Numbers:
    """Share of all counted pixels (or frames: top-1) that are right [...]."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-1, -2)))


def compute(counts: Counts, over: Over = "truth") -> dict[str, Numbers]:
    """Every scalar metric of the counts, by name [...]."""
    found, present = counts.objects.sum(axis=-2)[..., 0], counts.objects.sum(axis=-2)[..., 1]
    return {
        "miou": mean_iou(counts.confusion, over),
        "accuracy": accuracy(counts.confusion),
        "class_recall": defined_mean(recall(counts.confusion)),
        "small_recall": _ratio(found, present),
    }


def _ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def defined_mean(values: Numbers) -> Numbers:
    """Mean over the last axis of what is defined; undefined where nothing is."""
    return _ratio(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))
