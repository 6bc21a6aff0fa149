"""What a model saw and what it made of it, as pictures, without a single number of the hidden truth."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unseen.contract import Clip, MaskedBatch
from unseen.errors import UnseenError
from unseen.packing import packing, unpack
from unseen.systems.baselines import neighbour
from unseen.systems.objective import VISIBLE, Objective
from unseen.targets.pixels import Pixels
from unseen.units.normalise import unit_scale
from unseen.units.patches import Patches

GREY = 0.5
CAPTIONS = {
    "none": "hidden patches as predicted",
    "patch": "hidden patches as predicted, with mean and contrast interpolated from visible patches",
    "channel": "hidden patches as predicted, with mean and contrast per channel interpolated from visible patches",
}


def draw(objective: Objective, clip: Clip, batch: MaskedBatch, prediction: dict[str, Tensor], path: Path) -> bool:
    """Write input, masked, prediction (uint8 [K, H, W, 3]) and a caption to `path`; False where no target is pixels."""
    name = next((name for name in prediction if not name.endswith(VISIBLE) and _is_pixels(objective, name)), None)
    if name is None or not isinstance(objective.unit, Patches) or objective.normalise is None:
        return False
    raw, units = objective.unit.cut(Clip(image=unit_scale(clip["image"])))
    seen = batch.visible_mask[:, :, None, None, None]
    hidden = packing(batch.target_mask[name])
    content = _content(objective, batch, name, prediction[name])
    mean, std = (value[:, None, None, None, :] for value in objective.normalise.statistics(clip))
    masked = torch.where(seen, batch.input * std + mean, GREY)  # what is read, which a corruption may have changed
    filled = unpack(content * std + mean, hidden, raw.shape[1], raw.new_tensor(GREY))
    filled = torch.where(seen, raw, torch.where(batch.target_mask[name][:, :, None, None, None], filled, GREY))
    stacks = {"input": raw, "masked": masked, "prediction": filled}
    pictures = {key: _picture(objective.unit.join(value, units)) for key, value in stacks.items()}
    target = objective.targets[name].target
    assert isinstance(target, Pixels)
    _write(path, pictures, f"visible patches as recorded, {CAPTIONS[target.normalise]}; never from the hidden truth")
    return True


def _content(objective: Objective, batch: MaskedBatch, name: str, prediction: Tensor) -> Tensor:
    """Predicted patches as the model reads patches: standardisation undone with what visible neighbours suggest."""
    rule = objective.targets[name].target.normalise  # type: ignore[attr-defined]
    if rule == "none":
        return prediction
    dims = (2, 3) if rule == "channel" else (2, 3, 4)
    values = batch.input
    for_all = torch.stack([values.mean(dims), values.std(dims)], dim=-1).flatten(2)  # [B, N, 2] or [B, N, 2 * C]
    visible = for_all.where(batch.visible_mask[:, :, None], 0)
    guess = neighbour(
        batch._replace(target={name: visible}, target_mask={name: batch.target_mask[name]}),
        name,
        objective.unit.spacing,
    )
    mean, std = guess.unflatten(2, (-1, 2))[:, :, None, None].unbind(-1)
    return prediction * std + mean


def _is_pixels(objective: Objective, name: str) -> bool:
    return isinstance(objective.targets[name].target, Pixels)


def _picture(image: Float[Tensor, "K C H W"]) -> UInt8[np.ndarray, "K H W 3"]:
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)
    return (image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _write(path: Path, pictures: dict[str, Any], caption: str) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez_compressed(file, caption=np.array(caption), **pictures)
        os.replace(temporary, path)
    except OSError as error:
        raise UnseenError(
            f"could not write {path}: {error}", "the last checkpoint is intact", "make room and resume the run"
        ) from error
