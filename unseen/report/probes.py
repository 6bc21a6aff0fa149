"""Probe results of evaluation.json as tables and charts that a template can print."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from unseen.report.claim import PERCENT, TWIN, floors_of, headline_row, is_floor, metric_name, over_logs, scaled
from unseen.report.svg import PALETTE, Number, Series, dot_strip, line_chart, number

NOT_EVALUATED = "not evaluated"
NAMED_LOGS = 12  # of a list, as in the table of roles


def probe_view(probe: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page says about one probe; what is absent is said to be."""
    return {
        "name": probe.get("name", "unnamed"),
        "facts": _facts(probe),
        "registered": bool(probe.get("registered_before_training")),
        "table": _table(probe),
        "missing": missing_floors(probe),
        "per_class": _per_class(probe),
        "few_label": _few_label(probe),
    }


def missing_floors(probe: dict[str, Any]) -> list[str]:
    """The rows that a sceptic asks for and that this probe does not have."""
    present = [str(row.get("features", "")) for row in probe.get("rows", [])]
    return [floor for floor in (*floors_of(probe), TWIN) if not any(is_floor(name, floor) for name in present)]


def _facts(probe: dict[str, Any]) -> list[tuple[str, str]]:
    looks, logs, seen = probe.get("looks"), probe.get("logs") or [], probe.get("transductive")
    protocols = {"split": "fixed split", "leave-one-log-out": "leave one log out"}
    return [
        ("kind", str(probe.get("kind", "not stated"))),
        ("protocol", protocols.get(probe.get("protocol", ""), str(probe.get("protocol", "not stated")))),
        ("labels", str(probe.get("labels", "not stated"))),
        ("primary metric", metric_name(str(probe.get("primary", "not stated")))),
        ("held-out logs", f"{probe.get('n_logs', len(logs))}: {_some(logs) or 'names not recorded'}"),
        ("split digest", str(probe.get("split_digest") or "not recorded")),
        ("spec hash", str(probe.get("spec_hash") or "not recorded")),
        ("looks at these logs", "not counted" if looks is None else str(looks)),
        ("test logs that pretraining saw", _seen(seen, probe.get("unknown_lineage") or ())),
    ]


def _seen(logs: list[Any] | None, unknown: Sequence[Any]) -> str:
    """Which test logs stand in the lineage; where part of it is unknown, `none` would be a guess."""
    if logs is None:
        return "not recorded"
    rest = [f"unknown of {name}, whose lineage is not known" for name in unknown]
    return "; ".join([*([_some(logs)] if logs else []), *rest]) or "none"


def _some(logs: Sequence[Any]) -> str:
    """Names of logs, of many the first; all stand in evaluation.json."""
    more = f" and {len(logs) - NAMED_LOGS} more" if len(logs) > NAMED_LOGS else ""
    return ", ".join(map(str, logs[:NAMED_LOGS])) + more


def diagnostics_view(evaluation: dict[str, Any]) -> list[list[str]]:
    """A row for each feature maker: name, dimensions, units, ranks, collapsed dimensions."""
    names = ("dimensions", "n", "effective_rank", "rank_me_centred", "participation_ratio", "collapsed")
    return [
        [name, *("not defined" if one.get(key) is None else number(one[key]) for key in names)]
        for name, one in (evaluation.get("diagnostics") or {}).items()
    ]


