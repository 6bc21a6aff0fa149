"""Checkpoints that are there whole or not at all: safetensors and JSON, never pickle.

    RUN/checkpoints/step-000200/{model,optimiser}.safetensors, state.json
    RUN/checkpoints/last                     the name of the newest one

A checkpoint is written under a temporary name, every file and the folder are synced, it is renamed, and only then
does `last` name it. A process killed in between leaves the former `last`, and a `.tmp-...` that the next save clears.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from unseen.errors import UnseenError
from unseen.files import sync, write_whole
from unseen.train.training import Named

FORMAT = 1


def save(
    run: Path,
    step: int,
    tensors: Mapping[str, dict[str, Tensor]],
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write the checkpoint of `step`: one safetensors file per entry of `tensors`, and `state` as JSON.

    UnseenError when the disk is full or refuses; the last checkpoint is then what it was.
    """
    home = run / "checkpoints"
    final, temporary = home / _name(step), home / f".tmp-{_name(step)}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        _clear(home)
        if last(run) == final:
            return final
        temporary.mkdir()
        files = {f"{name}.safetensors": part for name, part in tensors.items()}
        for name, part in files.items():
            save_file(_unshared(part), temporary / name)
            sync(temporary / name)
        content = {"format": FORMAT, "step": step, **state, "files": {name: digest(temporary / name) for name in files}}
        write_whole(temporary / "state.json", json.dumps(content, indent=2) + "\n")
        sync(temporary)
        if final.exists():  # a former process was killed before `last` named it
            _discard(final)
        os.rename(temporary, final)
        sync(home)
        write_whole(home / "last", final.name + "\n")
        _prune(home, final, keep)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        kept = last(run)
        raise UnseenError(
            f"could not write checkpoint {final}: {error}",
            f"the last checkpoint is intact: {kept.name}" if kept else "there is no checkpoint yet",
            f"make room, then `unseen resume {run}`",
        ) from error
    return final


def last(run: Path) -> Path | None:
    """The newest complete checkpoint, or None. UnseenError where the one that is named is gone."""
    pointer = run / "checkpoints" / "last"
    if not pointer.is_file():
        return None
    path = pointer.parent / pointer.read_text().strip()
    if not (path / "state.json").is_file():
        raise UnseenError(
            f"{pointer} names {path.name}, which is not there", "a checkpoint is a whole folder", _others(path)
        )
    return path


def tidy(run: Path, keep: int) -> None:
    """Remove what a killed process left: temporary files, and checkpoints beyond the newest `keep`."""
    newest = last(run)
    if newest is not None:
        _clear(newest.parent)
        _prune(newest.parent, newest, keep)


def load_state(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint; UnseenError where a file does not have its digest, or the format is another."""
    state = json.loads((path / "state.json").read_text())
    if state.get("format") != FORMAT:
        raise UnseenError(f"{path} has format {state.get('format')}", f"this version reads format {FORMAT}")
    for name, expected in state["files"].items():
        found = digest(path / name) if (path / name).is_file() else "nothing"
        if found != expected:
            raise UnseenError(f"{path / name} is damaged", f"its digest is {expected}, found {found}", _others(path))
    return state


def load_tensors(path: Path, name: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint, by name."""
    return load_file(path / f"{name}.safetensors", device=str(device))


def agree(path: Path, state: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    """Refuse to go on with other data or another recipe than the checkpoint was made with."""
    for name, value in expected.items():
        if state.get(name) != value:
            raise UnseenError(
                f"{path} was made with {name} {state.get(name)}, but now it is {value}",
                "a run goes on only with the data and the recipe that it began with",
                "restore them, or begin a new run with `unseen pretrain ... --init` and this run",
            )


def optimiser_tensors(optimisers: list[Optimizer], named: list[Named]) -> dict[str, Tensor]:
    """All state of the optimisers as `parameter name/quantity`."""
    name_of = {id(parameter): name for name, parameter in named}
    return {
        f"{name_of[id(parameter)]}/{quantity}": value
        for optimiser in optimisers
        for parameter, state in optimiser.state.items()
        for quantity, value in state.items()
    }


def restore_optimisers(optimisers: list[Optimizer], named: list[Named], tensors: Mapping[str, Tensor]) -> None:
    """Give every parameter back what `optimiser_tensors` kept; what belongs to no parameter is an error."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        by_name.setdefault(name, {})[quantity] = value
    parameters = dict(named)
    if unknown := by_name.keys() - parameters.keys():
        raise UnseenError(f"optimiser state of {sorted(unknown)[0]!r}", "the model has no such parameter")
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            members = {id(p) for p in group["params"]}
            for name, state in by_name.items():
                if id(parameters[name]) in members:
                    optimiser.state[parameters[name]] = state


def digest(path: Path) -> str:
    """BLAKE2b of a file, 128 bits in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU where safetensors needs them: tied weights are written once per name."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        shared = value.untyped_storage().data_ptr() in seen
        out[name] = value.clone() if shared else value
        seen.add(out[name].untyped_storage().data_ptr())
    return out


def _discard(path: Path) -> None:
    """Out of the way first, then away: a kill in between leaves no half checkpoint under a good name."""
    aside = path.with_name(f".tmp-old-{path.name}")
    os.rename(path, aside)
    shutil.rmtree(aside)


def _clear(home: Path) -> None:
    for leftover in home.glob(".tmp-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _prune(home: Path, newest: Path, keep: int) -> None:
    older = sorted((number, path) for path in home.glob("step-*") if (number := _step(path)) < _step(newest))
    for _, path in older[: max(0, len(older) - (keep - 1))]:
        _discard(path)


def _others(path: Path) -> str:
    names = sorted(
        other.name for other in path.parent.glob("step-*") if (other / "state.json").is_file() and other != path
    )
    if not names:
        return "begin a new run"
    return f"write one of these names into {path.parent / 'last'}: {', '.join(names)}"
