"""A run folder as the report reads it: every piece that is there, and none that is not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What one monitor saved at one step: K samples side by side."""

    step: int
    input: UInt8[np.ndarray, "K H W 3"]
    masked: UInt8[np.ndarray, "K H W 3"]
    prediction: UInt8[np.ndarray, "K H W 3"]
    caption: str  # how the prediction was turned into a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The contents of a run; None or empty where the run has no such file."""

    path: Path
    name: str
    recipe: dict[str, Any] | None
    env: dict[str, Any] | None
    lineage: dict[str, Any] | None
    manifest: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    train: list[dict[str, Any]]
    monitor: list[dict[str, Any]]
    other: list[dict[str, Any]]  # lines of metrics.jsonl of another kind
    pictures: list[Path]  # sorted by step
    notes: list[str]  # what the reader of the report must know about the files themselves


def read_run(path: Path) -> RunFolder:
    """Read a run folder. UnseenError names the file (and line) that cannot be read."""
    if not path.is_dir():
        raise UnseenError(
            f"{path} is not a folder", "a report is made from run folders", "give the folder that pretrain wrote"
        )
    documents: dict[str, Any] = {
        name: _document(path / f"{name}.json") for name in ("recipe", "env", "lineage", "manifest", "evaluation")
    }
    metrics, notes = _metrics(path / "metrics.jsonl")
    if not metrics and not any(documents.values()):
        rule = "a run has recipe.json, metrics.jsonl or evaluation.json"
        raise UnseenError(f"{path} holds no run", rule, "give the folder that pretrain wrote")
    by_kind: dict[str, Any] = {"train": [], "monitor": [], "other": []}
    for line in metrics:
        by_kind.get(line.get("kind", ""), by_kind["other"]).append(line)
    return RunFolder(
        path=path,
        name=path.resolve().name,
        **documents,
        **by_kind,
        pictures=sorted((path / "samples").glob("step-*.npz")),
        notes=notes,
    )


def read_pictures(path: Path) -> Pictures:
    """Load one samples/step-*.npz; UnseenError when it is damaged or is not three stacks of RGB pictures."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            stacks = {name: file[name] for name in ("input", "masked", "prediction")}
            caption = str(file["caption"]) if "caption" in file.files else ""
        step = int(path.stem.removeprefix("step-"))
    except Exception as error:  # zipfile, zlib, numpy and int each have their own way to say "damaged"
        raise UnseenError(
            f"{path} cannot be read ({error})", "samples are npz files", "delete it to leave it out"
        ) from error
    for name, stack in stacks.items():
        if stack.dtype != np.uint8 or stack.ndim != 4 or stack.shape != stacks["input"].shape or stack.shape[3] != 3:
            rule = "all three stacks are uint8 [K, H, W, 3]"
            raise UnseenError(f"{path}: {name} is {stack.dtype} {stack.shape}", rule, "delete it to leave it out")
    return Pictures(step=step, caption=caption, **stacks)


def _document(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content = _parse(path, path.name, lambda: path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UnseenError(
            f"{path} holds a {type(content).__name__}", "it must hold one JSON object", "restore the file"
        )
    return content


def _metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """All lines; a last line without its newline is what a killed run leaves, and is only noted."""
    if not path.exists():
        return [], []
    text = path.read_bytes()
    *lines, rest = text.split(b"\n")
    records, notes = [], []
    for i, line in enumerate(lines, 1):
        record = _parse(path, f"line {i}", line.decode)
        if not isinstance(record, dict):
            raise UnseenError(f"{path} line {i} is not a JSON object", "one object a line", "delete the line")
        records.append(record)
    if rest:
        notes.append(
            "the last line of metrics.jsonl is incomplete (the run was cut off while writing it); it is left out"
        )
    return records, notes


def _parse(path: Path, where: str, read: Callable[[], str]) -> Any:
    try:
        return json.loads(read())
    except (ValueError, OSError) as error:
        raise UnseenError(
            f"{path} cannot be read at {where} ({error})", "it must be JSON text in UTF-8", "restore or delete the file"
        ) from error
