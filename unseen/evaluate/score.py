"""One probe on one feature maker: fit on training logs, count on test logs, once per outer fold."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unseen.data.cameras import IGNORE
from unseen.errors import UnseenError
from unseen.evaluate.attentive import fit_attentive
from unseen.evaluate.features import Frozen, Source, label_images, one_hot, pool, unit_shares
from unseen.evaluate.folds import Fold, class_draws, folds, frame_draws, inner_folds, log_draws, thinned
from unseen.evaluate.intervals import aggregated
from unseen.evaluate.linear import Examples, Model, Score, fit_logistic, fit_ridge
from unseen.evaluate.metrics import Counts, Over, accuracy, compute, confusion, mean_iou, small_objects
from unseen.evaluate.neighbours import fit_neighbours
from unseen.evaluate.probes import Attentive, Classify, Dense, Scored

FITS: dict[str, Callable[..., Any]] = {"ridge": fit_ridge, "logistic": fit_logistic, "knn": fit_neighbours}
OF_FRAMES = Classify | Attentive  # one class a frame


@dataclass(frozen=True)
class Plan:
    """A probe with its frames, labels and outer folds: the same for every feature maker."""

    probe: Scored
    names: tuple[str, ...]
    small: tuple[int, ...]
    indices: np.ndarray  # [F] samples of the source, ascending
    log_of: np.ndarray  # [F] str
    labels: np.ndarray  # [F, H, W] uint8, or [F] int64 for one class a frame
    folds: list[Fold]

    @cached_property
    def tested(self) -> tuple[str, ...]:
        return tuple(sorted(log for fold in self.folds for log in fold.test))

    @cached_property
    def is_tested(self) -> np.ndarray:
        return np.isin(self.log_of, self.tested)

    @property
    def over(self) -> Over:
        return getattr(self.probe, "over", "truth")

    @property
    def ids(self) -> range:
        return range(len(self.names))

    def reports(self, metric: str) -> bool:
        """Which of the metrics this kind of probe has."""
        return metric in (("accuracy", "class_recall") if self.labels.ndim == 1 else compute(self.empty(1)))

    def empty(self, n: int) -> Counts:
        k = len(self.names)
        return Counts(np.zeros((n, k, k)), np.zeros((n, k, 2)))

    def by_log(self, frames: Counts) -> Counts:
        """Sum counts per frame [F, ...] to counts per test log [L, ...]."""
        own = [self.log_of == log for log in self.tested]
        return Counts(*(np.stack([part[mask].sum(axis=0) for mask in own]) for part in frames))

    def confuse(self, place: int, prediction: np.ndarray) -> np.ndarray:
        """Confusion [K, K] of one frame."""
        return confusion(prediction, np.atleast_1d(self.labels[place]), len(self.names), IGNORE)

    def find(self, place: int, prediction: np.ndarray) -> np.ndarray:
        """Small objects [K, 2] of one frame: found, present."""
        truth, n_classes = self.labels[place], len(self.names)
        if not isinstance(self.probe, Dense):
            return np.zeros((n_classes, 2))
        below, above = int(self.probe.small_share * truth.size), self.probe.small_px
        return small_objects(prediction, truth, n_classes, self.small, below_px=below, above_px=above)


def prepare(probe: Scored, source: Source, split: Mapping[str, str], classes: Any, batch: int) -> Plan:
    """Collect the labelled frames of the logs that the probe uses. `classes` has names, ignore and small.

    UnseenError where no frame has such labels, or a small class does not exist.
    """
    roles = ("probe", "test") if probe.protocol == "split" else ("probe", "val", "test")
    role_of = np.array([split.get(log, "") for log in source.log_ids])[source.log_of]
    place = np.flatnonzero(np.isin(role_of, roles) & source.labelled(probe.labels))
    indices = place[thinned(source.log_of[place], probe.every, probe.most_frames)]
    if not len(indices):
        raise UnseenError(
            f"probe {probe.name!r} finds no frame with labels of kind {probe.labels!r}",
            f"it uses logs with roles {', '.join(roles)}",
            "split the store so that labelled logs have these roles, or name another: --data LABELLED --split NAME",
        )
    names = tuple(name for i, name in enumerate(classes.names) if i != classes.ignore)
    new_id = np.array(
        [names.index(n) if n in names else IGNORE for n in classes.names] + [IGNORE] * 256, dtype=np.uint8
    )
    if isinstance(probe, OF_FRAMES):
        labels = np.array([new_id[source.class_label(int(i))] for i in indices], dtype=np.int64)
    else:
        labels = new_id[label_images(source, indices, batch)]
    small = tuple(getattr(probe, "small", ())) or tuple(classes.small)
    if unknown := sorted(set(small) - set(names)):
        raise UnseenError(f"small classes {unknown} of {probe.name!r} do not exist", f"classes: {', '.join(names)}")
    logs = np.array([source.log_ids[i] for i in source.log_of[indices]])
    outer = folds(probe.protocol, dict(split), sorted(set(logs.tolist())))
    return Plan(probe, names, tuple(sorted(names.index(name) for name in small)), indices, logs, labels, outer)


def score(plan: Plan, frozen: Frozen, seed: int) -> tuple[Counts, list[float]]:
    """Counts per frame [F, ...] (zero where no fold tests it), and what was chosen in each fold."""
    probe, (x, h) = plan.probe, table(plan, frozen)
    assert isinstance(probe, Dense | OF_FRAMES)
    fit = partial(fit_attentive, probe=probe, seed=seed) if isinstance(probe, Attentive) else FITS[probe.classifier]
    counts, chosen = plan.empty(len(plan.indices)), []
    for fold in plan.folds:
        learn = np.isin(plan.log_of, fold.learn)
        examples = (
            Examples(x, h, np.zeros(len(x), dtype=int)).inside(learn)._replace(fold=inner_folds(plan.log_of[learn]))
        )
        if isinstance(probe, Dense) and probe.classifier == "logistic":
            keep = checkerboard(frozen.grid, probe.unit_stride)
            examples = Examples(examples.x[:, keep], examples.h[:, keep], examples.fold)
        model = fit(examples, probe.tau, criterion(plan))
        chosen.append(float(model.chosen))
        count_fold(plan, fold.test, x, frozen.grid, model, counts)
    return counts, chosen


def table(plan: Plan, frozen: Frozen) -> tuple[Float[Tensor, "F N D"], Float[Tensor, "F N K"]]:
    """Features and label shares of the units; a frame-level probe has one unit a frame, or looks at them all."""
    if isinstance(plan.probe, Attentive):
        return frozen.units, one_hot(plan.labels, len(plan.names))
    if isinstance(plan.probe, Classify):
        return pool(frozen, plan.probe.pool)[:, None], one_hot(plan.labels, len(plan.names))
    return frozen.units, unit_shares(plan.labels, frozen.grid, len(plan.names))


def criterion(plan: Plan) -> Score:
    """The probe's own metric, taken on units: what the inner folds choose by."""
    if isinstance(plan.probe, OF_FRAMES):
        return lambda c: float(accuracy(c))
    return lambda c: float(mean_iou(c, plan.over))


