"""Training curves of one run or of several, always beside the trivial baselines of the same monitor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from unseen.report.run_folder import RunFolder
from unseen.report.svg import PALETTE, Number, Series, line_chart, number

VISIBLE = ".visible"  # suffix of a loss that is taken on visible units
BASELINES = {
    "null": "predict zero",
    "mean": "mean of visible",
    "neighbour": "neighbour interpolation",
    "previous": "previous frame",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    title: str
    svg: Markup | None  # None: `note` says what is missing
    note: str = ""


def loss_charts(run: RunFolder) -> list[Chart]:
    """One chart a loss: training, monitor, baselines. Losses on visible units come last and say so.

    Beside a loss in nats stands its perplexity, without the baselines that are no better than knowing nothing, which
    would flatten the rest.
    """
    names = sorted(_names(run.train) | _names(run.monitor), key=lambda name: (name.endswith(VISIBLE), name))
    nats = {name for one in run.monitor for name in one.get("nats") or ()}
    charts = (
        [_loss_chart(run, name), *([_loss_chart(run, name, perplexity=True)] if name in nats else [])] for name in names
    )
    return [chart for pair in charts for chart in pair]


def small_charts(run: RunFolder) -> list[Chart]:
    """Learning rate, throughput, gradient norm and effective rank; a quantity that was not recorded says so."""
    wanted = (
        ("learning rate", run.train, "lr", ""),
        ("throughput", run.train, "samples_per_s", "samples/s"),
        ("gradient norm", run.train, "grad_norm", ""),
        ("effective rank", run.monitor, "effective_rank", "of the features"),
    )
    return [_single(title, records, key, unit) for title, records, key, unit in wanted]


def overlaid(runs: Sequence[RunFolder]) -> list[Chart]:
    """The monitor's losses of several runs in one chart each; baselines only where all runs share them."""
    names = sorted(set().union(*(_names(run.monitor) or _names(run.train) for run in runs)))
    return [_overlay(runs, name) for name in names]


def best_baseline(record: dict[str, Any], name: str) -> tuple[str, Number] | None:
    """The strongest trivial baseline of one loss in a monitor record: its name and its loss."""
    values = {k: v for k, v in ((record.get("baselines") or {}).get(name) or {}).items() if _is_number(v)}
    return min(values.items(), key=lambda item: item[1]) if values else None


def _loss_chart(run: RunFolder, name: str, *, perplexity: bool = False) -> Chart:
    what, scaled = ("perplexity", _exponential) if perplexity else ("loss", lambda value: value)
    train, monitor = _series(run.train, name), _series(run.monitor, name)
    curves = []
    if train[0]:
        curves.append(Series(name="training batches", x=train[0], y=[*map(scaled, train[1])], kind="faint", colour=1))
    if monitor[0]:
        few = len(monitor[0]) < 40
        curves.append(Series(name="monitor", x=monitor[0], y=[*map(scaled, monitor[1])], dots=few, colour=1))
    floors = [(one.get("baselines") or {}).get(name) or {} for one in run.monitor]
    kinds = sorted({kind for row in floors for kind, value in row.items() if not perplexity or value < row["null"]})
    steps = _widened([one["step"] for one in run.monitor])
    for colour, kind in enumerate(kinds, 2):
        label, values = BASELINES.get(kind, kind.replace("_", " ")), [scaled(row.get(kind)) for row in floors]
        curves.append(Series(name=label, x=steps, y=_widened(values), kind="baseline", colour=_colour(colour)))
    where = "on visible units: the easy one, not completion" if name.endswith(VISIBLE) else "on hidden units"
    note = "" if kinds else "No trivial baseline was recorded beside this loss, so its level says nothing."
    return _chart(f"{name.removesuffix(VISIBLE)} {what}, {where}", curves, note, what)


def _single(title: str, records: list[dict[str, Any]], key: str, unit: str) -> Chart:
    records = [one for one in records if one.get(key) is not None]
    curve = Series(name=title, x=[one["step"] for one in records], y=[one[key] for one in records])
    return _chart(title, [curve] if records else [], "", unit or title, size=(300, 170))


def _overlay(runs: Sequence[RunFolder], name: str) -> Chart:
    curves, shared = [], []
    for colour, run in enumerate(runs, 1):
        records = run.monitor if name in _names(run.monitor) else run.train
        steps, values = _series(records, name)
        if steps:
            curves.append(Series(name=run.name, x=steps, y=values, colour=_colour(colour)))
            last = (run.monitor[-1].get("baselines") or {}).get(name) if run.monitor else None
            shared.append({kind: round(value, 6) for kind, value in (last or {}).items() if _is_number(value)})
    note = ""
    if shared and all(one == shared[0] for one in shared) and shared[0]:
        ends = [min(c.x[0] for c in curves), max(c.x[-1] for c in curves)]
        for colour, (kind, value) in enumerate(sorted(shared[0].items()), len(curves) + 1):
            label = BASELINES.get(kind, kind)
            curves.append(Series(name=label, x=ends, y=[value, value], kind="baseline", colour=_colour(colour)))
    elif len(curves) > 1:
        note = "The runs' baselines differ (other mask, target or frames): levels here do not compare; see each run."
    return _chart(f"{name} loss of the monitor", curves, note, "loss")


def _chart(title: str, curves: list[Series], note: str, y_label: str, **size: Any) -> Chart:
    values = [float(v) for one in curves for v in one.y if v is not None and _is_number(v)]
    if not values:
        return Chart(title=title, svg=None, note="not recorded")
    lost = sum(v is not None and not _is_number(v) for one in curves for v in one.y)
    if lost:
        note = f"{note} {lost} values are not finite and are left out.".strip()
    span, cut = _range(values)
    if cut:
        note = f"{note} The axis ends at {number(span[1])}; the curve begins at {number(max(values))}.".strip()
    chart = line_chart(title, curves, x_label="step", y_label=y_label, y_range=span if cut else None, **size)
    return Chart(title=title, svg=chart, note=note)


def _range(values: list[float]) -> tuple[tuple[float, float], bool]:
    """The span of the values; cut where the top twentieth would flatten all the rest."""
    ordered = sorted(values)
    low, high, bulk = ordered[0], ordered[-1], ordered[int(0.95 * (len(ordered) - 1))]
    if high - low > 4 * (bulk - low) > 0:
        room = 0.3 * (bulk - low)
        return (max(0.0, low - room) if low >= 0 else low - room, bulk + room), True
    return (low, high), False


def _series(records: list[dict[str, Any]], name: str) -> tuple[list[Number], list[Number | None]]:
    pairs = [(one["step"], one["losses"][name]) for one in records if name in (one.get("losses") or {})]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _names(records: list[dict[str, Any]]) -> set[str]:
    return {name for one in records for name in one.get("losses") or {}}


def _exponential(value: Any) -> Any:
    return math.exp(min(value, 700)) if _is_number(value) else value


def _widened(values: list[Any]) -> list[Any]:
    """A baseline that was measured once is still drawn as a line."""
    return values if len(values) != 1 else values * 2


def _colour(n: int) -> int:
    return (n - 1) % PALETTE + 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
