"""The evaluation of a run: every probe on every feature maker, side by side, on logs that no choice saw.

`evaluate` returns what stands in evaluation.json. Order of rules: no probe-test log may stand in the lineage of the
features; the look at the test split is written down before anything is scored; penalties are chosen inside the training
logs; differences are paired by log.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unseen.errors import UnseenError
from unseen.evaluate import finetune
from unseen.evaluate.control import alarm, check_permuted
from unseen.evaluate.diagnostics import diagnose, sampled
from unseen.evaluate.features import FeatureMaker, Frozen, Source, extract
from unseen.evaluate.intervals import aggregated, inside_recordings, note, over_logs
from unseen.evaluate.ledger import look, split_id
from unseen.evaluate.metrics import Counts, Numbers, compute, defined_mean, iou, recall, total
from unseen.evaluate.probes import Aggregate, Classify, Dense, FineTune, Permuted, Probe, Scored, spec, spec_hash
from unseen.evaluate.score import Plan, few_label_curve, prepare, score
from unseen.systems.encode import FrozenEncoder

FORMAT = 1


def evaluate(
    features: Mapping[str, FeatureMaker],
    source: Source,
    probes: Sequence[Probe],
    *,
    split: Mapping[str, str],
    lineage: Collection[str],
    ledger: Path,
    classes: Mapping[str, Any] | None = None,
    registered: Collection[str] = (),
    model_digest: str = "",
    run: str = "",
    transductive: bool = False,
    unknown_lineage: Sequence[str] = (),
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Judge feature makers by probes.

    features: by name; the first is the subject, all others are what it must beat. source: the labelled frames. split:
    role of each log. lineage: logs that the features were pretrained on. ledger: folder of the list of looks. classes:
    by kind of label, anything with names, ignore and small; by default the source's store knows. registered: hashes of
    the probes that were fixed before training. transductive: allow test logs in the lineage, and say so in the result.
    unknown_lineage: weights that some features began with and of which nobody knows what they were trained on.
    Fine-tuning is for makers that are a FrozenEncoder: it trains a copy. progress: told what is being scored.
    """
    planned = partial(_plan, source=source, split=split, classes=classes, batch=batch)
    plans = [planned(probe) for probe in probes if not isinstance(probe, Permuted)]
    controls = [(probe, planned(probe.of)) for probe in probes if isinstance(probe, Permuted)]
    begun = _begin(plans, lineage, unknown_lineage, transductive, ledger, registered, model_digest)
    diagnostics, checks = {}, []
    for name, maker in features.items():
        frozen = _extract_union(name, maker, source, [*plans, *(plan for _, plan in controls)], batch)
        if frozen[1] is not None:
            diagnostics[name] = _plain(diagnose(sampled(frozen[1].units, seed)))
        for probe in begun:
            progress(f"probe {probe.plan.probe.name}: {name}")
            _score_maker(probe, name, maker, frozen, source, seed)
        for control, plan in controls:
            progress(f"control {control.name}: {name}")
            checks.append(_check(control, plan, name, frozen, registered, seed))
    return {
        "format": FORMAT,
        "run": run,
        "probes": [_compared(probe, list(features)[1:], seed) for probe in begun],
        "controls": _plain(checks),
        "diagnostics": diagnostics,
        "warnings": [alarm(check) for check in checks if check["alarm"]],
    }


class _Begun(NamedTuple):
    """A probe that is being scored."""

    plan: Plan
    entry: dict[str, Any]  # what will stand in the result
    counts: dict[str, Counts]  # per frame, by feature maker


def _begin(
    plans: Sequence[Plan],
    lineage: Collection[str],
    unknown_lineage: Sequence[str],
    transductive: bool,
    ledger: Path,
    registered: Collection[str],
    model_digest: str,
) -> list[_Begun]:
    """Refuse leaks of any probe, then write down the look of each: nothing is scored before."""
    for plan in plans:
        seen = sorted(set(plan.tested) & set(lineage))
        if seen and not transductive:
            raise UnseenError(
                f"probe {plan.probe.name!r} tests on {len(seen)} logs of the pretraining: {', '.join(seen[:5])}",
                "no log of a probe's test may stand in the pretraining",
                "pretrain without them, or pass transductive=True, which marks the result",
            )
    told = (lineage, unknown_lineage, ledger, registered, model_digest)
    return [_Begun(plan, _entry(plan, *told), {}) for plan in plans]


def _score_maker(
    begun: _Begun, name: str, maker: FeatureMaker, frozen: tuple[np.ndarray, Frozen], source: Source, seed: int
) -> None:
    """Add the row of a feature maker, and its few-label curve where the probe has one."""
    plan, probe = begun.plan, begun.plan.probe
    if isinstance(probe, FineTune):
        if isinstance(maker, FrozenEncoder):
            begun.counts[name], chosen = finetune.score(plan, probe, maker, source, seed)
            begun.entry["rows"].append(_row(plan, name, begun.counts[name], chosen))
        return
    own = _of(frozen, plan)
    begun.counts[name], chosen = score(plan, own, seed)
    begun.entry["rows"].append(_row(plan, name, begun.counts[name], chosen))
    if isinstance(probe, Dense | Classify):
        begun.entry["few_label"] += few_label_curve(plan, name, own, seed)


def _check(
    control: Permuted, plan: Plan, name: str, frozen: tuple[np.ndarray, Frozen], registered: Collection[str], seed: int
) -> dict[str, Any]:
    known = spec_hash(control) in registered
    found = check_permuted(control, plan, _of(frozen, plan), seed)
    return {"features": name, **found, "registered_before_training": known}