def controls_view(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each control and feature maker: what permuted labels score, beside chance."""
    return [
        {
            "name": f"{one.get('name')}, {metric_name(str(one.get('metric')))} of {one.get('of')}",
            "features": one.get("features"),
            "values": [_metric(str(one.get("metric")), one.get(key)) for key in ("score", "chance", "above", "spread")],
            "shuffles": one.get("shuffles"),
            "alarm": bool(one.get("alarm")),
        }
        for one in evaluation.get("controls") or []
    ]


def _table(probe: dict[str, Any]) -> dict[str, Any] | None:
    rows, primary = probe.get("rows") or [], str(probe.get("primary", ""))
    if not rows:
        return None
    metrics = [primary, *sorted({m for row in rows for m in row.get("metrics") or {}} - {primary})]
    floors = list(dict.fromkeys(floor for row in rows for floor in row.get("against") or {}))
    values = [_log_values(row, primary) for row in rows]
    ends = [row["interval"][end] for row in rows if row.get("interval") for end in ("low", "high")]
    span = _span([v for one in values for v in one.values()] + ends)
    best = headline_row(probe)
    return {
        "metrics": [metric_name(metric) for metric in metrics],
        "floors": floors,
        "methods": _methods(rows, probe),
        "span": f"{scaled(primary, span[0])} to {scaled(primary, span[1])}" if span else "",
        "rows": [
            {
                "features": str(row.get("features", "unnamed")),
                "classifier": str(row.get("classifier", "not stated")),
                "headline": row is best,
                "values": [_metric(metric, (row.get("metrics") or {}).get(metric)) for metric in metrics],
                "interval": _interval(row, primary, probe),
                "against": [_against(row, floor, probe) for floor in floors],
                "strip": _strip(row, one, span, primary),
            }
            for row, one in zip(rows, values, strict=True)
        ],
    }


def _against(row: dict[str, Any], floor: str, probe: dict[str, Any]) -> dict[str, str]:
    """A difference with its interval, and how it stands; a spread inside few recordings is named as that."""
    metric = str(probe.get("primary", ""))
    if is_floor(str(row.get("features", "")), floor) or row.get("features") == floor:
        return {"text": "itself", "spread": "", "standing": "self"}
    if not row.get("against"):
        return {"text": "not compared", "spread": "", "standing": "missing"}
    found = row["against"].get(floor)
    if not found or found.get("difference") is None:
        return {"text": NOT_EVALUATED, "spread": "", "standing": "missing"}
    difference, low, high = found["difference"], found.get("low"), found.get("high")
    text = ("+" if difference >= 0 else "") + scaled(metric, difference)
    if low is None or high is None:
        inside = found.get("inside_recordings")
        if not inside or inside.get("low") is None:
            return {"text": text, "spread": "no interval", "standing": "open"}
        low, high = inside["low"], inside["high"]
    spread = f"{scaled(metric, low)} to {scaled(metric, high)}"
    if over_logs(found, probe) is None:
        return {"text": text, "spread": f"{spread} inside these logs", "standing": "open"}
    return {"text": text, "spread": spread, "standing": "shown" if low > 0 else "behind" if high < 0 else "open"}


def _interval(row: dict[str, Any], metric: str, probe: dict[str, Any]) -> str:
    interval = row.get("interval")
    if not interval:
        return "no interval"
    words = f"{scaled(metric, interval['low'])} to {scaled(metric, interval['high'])}"
    return words if over_logs(interval, probe) is not None else f"{words} inside these logs"


def _methods(rows: list[dict[str, Any]], probe: dict[str, Any]) -> list[str]:
    """How the intervals were taken, or why there are none; each said once."""
    found = [row.get("interval") or {} for row in rows]
    pairs = [one for row in rows for one in (row.get("against") or {}).values()]
    found += pairs + [one["inside_recordings"] for one in pairs if one.get("inside_recordings")]
    methods = [str(one["method"]) for one in found if one.get("method") and one.get("low") is not None]
    notes = [str(row["interval_note"]) for row in rows if row.get("interval_note")]
    return list(dict.fromkeys(methods + notes)) or [f"none, over {probe.get('n_logs', 'an unknown number of')} logs"]


def _strip(
    row: dict[str, Any], values: dict[str, Number], span: tuple[Number, Number] | None, metric: str
) -> Markup | None:
    if not values or span is None:
        return None
    interval = row.get("interval")
    centre = (row.get("metrics") or {}).get(metric)
    bar = (interval["low"], interval["high"]) if interval else None
    return dot_strip(values, span, centre=centre, interval=bar, scale=100 if metric in PERCENT else 1)


def _log_values(row: dict[str, Any], metric: str) -> dict[str, Number]:
    per_log = row.get("per_log") or {}
    pairs = {log: one.get(metric) if isinstance(one, dict) else one for log, one in per_log.items()}
    return {log: value for log, value in pairs.items() if value is not None}


def _per_class(probe: dict[str, Any]) -> dict[str, Any] | None:
    """Classes down, feature makers across, under the headline classifier; the best of each class is marked."""
    chosen = headline_row(probe)
    rows = [row for row in probe.get("rows") or [] if row.get("per_class")]
    if chosen is not None:
        rows = [row for row in rows if row.get("classifier") == chosen.get("classifier")]
    if not rows:
        return None
    metric = "iou" if any("iou" in one for row in rows for one in row["per_class"].values()) else "recall"
    names = list(dict.fromkeys(name for row in rows for name in row["per_class"]))
    small = set(probe.get("small_classes") or (probe.get("spec") or {}).get("small") or ())
    lines = []
    for name in names:
        values = [(row["per_class"].get(name) or {}).get(metric) for row in rows]
        top = max((v for v in values if v is not None), default=None)
        cells = [{"text": _metric(metric, v), "best": v is not None and v == top} for v in values]
        lines.append({"name": name, "small": name in small, "cells": cells})
    return {
        "metric": metric_name(metric),
        "classifier": rows[0].get("classifier"),
        "features": [str(row.get("features")) for row in rows],
        "lines": lines,
        "any_small": bool(small),
    }


def _few_label(probe: dict[str, Any]) -> list[dict[str, Any]]:
    """One chart for each kind of budget: logs, logs of each class, frames."""
    records = probe.get("few_label") or []
    budgets = dict.fromkeys(key for one in records for key in one if key.startswith("budget_"))
    charts = (_few_chart([one for one in records if key in one], key, str(probe.get("primary", ""))) for key in budgets)
    return [chart for chart in charts if chart is not None]


def _few_chart(records: list[dict[str, Any]], key: str, metric: str) -> dict[str, Any] | None:
    unit, factor, curves = key.removeprefix("budget_").replace("_", " "), 100 if metric in PERCENT else 1, []
    for i, name in enumerate(dict.fromkeys(str(one.get("features")) for one in records)):
        mine = sorted((one for one in records if str(one.get("features")) == name), key=lambda one: one[key])
        parts = {
            part: [None if one.get(part) is None else factor * one[part] for one in mine]
            for part in ("mean", "low", "high")
        }
        x = [float(one[key]) for one in mine]
        colour = i % PALETTE + 1
        one = Series(name=name, x=x, y=parts["mean"], low=parts["low"], high=parts["high"], dots=True, colour=colour)
        curves.append(one)
    if not any(v is not None for one in curves for v in one.y):
        return None
    title = f"{metric_name(metric)} by number of labelled {unit}"
    label = metric_name(metric) + (", %" if factor == 100 else "")
    spreads = dict.fromkeys(str(one["spread"]) for one in records if one.get("spread"))
    draws = max(len(one.get("draws") or ()) for one in records)
    return {
        "svg": line_chart(title, curves, x_label=f"labelled {unit}", y_label=label, x_scale="log"),
        "title": title,
        "note": f"mean of up to {draws} draws, the same for every row; band: {', '.join(spreads) or 'not stated'}",
    }


def _metric(metric: str, value: Number | None) -> str:
    return NOT_EVALUATED if value is None else scaled(metric, value)


def _span(values: list[Number]) -> tuple[Number, Number] | None:
    if not values:
        return None
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.01, high + 0.01)
