"""What a model saw and what it made of it, as pictures, without a single number of the hidden truth."""

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unseen.contract import Clip, MaskedBatch, Units
from unseen.errors import UnseenError
from unseen.packing import packing, unpack
from unseen.systems.baselines import neighbour
from unseen.systems.objective import VISIBLE, Objective
from unseen.targets.distance import space
from unseen.targets.pixels import Pixels
from unseen.units.normalise import Normalise, unit_scale

GREY = 0.5
DEEP = (0.5, 0.25)  # what normalised 0 and a step of 1 look like where the content is deeper than a screen
CAPTIONS = {
    "none": "hidden units as predicted",
    "patch": "hidden units as predicted, with mean and contrast interpolated from visible units",
    "channel": "hidden units as predicted, with mean and contrast per channel interpolated from visible units",
}


@runtime_checkable
class Pictured(Protocol):
    """A unit that can be looked at: its units [B, N, *P] as one picture [B, C, H, W] a sample."""

    def picture(self, values: Any, units: Units) -> Any: ...


def draw(objective: Objective, clip: Clip, batch: MaskedBatch, prediction: dict[str, Tensor], path: Path) -> bool:
    """Write input, masked, prediction (uint8 [K, H, W, 3]) and a caption to `path`; False where no target is pixels."""
    name = next((name for name in prediction if not name.endswith(VISIBLE) and _is_pixels(objective, name)), None)
    unit, normalise = objective.unit, objective.normalise
    if name is None or not isinstance(unit, Pictured) or normalise is None:
        return False
    raw, units = unit.cut(_scaled(clip))
    mean, std = (_over(value, raw) for value in _levels(normalise, clip))
    if _is_deep(clip):
        normal_mean, normal_std = (_over(value, raw) for value in normalise.statistics(clip))
        raw = (raw - normal_mean) / normal_std * std + mean
    seen, wanted = (_over(mask, raw) for mask in (batch.visible_mask, batch.target_mask[name]))
    content = _content(objective, batch, name, prediction[name]) * std + mean
    masked = torch.where(seen, batch.input * std + mean, GREY)  # what is read, which a corruption may have changed
    filled = unpack(content, packing(batch.target_mask[name]), raw.shape[1], raw.new_tensor(GREY))
    filled = torch.where(seen, raw, torch.where(wanted, filled, GREY))
    stacks = {"input": raw, "masked": masked, "prediction": filled}
    pictures = {key: _picture(unit.picture(value, units)) for key, value in stacks.items()}
    target = objective.targets[name].target
    assert isinstance(target, Pixels)
    _write(path, pictures, f"Visible units as recorded, {CAPTIONS[target.normalise]}; never from the hidden truth.")
    return True


def _scaled(clip: Clip) -> Clip:
    """The clip with its raw pixels in [0, 1] of the full scale."""
    out: Any = {**clip}
    for name in ("image", "video"):
        if name in clip:
            out[name] = unit_scale(clip[name])  # type: ignore[literal-required]
    return Clip(**out)


def _is_deep(clip: Clip) -> bool:
    return any(clip[name].dtype == torch.uint16 for name in ("image", "video") if name in clip)  # type: ignore


def _levels(normalise: Normalise, clip: Clip) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """What turns normalised values into those of a picture: back as recorded, or, of 16 bits, a contrast to see."""
    mean, std = normalise.statistics(clip)
    return (torch.full_like(mean, DEEP[0]), torch.full_like(std, DEEP[1])) if _is_deep(clip) else (mean, std)


def _over(value: Tensor, values: Float[Tensor, "B N *P"]) -> Tensor:
    """Numbers per channel [B, C], or a mask of units [B, N], in a shape that goes with values of units."""
    if value.dtype == torch.bool:
        return value.view(*value.shape, *[1] * (values.ndim - 2))
    return value.view(len(value), *[1] * (values.ndim - 2), -1)


def _content(objective: Objective, batch: MaskedBatch, name: str, prediction: Tensor) -> Tensor:
    """Predicted patches as the model reads patches: standardisation undone with what visible neighbours suggest."""
    rule = objective.targets[name].target.normalise  # type: ignore[attr-defined]
    if rule == "none":
        return prediction
    values = batch.input
    dims = space(values) if rule == "channel" else tuple(range(2, values.ndim))
    for_all = torch.stack([values.mean(dims), values.std(dims)], dim=-1).flatten(2)  # [B, N, 2] or [B, N, 2 * C]
    visible = for_all.where(batch.visible_mask[:, :, None], 0)
    guess = neighbour(
        batch._replace(target={name: visible}, target_mask={name: batch.target_mask[name]}),
        name,
        objective.unit.spacing,
    )
    guess = guess.unflatten(2, (-1, 2))
    mean, std = guess.view(*guess.shape[:2], *[1] * len(dims[: values.ndim - 3]), -1, 2).unbind(-1)
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
