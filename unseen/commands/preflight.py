"""What a command can refuse before anything heavy is imported, and how it speaks."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from unseen.errors import UnseenError

Result = dict[str, Any]


def say(line: str) -> None:
    print(line, file=sys.stderr)


def check_store(path: Path, split: str | None) -> None:
    if not (path / "store.json").is_file():
        raise UnseenError(f"{path} is not a store", "a store holds store.json", "make one with `unseen ingest`")
    if split is not None and not (path / "splits" / f"{split}.json").is_file():
        known = ", ".join(sorted(file.stem for file in (path / "splits").glob("*.json"))) or "none"
        raise UnseenError(f"{path} has no split {split!r}", f"its splits: {known}", "make one with `unseen split`")


def check_new(path: Path, besides: Collection[str] = ()) -> None:
    """Refuse a file, and a folder that holds anything `besides` what a killed process leaves before it has a result."""
    held = {file.name for file in path.iterdir() if not file.name.startswith(".tmp-")} if path.is_dir() else {path.name}
    if not path.exists() or (path.is_dir() and held <= {*besides}):
        return
    what, remedy = f"{path} exists", "name another folder"
    if (path / "recipe.json").is_file():
        remedy += f", or `unseen resume {path}`"
        if not (path / "checkpoints" / "last").is_file():
            what = f"{path} holds a run that has no checkpoint yet"
            remedy = f"`unseen resume {path}` begins it at step 0; or remove the folder, or name another"
    raise UnseenError(what, "a result is never overwritten", remedy)


def check_run(path: Path) -> None:
    if not (path / "recipe.json").is_file():
        raise UnseenError(f"{path} is not a run", "a run holds recipe.json", "make one with `unseen pretrain`")


def check_finished(path: Path) -> None:
    check_run(path)
    if not (path / "encoder.json").is_file():
        raise UnseenError(f"{path} has no encoder yet", "training has not ended", f"go on with `unseen resume {path}`")
