"""A step whose loss or gradient is not finite: keep all that is needed to look at it again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unseen.contract import Clip, MaskedModel
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.systems.objective import Objective, predict


def keep_failure(
    folder: Path,
    clips: list[tuple[Clip, Int64[Tensor, "B"]]],
    model: nn.Module,
    networks: Mapping[str, nn.Module],
    facts: Mapping[str, Any],
) -> None:
    """Write every micro-batch of the step with its keys, and the weights before the step, those of targets too.

    FOLDER/clip-00.safetensors ... model.safetensors, failure.json. UnseenError when the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (clip, key) in enumerate(clips):
            tensors = {name: value.cpu().contiguous() for name, value in clip.items() if isinstance(value, Tensor)}
            save_file(tensors | {"key": key.cpu()}, folder / f"clip-{number:02d}.safetensors")
        weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        for name, network in networks.items():
            save_file({key: value.cpu() for key, value in network.state_dict().items()}, _of_target(folder, name))
        logs = [list(clip.get("log_id", [])) for clip, _ in clips]
        write_whole(folder / "failure.json", json.dumps({**facts, "log_id": logs}, indent=2) + "\n")
    except OSError as error:
        raise UnseenError(
            f"the loss is not finite, and {folder} cannot be written: {error}", "", "make room"
        ) from error


def replay(folder: Path, model: MaskedModel, objective: Objective) -> dict[str, Float[Tensor, "B K"]]:
    """Losses per unit of a kept step, in float32, with the weights of that moment; `model` is filled with them."""
    model.load_state_dict(load_file(folder / "model.safetensors"))
    objective = objective.bind(model, "float32")
    for name, network in objective.networks().items():
        network.load_state_dict(load_file(_of_target(folder, name)))
    rows: dict[str, list[Tensor]] = {}
    for file in sorted(folder.glob("clip-*.safetensors")):
        tensors = load_file(file)
        key = tensors.pop("key")
        batch = objective.batch(Clip(**tensors), key)  # type: ignore[typeddict-item]
        with torch.no_grad():
            for name, loss in objective.losses(predict(model, batch), batch).items():
                rows.setdefault(name, []).append(loss)
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _of_target(folder: Path, name: str) -> Path:
    return folder / f"target-{name}.safetensors"
