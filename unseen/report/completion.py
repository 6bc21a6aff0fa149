"""What the model completes on held-out logs, beside what needs no model: the table and the sentence above it."""

from typing import Any

from unseen.report.claim import log_count
from unseen.report.curves import BASELINES, VISIBLE
from unseen.report.svg import number

MODEL = "model"
OF_IDS = {"null": "all classes alike", "mean": "frequencies of visible", "training mean": "frequencies of the training"}


def completion_view(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """One table a loss, completion first, the best baseline on top; none where it was not measured."""
    found = evaluation.get("completion") or {}
    return [_view(name, found[name]) for name in sorted(found, key=lambda name: (name.endswith(VISIBLE), name))]


def _view(name: str, one: dict[str, Any]) -> dict[str, Any]:
    losses, against = one.get("losses") or {}, one.get("against") or {}
    others = sorted(against, key=lambda kind: losses[kind])
    methods = dict.fromkeys(str(against[kind]["method"]) for kind in others)
    return {
        "name": name.removesuffix(VISIBLE),
        "visible": name.endswith(VISIBLE),
        "sentence": _sentence(one, others),
        "perplexity": "perplexity" in one,
        "rows": [_row(kind, one, against.get(kind)) for kind in (MODEL, *others) if kind in losses],
        "logs": log_count(one.get("n_logs")),
        "units": number(one.get("units") or 0),
        "methods": list(methods),
    }


def _row(kind: str, one: dict[str, Any], difference: dict[str, Any] | None) -> dict[str, Any]:
    row = {
        "name": label(kind, "perplexity" in one),
        "loss": number(one["losses"][kind]),
        "standing": "self",
        "difference": "",
        "spread": "",
    }
    row["perplexity"] = number((one.get("perplexity") or {}).get(kind, 0))
    if difference is None:
        return row
    low, high = difference["low"], difference["high"]
    return row | {
        "difference": number(difference["difference"]),
        "spread": "no interval" if low is None else f"{number(low)} to {number(high)}",
        "ahead": f"ahead in {difference['logs_ahead']} of {one.get('n_logs')}",
        "standing": standing(difference),
    }


def standing(difference: dict[str, Any]) -> str:
    """Of a model whose loss differs so: shown (the interval lies below zero), behind, or open."""
    low, high = difference["low"], difference["high"]
    if low is None:
        return "open"
    return "shown" if high < 0 else "behind" if low > 0 else "open"


def label(kind: str, of_ids: bool) -> str:
    """What the page calls a baseline."""
    return (OF_IDS if of_ids else {}).get(kind) or BASELINES.get(kind, kind.replace("_", " "))


def _sentence(one: dict[str, Any], others: list[str]) -> str:
    """The verdict in words: which baselines are beaten, which are not, which beat the model."""
    if not others:
        return "Nothing was scored on held-out logs: no hidden unit counts there."
    by = {kind: standing(one["against"][kind]) for kind in others}
    behind, unsure = (
        [label(kind, "perplexity" in one) for kind in others if by[kind] == how] for how in ("behind", "open")
    )
    logs = log_count(one.get("n_logs"), "held-out ")
    if behind:
        return f"On {logs} the model completes worse than {_listed(behind)}."
    if all(one["against"][kind]["low"] is None for kind in others):
        return f"{logs[:1].upper()}{logs[1:]} are too few for an interval: nothing is shown."
    if unsure:
        return f"On {logs} the model is not shown to complete better than {_listed(unsure)}."
    return f"On {logs} the model completes better than all {len(others)} trivial baselines."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