def _compared(begun: _Begun, floors: Sequence[str], seed: int) -> dict[str, Any]:
    """The entry, in which every row has its differences to all that must be beaten."""
    for row in begun.entry["rows"]:
        own = begun.counts[row["features"]]
        others = {floor: begun.counts[floor] for floor in floors if floor in begun.counts and floor != row["features"]}
        row["against"] = {floor: _difference(begun.plan, own, other, seed) for floor, other in others.items()}
    return begun.entry


def _plan(
    probe: Scored, source: Source, split: Mapping[str, str], classes: Mapping[str, Any] | None, batch: int
) -> Plan:
    return prepare(probe, source, split, _classes(source, classes, probe), batch)


def _entry(
    plan: Plan,
    lineage: Collection[str],
    unknown_lineage: Sequence[str],
    ledger: Path,
    registered: Collection[str],
    model_digest: str,
) -> dict[str, Any]:
    probe, digest = plan.probe, spec_hash(plan.probe)
    test = split_id(probe.labels, plan.tested)
    return {
        "name": probe.name,
        "kind": probe.kind,
        "labels": probe.labels,
        "spec": spec(probe),
        "spec_hash": digest,
        "small_classes": [plan.names[number] for number in plan.small],
        "registered_before_training": digest in registered,
        "protocol": probe.protocol,
        "primary": probe.primary,
        "n_logs": len(plan.tested),
        "logs": list(plan.tested),
        "n_frames": {log: int((plan.log_of == log).sum()) for log in sorted(set(plan.log_of.tolist()))},
        "split_digest": test,
        "looks": look(ledger, test=test, probe=probe.name, spec_hash=digest, model=model_digest, metric=probe.primary),
        "transductive": sorted(set(plan.tested) & set(lineage)),
        "unknown_lineage": list(unknown_lineage),
        "rows": [],
        "few_label": [],
    }


def _row(plan: Plan, name: str, frames: Counts, chosen: list[float]) -> dict[str, Any]:
    probe, logs = plan.probe, plan.by_log(frames)
    values = compute(logs, plan.over)
    names = [n for n in values if plan.reports(n)]
    metrics = {n: aggregated(partial(_metric, n, plan), logs, probe.aggregate) for n in names}
    interval = over_logs(partial(_metric, probe.primary, plan), logs, aggregate=probe.aggregate)
    per_class = {kind: _by_class(f, logs, probe.aggregate) for kind, f in (("iou", iou), ("recall", recall))}
    return _plain(
        {
            "features": name,
            "classifier": getattr(probe, "classifier", "fine-tuned"),
            "metrics": metrics,
            "per_class": {
                c: {kind: float(np.asarray(per_class[kind])[k]) for kind in per_class} for k, c in enumerate(plan.names)
            },
            "per_log": {log: {n: float(np.asarray(values[n])[i]) for n in names} for i, log in enumerate(plan.tested)},
            "interval": interval._asdict() if interval else None,
            "interval_note": None if interval else note(len(plan.tested)),
            "chosen": chosen,
        }
    )


def _difference(plan: Plan, one: Counts, other: Counts, seed: int) -> dict[str, Any]:
    """Paired by log: the same logs, and the same resamples, on both sides. The number is what the interval is about."""
    probe, metric = plan.probe, partial(_metric, plan.probe.primary, plan)
    a, b = plan.by_log(one), plan.by_log(other)
    interval = over_logs(metric, a, b, aggregate=probe.aggregate, seed=seed)
    pooled = aggregated(metric, a, probe.aggregate) - aggregated(metric, b, probe.aggregate)
    out: dict[str, Any] = {
        "difference": interval.estimate if interval else pooled,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "method": interval.method if interval else note(len(plan.tested)),
        "per_log": dict(zip(plan.tested, (metric(a) - metric(b)).tolist(), strict=True)),
    }
    if interval is None:
        tested = plan.is_tested
        halves = (Counts(*(part[tested] for part in counts)) for counts in (one, other))
        out["inside_recordings"] = inside_recordings(metric, next(halves), plan.log_of[tested], next(halves), seed=seed)
    return _plain(out)


def _by_class(metric: Callable[[np.ndarray], Numbers], logs: Counts, aggregate: Aggregate) -> Numbers:
    """[K] of the summed counts, or the mean of the logs in which the class is defined."""
    if aggregate == "sum":
        return metric(total(logs).confusion)
    return defined_mean(metric(logs.confusion).T)


def _metric(name: str, plan: Plan, counts: Counts) -> Numbers:
    return compute(counts, plan.over)[name]


def _extract_union(name: str, maker: FeatureMaker, source: Source, plans: Sequence[Plan], batch: int) -> tuple:
    wanted = [plan.indices for plan in plans if not isinstance(plan.probe, FineTune)]
    if not wanted:
        return np.array([]), None
    indices = np.unique(np.concatenate(wanted))
    return indices, extract(name, maker, source, indices, batch)


def _of(frozen: tuple[np.ndarray, Frozen], plan: Plan) -> Frozen:
    indices, table = frozen
    if len(indices) == len(plan.indices):
        return table
    place = np.searchsorted(indices, plan.indices)
    return table._replace(pooled=table.pooled[place], units=table.units[place])


def _classes(source: Source, classes: Mapping[str, Any] | None, probe: Scored) -> Any:
    if classes is None:
        return source.store.classes(probe.labels)  # type: ignore[attr-defined]
    if probe.labels not in classes:
        raise UnseenError(
            f"probe {probe.name!r} asks for labels {probe.labels!r}",
            f"known are {sorted(classes)}",
            "correct the probe",
        )
    return classes[probe.labels]


def _plain(value: Any) -> Any:
    """NaN (undefined) becomes None, so that the file is JSON everywhere."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
