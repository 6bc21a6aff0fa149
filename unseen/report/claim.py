"""The sentence on top of a report, computed from evaluation.json by one explicit rule.

Gains are compared on the same logs. A comparison is *shown* when its interval over logs lies above zero, *behind* when
it lies below, *not shown* otherwise; with fewer than 5 logs there is *no interval*, whichever way the logs point. A
spread inside fewer than 5 recordings is printed but is no interval over logs. From these, in order:

1. random init was not evaluated: nothing is claimed;
2. a difference has no interval: no claim can be made, for or against;
3. some floor is ahead: the encoder is worse than that floor;
4. random init is not beaten: no gain from pretraining is shown;
5. a floor of the content (raw pixels and hand-made features; of text tf-idf) was not evaluated, or is not beaten: no
   gain is credited to masked modelling;
6. the nearly-unmasked twin was not evaluated: the cause of the gain is open;
7. the twin is not beaten: the gain is not credited to masked modelling;
8. everything is beaten and shown: the gain is credited to masked prediction.
"""

from dataclasses import dataclass
from typing import Any, Literal

from unseen.report.svg import Number, number

RANDOM = "random init"
PIXELS, TEXT = ("raw pixels", "hand-made"), ("tf-idf",)  # floors of the content
TWIN = "nearly-unmasked twin"
FEWEST_LOGS = 5  # for an interval over logs
PERCENT = {
    "miou": "mIoU",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "pixel_accuracy": "pixel accuracy",
    "small_recall": "small-class recall",
    "small_iou": "small-class IoU",
    "iou": "IoU",
    "recall": "recall",
}