def checkerboard(grid: tuple[int, int], stride: int) -> Tensor:
    """Indices of every n-th unit, shifted by one from row to row."""
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return ((row + column) % stride == 0).flatten().nonzero()[:, 0]


def count_fold(
    plan: Plan,
    logs: Collection[str],
    x: Tensor,
    grid: tuple[int, int],
    model: Model,
    counts: Counts,
    objects: bool = True,
) -> None:
    """Predict the frames of `logs` and write their counts into their places."""
    places = np.flatnonzero(np.isin(plan.log_of, list(logs)))
    for place, prediction in zip(places.tolist(), _predictions(plan, x, places, grid, model), strict=True):
        counts.confusion[place] = plan.confuse(place, prediction)
        if objects:
            counts.objects[place] = plan.find(place, prediction)


def _predictions(
    plan: Plan, x: Tensor, places: np.ndarray, grid: tuple[int, int], model: Model
) -> Iterator[np.ndarray]:
    for start in range(0, len(places), 32):
        scores = model(x[torch.from_numpy(places[start : start + 32])])
        if plan.labels.ndim == 1:
            yield from scores.argmax(dim=2).numpy()[:, 0, None]
        else:
            yield from upsampled(scores, grid, plan.labels.shape[1:]).numpy()


def upsampled(scores: Float[Tensor, "B N K"], grid: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """Class of every pixel [B, H, W] from scores per unit, interpolated bilinearly."""
    maps = scores.mT.unflatten(2, grid)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).argmax(dim=1)


