"""`unseen report`: run folders become one self-contained HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unseen.errors import UnseenError
from unseen.report.claim import claim, compare, headline_probe, headline_row, metric_name, scaled, spread
from unseen.report.completion import completion_view
from unseen.report.curves import VISIBLE, best_baseline, loss_charts, overlaid, small_charts
from unseen.report.probes import controls_view, diagnostics_view, probe_view
from unseen.report.render import picture_uri, write_page
from unseen.report.run_folder import RunFolder, read_pictures, read_run
from unseen.report.svg import Number, bar, number

MOST_PICTURES = 6  # samples shown, and steps shown in the history of the first sample
FILM = 4  # a picture this many times as wide as high is a strip of frames: it gets the whole width of the page


def report(runs: Sequence[Path], out: Path) -> Path:
    """Write one HTML page about one run or several; returns `out`.

    The page loads nothing, needs no script, and follows the reader's light or dark setting. What a run does not have
    is named as missing. Raises UnseenError, naming the file, when a run folder or one of its files cannot be read.
    """
    if not runs:
        raise UnseenError("no run was given", "a report is made from one run folder or more", "unseen report RUN...")
    folders = [read_run(Path(run)) for run in runs]
    title = folders[0].name if len(folders) == 1 else f"{len(folders)} runs"
    return write_page(
        Path(out),
        "page.html",
        title=title,
        runs=[_run_view(folder, f"run-{i}") for i, folder in enumerate(folders, 1)],
        comparison=_comparison(folders) if len(folders) > 1 else None,
    )


def _run_view(run: RunFolder, anchor: str) -> dict[str, Any]:
    evaluation = run.evaluation or {}
    return {
        "anchor": anchor,
        "name": run.name,
        "path": str(run.path),
        "claim": claim(run.evaluation),
        "tiles": _tiles(run),
        "losses": loss_charts(run),
        "charts": small_charts(run),
        "pictures": _pictures(run.pictures),
        "classes": _classes(run.monitor),
        "probes": [probe_view(probe) for probe in evaluation.get("probes") or []],
        "completion": completion_view(evaluation),
        "controls": controls_view(evaluation),
        "diagnostics": diagnostics_view(evaluation),
        "split": _split(run.manifest),
        "no_split": run.manifest is not None and run.manifest.get("split", "") is None,
        "manifest": _pretty(run.manifest),
        "lineage": _pretty(run.lineage),
        "recipe": _pretty(run.recipe),
        "env": _flat(run.env),
        "command": _command(run),
        "warnings": _warnings(run),
    }


def _tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """The few numbers at the top: what was trained, how long, and the loss against its best baseline."""
    tiles = []
    if run.train:
        last = run.train[-1]
        tiles.append(("steps", number(last["step"]), ""))
        if last.get("time_s") is not None:
            tiles.append(("training time", _duration(last["time_s"]), ""))
    if run.monitor:
        tiles += _ratio_tiles(run.monitor[-1])
        shares = [(run.monitor[-1].get(key), key.replace("_share", "")) for key in ("visible_share", "target_share")]
        tiles += [(f"{name} units", f"{100 * share:.0f} %", "of all") for share, name in shares if share is not None]
    return tiles


def _ratio_tiles(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    tiles = []
    for name, value in (record.get("losses") or {}).items():
        best = best_baseline(record, name)
        if best and best[1] > 0 and value is not None and not name.endswith(VISIBLE):
            tiles.append((f"{name} loss", f"{value / best[1]:.2f}", f"of the best trivial baseline ({best[0]})"))
    return tiles


def _pictures(files: list[Path]) -> dict[str, Any] | None:
    """The last step's samples, and how the first of them was predicted over the run."""
    if not files:
        return None
    last = read_pictures(files[-1])
    rows = [
        [picture_uri(stack[k]) for stack in (last.input, last.masked, last.prediction)]
        for k in range(min(len(last.input), MOST_PICTURES))
    ]
    chosen = [files[round(i * (len(files) - 1) / (MOST_PICTURES - 1))] for i in range(MOST_PICTURES)]
    history = [read_pictures(file) for file in dict.fromkeys(chosen)]
    return {
        "step": last.step,
        "caption": last.caption or "The run did not record how the prediction was turned into a picture.",
        "film": last.input.shape[2] >= FILM * last.input.shape[1],
        "rows": rows,
        "history": [(one.step, picture_uri(one.prediction[0])) for one in history if len(one.prediction)],
    }