Standing = Literal["shown", "no interval", "not shown", "behind", "not evaluated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Pretrained minus one floor, on the same logs, in the metric's own scale."""

    floor: str
    standing: Standing
    difference: Number | None = None
    low: Number | None = None
    high: Number | None = None
    logs_ahead: int | None = None
    n_logs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    verdict: Literal["credited", "open", "none", "worse"]  # of masked prediction
    sentence: str
    comparisons: tuple[Comparison, ...] = ()


def claim(evaluation: dict[str, Any] | None) -> Claim:
    """The claim that the evidence of one run allows; see the module for the rule."""
    if not evaluation or not evaluation.get("probes"):
        return Claim(verdict="none", sentence="Nothing is claimed: this run was not evaluated.")
    probe = headline_probe(evaluation)
    row = headline_row(probe)
    if row is None:
        sentence = f"Nothing is claimed: the probe {probe.get('name')} has no result for the pretrained encoder."
        return Claim(verdict="none", sentence=sentence)
    floors = floors_of(probe)
    comparisons = tuple(compare(row, floor, probe) for floor in (*floors, TWIN))
    verdict, conclusion = _conclude({one.floor: one.standing for one in comparisons}, floors, probe)
    words = _numbers(probe, row, comparisons)
    return Claim(verdict=verdict, sentence=f"{conclusion} {words}", comparisons=comparisons)


def floors_of(probe: dict[str, Any]) -> tuple[str, ...]:
    """What this probe's encoder must beat: those of text where one of them is a row, else those of pixels."""
    names = [
        str(name) for row in probe.get("rows", []) for name in (row.get("features", ""), *(row.get("against") or ()))
    ]
    return (RANDOM, *(TEXT if any(is_floor(name, floor) for name in names for floor in TEXT) else PIXELS))


def headline_probe(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The first probe that was registered before training, else the first."""
    probes = evaluation["probes"]
    return next((probe for probe in probes if probe.get("registered_before_training")), probes[0])


def headline_row(probe: dict[str, Any]) -> dict[str, Any] | None:
    """The pretrained encoder under the classifier that the probe's spec puts first, else under the first listed."""
    rows = [row for row in probe.get("rows", []) if str(row.get("features", "")).lower().startswith("pretrained")]
    wanted = _first((probe.get("spec") or {}).get("classifiers") or (probe.get("spec") or {}).get("classifier"))
    return next((row for row in rows if row.get("classifier") == wanted), rows[0] if rows else None)


def compare(row: dict[str, Any], floor: str, probe: dict[str, Any]) -> Comparison:
    """How one row stands against one floor."""
    found = next((value for name, value in (row.get("against") or {}).items() if is_floor(name, floor)), None)
    if not found or found.get("difference") is None:
        return Comparison(floor=floor, standing="not evaluated")
    difference, (low, high) = found["difference"], over_logs(found, probe) or (None, None)
    per_log = [float(one) for one in (found.get("per_log") or {}).values() if one is not None]
    ahead = sum(one > 0 for one in per_log)
    standing: Standing = "no interval"
    if low is not None and high is not None:
        standing = "shown" if low > 0 else "behind" if high < 0 else "not shown"
    counts = {"logs_ahead": ahead, "n_logs": len(per_log)} if per_log else {}
    return Comparison(floor=floor, standing=standing, difference=difference, low=low, high=high, **counts)


def over_logs(interval: dict[str, Any] | None, probe: dict[str, Any]) -> tuple[Number, Number] | None:
    """The ends of an interval, if it can be one over logs."""
    enough = (probe.get("n_logs") or 0) >= FEWEST_LOGS
    if not enough or not interval or interval.get("low") is None or interval.get("high") is None:
        return None
    return interval["low"], interval["high"]


def spread(interval: dict[str, Any] | None, probe: dict[str, Any]) -> str:
    """An interval over logs in words, or why there is none."""
    ends = over_logs(interval, probe)
    if ends is None:
        return f"no interval: {log_count(probe.get('n_logs'))}"
    return f"{scaled(probe.get('primary', ''), ends[0])} to {scaled(probe.get('primary', ''), ends[1])}"


def is_floor(name: str, floor: str) -> bool:
    """Whether a feature maker's name means this floor: `random_init` and `hand-made features` do."""
    plain = name.lower().replace("_", " ").replace("-", " ")
    if floor == TWIN:
        return "unmasked" in plain or "twin" in plain
    return plain.startswith(floor.replace("-", " "))


def scaled(metric: str, value: Number) -> str:
    """A metric as it is read: shares in per cent with one decimal."""
    if metric in PERCENT:
        return f"{100 * value:.1f}".replace("-", "\N{MINUS SIGN}")
    return number(value)


def metric_name(metric: str) -> str:
    return PERCENT.get(metric, metric.replace("_", " "))


def _conclude(standing: dict[str, Standing], floors: tuple[str, ...], probe: dict[str, Any]) -> tuple[Any, str]:
    behind = [floor for floor in floors if standing[floor] == "behind"]
    weak = [floor for floor in floors[1:] if standing[floor] == "not shown"]
    absent = [floor for floor in floors[1:] if standing[floor] == "not evaluated"]
    if standing[RANDOM] == "not evaluated":
        return "none", "Nothing is claimed: random init was not evaluated on this probe."
    if "no interval" in standing.values():
        n = probe.get("n_logs")
        why = "there is no interval over logs" if (n or 0) >= FEWEST_LOGS else "too few for an interval"
        return "none", f"No claim can be made, for or against, from {log_count(n, 'held-out ')}: {why}."
    if behind:
        return "worse", f"The pretrained encoder is worse than {_list(behind)} here."
    if standing[RANDOM] != "shown":
        return "none", "No gain from pretraining is shown: random init is not beaten."
    if weak:
        return "none", f"No gain is credited to masked modelling: it is not shown to beat {_list(weak)}."
    if absent:
        return (
            "open",
            f"Ahead of random init, but no gain is credited to masked modelling: {_list(absent)} not evaluated.",
        )
    if standing[TWIN] == "not evaluated":
        return "open", "Ahead of every floor; the cause is open, because no nearly-unmasked twin was evaluated."
    if standing[TWIN] != "shown":
        return "none", "Ahead of every floor, but not by masked modelling: the nearly-unmasked twin is not beaten."
    return "credited", "Masked prediction pays: ahead of every floor and of the nearly-unmasked twin."


def _numbers(probe: dict[str, Any], row: dict[str, Any], comparisons: tuple[Comparison, ...]) -> str:
    metric, held_out = probe.get("primary", "metric"), log_count(probe.get("n_logs"), "held-out ")
    value = (row.get("metrics") or {}).get(metric)
    shown = "not evaluated" if value is None else f"{scaled(metric, value)} ({spread(row.get('interval'), probe)})"
    parts = "; ".join(_difference(metric, one) for one in comparisons)
    late = "" if probe.get("registered_before_training") else " This probe was not registered before training."
    if probe.get("transductive"):
        late += f" Pretraining saw {len(probe['transductive'])} of the test logs, unlabelled."
    if unknown := probe.get("unknown_lineage"):
        names = ", ".join(map(str, unknown))
        late += f" The lineage of the initial weights ({names}) is unknown: they may have seen the test logs."
    return (
        f"On {probe.get('name')}, {metric_name(metric)} of a {row.get('classifier')} probe over {held_out} "
        f"is {shown}; difference to {parts}.{late}"
    )


def _difference(metric: str, one: Comparison) -> str:
    if one.difference is None:
        return f"{one.floor}: not evaluated"
    sign = "+" if one.difference >= 0 else ""
    words = f"{one.floor} {sign}{scaled(metric, one.difference)}"
    if one.low is not None and one.high is not None:
        return f"{words} ({scaled(metric, one.low)} to {scaled(metric, one.high)})"
    if one.n_logs:
        return f"{words} (no interval: {log_count(one.n_logs)}, ahead on {one.logs_ahead})"
    return f"{words} (no interval)"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value


def _list(names: list[str]) -> str:
    return " and ".join(names)


def log_count(n: Any, kind: str = "") -> str:
    return f"{'an unknown number of' if n is None else n} {kind}log{'' if n == 1 else 's'}"