def few_label_curve(plan: Plan, name: str, frozen: Frozen, seed: int) -> list[dict[str, Any]]:
    """Ridge with a fixed penalty on few logs, or few frames: the same nested draws for every encoder."""
    probe, (x, h) = plan.probe, table(plan, frozen)
    assert isinstance(probe, Dense | Classify)
    curves: dict[tuple[str, int], list[float]] = {}
    for draw in range(probe.few_draws):
        for key, learns in few_draws(plan, draw, seed).items():
            if len(learns) == len(plan.folds):  # a budget that some fold does not have is no point of the curve
                curves.setdefault(key, []).append(_few(plan, x, h, frozen.grid, learns))
    everything = [np.isin(plan.log_of, fold.learn) for fold in plan.folds]
    full = ("budget_logs", min(len(fold.learn) for fold in plan.folds))
    if curves:
        curves[full] = [_few(plan, x, h, frozen.grid, everything)]
    return [
        {
            "features": name,
            budget: n,
            "draws": values,
            "mean": float(np.mean(values)),
            "low": min(values),
            "high": max(values),
            "spread": "range of the draws" if len(values) > 1 else "all training logs",
        }
        for (budget, n), values in sorted(curves.items())
    ]


def few_draws(plan: Plan, draw: int, seed: int) -> dict[tuple[str, int], list[np.ndarray]]:
    """Which frames [F] bool each outer fold learns from, by budget."""
    probe = plan.probe
    learns: dict[tuple[str, int], list[np.ndarray]] = {}
    assert isinstance(probe, Dense | Classify)
    for fold in plan.folds:
        own = np.isin(plan.log_of, fold.learn)
        unit, by_log = "budget_logs", log_draws(fold.learn, probe.few_logs, seed, draw)
        if isinstance(probe, Classify) and probe.few_per_class:
            class_of = {log: int(plan.labels[plan.log_of == log][0]) for log in fold.learn}
            unit, by_log = "budget_logs_per_class", class_draws(fold.learn, class_of, probe.few_logs, seed, draw)
        for budget, logs in by_log:
            learns.setdefault((unit, budget), []).append(np.isin(plan.log_of, logs))
        for budget, frames in frame_draws(plan.log_of[own], probe.few_frames, seed, draw):
            mask = np.zeros(len(own), dtype=bool)
            mask[np.flatnonzero(own)[frames]] = True
            learns.setdefault(("budget_frames", budget), []).append(mask)
    return learns


def _few(plan: Plan, x: Tensor, h: Tensor, grid: tuple[int, int], learns: list[np.ndarray]) -> float:
    probe, counts = plan.probe, plan.empty(len(plan.indices))
    assert isinstance(probe, Dense | Classify)
    for fold, learn in zip(plan.folds, learns, strict=True):
        examples = Examples(x, h, np.zeros(len(x), dtype=int)).inside(learn)
        model = fit_ridge(examples, probe.tau, criterion(plan), alphas=(probe.few_alpha,))
        count_fold(plan, fold.test, x, grid, model, counts, objects=False)
    return aggregated(lambda c: compute(c, plan.over)[probe.primary], plan.by_log(counts), probe.aggregate)
