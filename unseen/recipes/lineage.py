"""What a run comes from, at any remove: its logs, its first weights, its teachers and its tokenizers."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from unseen.contract import Pretrained


def origin(init: Path | None) -> dict[str, Any] | None:
    """Where initial weights came from; their own training logs are unknown unless a run of ours tells them.

    An encoder.safetensors that was named itself, or copied elsewhere with its encoder.json, is still of that run.
    """
    if init is None:
        return None
    init = init.absolute()
    home = init if init.is_dir() else init.parent
    if init.is_dir() and (home / "lineage.json").is_file():
        return {"run": str(init), "lineage": json.loads((home / "lineage.json").read_text())}
    if (init.is_dir() or init.name == "encoder.safetensors") and (home / "encoder.json").is_file():
        lineage = json.loads((home / "encoder.json").read_text())["lineage"]
        return {"run": str(init), "lineage": lineage or "unknown"}
    digest = hashlib.blake2b(init.read_bytes(), digest_size=16).hexdigest() if init.is_file() else None
    return {"file": str(init), "digest": digest, "lineage": "unknown"}


def teachers(node: Any) -> list[dict[str, Any]]:
    """Where every network that a recipe names comes from."""
    own = [node.lineage()] if isinstance(node, Pretrained) else []
    if is_dataclass(node) and not isinstance(node, type):
        return own + [found for field in fields(node) for found in teachers(getattr(node, field.name))]
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, tuple | list) else ()
    return own + [found for part in parts for found in teachers(part)]


def lineage_of(run: Path) -> set[str]:
    """Every log that a run, a run that it started from, or a teacher of either was trained on."""
    return {log for one in _ancestry(json.loads((run / "lineage.json").read_text())) for log in one["pretrained_on"]}


def unknown_origins(run: Path) -> set[str]:
    """Names of initial weights and teachers, at any remove, that do not tell what they were trained on."""
    parents = [parent for one in _ancestry(json.loads((run / "lineage.json").read_text())) for parent in _parents(one)]
    return {Path(parent.get("file") or parent["run"]).name for parent in parents if not _known(parent["lineage"])}


def _ancestry(lineage: Any) -> Iterator[dict[str, Any]]:
    """A lineage, and those of all that it comes from, as far as they are known."""
    if _known(lineage):
        yield lineage
        for parent in _parents(lineage):
            yield from _ancestry(parent["lineage"])


def _parents(lineage: dict[str, Any]) -> list[dict[str, Any]]:
    begun_with = [lineage["init"]] if lineage.get("init") else []
    return begun_with + lineage.get("teachers", [])


def _known(lineage: Any) -> bool:
    return isinstance(lineage, dict) and "pretrained_on" in lineage