def _classes(monitor: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Masked loss by class at the last monitor that has it, over the best trivial baseline of all units.

    With several targets the classes' loss is a weighted mean that no single baseline stands for: then the ratio is to
    the mean over all labelled units, and says so.
    """
    record = next((one for one in reversed(monitor) if one.get("by_class")), None)
    if record is None:
        return None
    hidden = [name for name in record.get("losses") or {} if not name.endswith(VISIBLE)]
    best = best_baseline(record, hidden[0]) if len(hidden) == 1 else None
    measured = [one for one in record["by_class"].values() if one.get("loss") is not None and one.get("units")]
    units = sum(one["units"] for one in measured)
    mean = sum(one["loss"] * one["units"] for one in measured) / units if units else None
    base, against = best[::-1] if best else (mean, "")
    return {
        "step": record["step"],
        "against": f"the best trivial baseline of all units ({against})"
        if best
        else "the mean over all labelled units",
        "lines": [_class_line(name, one, base) for name, one in sorted(record["by_class"].items())],
    }


def _class_line(name: str, one: dict[str, Any], base: Number | None) -> dict[str, Any]:
    units = "not counted" if one.get("units") is None else number(one["units"])
    if one.get("loss") is None or not base:
        return {"name": name, "units": units, "loss": "not measured", "ratio": "no baseline", "bar": None}
    ratio = one["loss"] / base
    drawn = bar(ratio, 2.0, mark=1.0, label=f"{ratio:.2f}")
    return {"name": name, "units": units, "loss": number(one["loss"]), "ratio": f"{ratio:.2f}", "bar": drawn}


def _split(manifest: dict[str, Any] | None) -> dict[str, Any] | None:
    """The card of the split: keys, roles with their logs, components, digests, logs that lack a key."""
    split = (manifest or {}).get("split")
    if not isinstance(split, dict):
        return None
    roles: dict[str, list[str]] = {}
    for log, role in sorted((split.get("assignment") or {}).items()):
        roles.setdefault(str(role), []).append(str(log))
    components, unknown = split.get("components"), split.get("unknown")
    keys = split.get("by")
    return {
        "facts": [
            ("name", str(split.get("name", "not recorded"))),
            ("keys that do not cross", ", ".join(map(str, keys)) if keys else "not recorded"),
            ("components", "not recorded" if components is None else _count(components)),
            ("seed", str(split.get("seed", "not recorded"))),
            ("split digest", str(split.get("digest") or "not recorded")),
            ("store digest", str(split.get("store_digest") or "not recorded")),
            ("logs without a key", "not recorded" if unknown is None else _unknown(unknown)),
        ],
        "roles": [(role, len(logs), logs) for role, logs in roles.items()],
    }


def _comparison(folders: list[RunFolder]) -> dict[str, Any]:
    """All runs in one table; scores stand side by side only where logs, labels and split are the same."""
    rows = [_comparison_row(run) for run in folders]
    bases = {row["basis"] for row in rows if row["basis"]}
    charts = overlaid(folders)
    return {"rows": rows, "comparable": len(bases) <= 1, "charts": charts}


def _comparison_row(run: RunFolder) -> dict[str, Any]:
    row: dict[str, Any] = {"name": run.name, "verdict": claim(run.evaluation), "basis": None, "differences": []}
    row["steps"] = number(run.train[-1]["step"]) if run.train else "not recorded"
    row["time"] = (
        _duration(run.train[-1]["time_s"]) if run.train and run.train[-1].get("time_s") is not None else "not recorded"
    )
    row["losses"] = (
        "; ".join(f"{name} {ratio}" for name, ratio, _ in _ratio_tiles(run.monitor[-1])) if run.monitor else ""
    )
    row["score"], row["probe"] = "not evaluated", "not evaluated"
    if not (run.evaluation or {}).get("probes"):
        return row
    probe = headline_probe(run.evaluation or {})
    best, metric = headline_row(probe), str(probe.get("primary", ""))
    row["probe"] = f"{probe.get('name')}, {metric_name(metric)}"
    row["basis"] = (probe.get("name"), metric, probe.get("split_digest"), tuple(probe.get("logs") or ()))
    value = (best or {}).get("metrics", {}).get(metric)
    if best is not None and value is not None:
        row["score"] = f"{scaled(metric, value)} ({spread(best.get('interval'), probe)})"
        row["differences"] = [
            (
                one.floor,
                one.standing,
                "" if one.difference is None else ("+" if one.difference >= 0 else "") + scaled(metric, one.difference),
            )
            for one in (compare(best, floor, probe) for floor in ("random init", "hand-made", "nearly-unmasked twin"))
        ]
    return row


def _warnings(run: RunFolder) -> list[str]:
    """What the run itself warned of, wherever it wrote that down."""
    found = list(run.notes)
    for document in (run.manifest, run.env, run.lineage, run.evaluation):
        found += [str(one) for one in (document or {}).get("warnings") or []]
    found += [str(one.get("message", json.dumps(one))) for one in run.other if one.get("kind") == "warning"]
    return list(dict.fromkeys(found))


def _command(run: RunFolder) -> str | None:
    for document in (run.env, run.lineage, run.manifest):
        command = (document or {}).get("command")
        if command:
            return " ".join(map(str, command)) if isinstance(command, list) else str(command)
    return None


def _flat(document: dict[str, Any] | None) -> list[tuple[str, str]] | None:
    """A document as rows of name and value; what is nested stays JSON."""
    if document is None:
        return None
    plain = (str, int, float, bool)
    return [
        (k, str(v) if isinstance(v, plain) else json.dumps(v, ensure_ascii=False))
        for k, v in document.items()
        if k != "warnings"
    ]


def _pretty(document: dict[str, Any] | None) -> str | None:
    return None if document is None else json.dumps(document, indent=2, ensure_ascii=False)


def _count(components: Any) -> str:
    return str(len(components)) if isinstance(components, list | dict) else str(components)


def _unknown(unknown: Any) -> str:
    if not isinstance(unknown, dict):
        return str(unknown)
    return ", ".join(f"{key}: {n}" for key, n in unknown.items()) or "none"


def _duration(seconds: Number) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
