"""Frozen features of labelled frames: extracted once per feature maker, in batches, kept in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.evaluate.probes import Pool
from unseen.systems.encode import Features

FeatureMaker = Callable[[Any], Features]  # of raw content as a user has it: images [B, C, H, W], say
FLOAT32_BYTES = 2 * 2**30  # larger tables of units are kept as float16


@runtime_checkable
class Source(Protocol):
    """What this room needs of a source of samples."""

    log_ids: list[str]
    log_of: np.ndarray  # [n] index into log_ids; samples of a log stand in time order

    def __len__(self) -> int: ...

    def frames(self, indices: np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip: ...

    def raw(self, clip: Clip) -> Any: ...

    def class_label(self, index: int) -> int | None: ...

    def labelled(self, kind: str) -> np.ndarray: ...


class Frozen(NamedTuple):
    """Features of F frames, in the order in which they were asked for."""

    pooled: Float[Tensor, "F D"]  # the maker's own
    units: Float[Tensor, "F N D"]
    grid: tuple[int, int]  # rows, columns; units that lie in no plane are one row


def extract(name: str, maker: FeatureMaker, source: Source, indices: np.ndarray, batch: int) -> Frozen:
    """Run one feature maker over whole frames. UnseenError when it gives anything that is not finite."""
    device = device_of(maker)
    pooled: list[Tensor] = []
    units: list[Tensor] = []
    grid, dtype = (0, 0), torch.float32
    for part in _batches(indices, batch):
        with torch.inference_mode():
            raw = source.raw(source.frames(part))
            made = maker(raw.to(device) if isinstance(raw, Tensor) else raw)
        made = in_plane(made)
        if not torch.isfinite(made.units).all() or not torch.isfinite(made.pooled).all():
            raise UnseenError(f"the features of {name!r} are not finite", "", "look at the training curve of this run")
        if not units and made.units[0].numel() * 4 * len(indices) > FLOAT32_BYTES:
            dtype = torch.float16
        pooled.append(made.pooled.float().cpu())
        units.append(made.units.to(dtype).cpu())
        grid = made.grid if made.grid and len(made.grid) == 2 else (1, made.units.shape[1])
    table = torch.cat(units).clone()  # leaves inference mode
    if dtype == torch.float16 and not torch.isfinite(table).all():
        raise UnseenError(
            f"the features of {name!r} exceed float16", "large tables are kept as float16", "use fewer frames"
        )
    return Frozen(torch.cat(pooled).clone(), table, grid)


def in_plane(made: Features) -> Features:
    """Of a video's units [slots, rows, columns] the slot of its middle frame, the one that labels are for."""
    if made.grid is None or len(made.grid) != 3:
        return made
    slots, rows, columns = made.grid
    units = made.units.unflatten(1, (slots, rows * columns))[:, slots // 2]
    return Features(made.pooled, units, (rows, columns))


def device_of(maker: object) -> torch.device:
    """Where a module has its parameters; anything else computes on the CPU."""
    parameters = maker.parameters() if isinstance(maker, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def pool(frozen: Frozen, how: Pool) -> Float[Tensor, "F D2"]:
    """One vector a frame, by the same rule for every maker."""
    units = frozen.units.float()
    parts = {
        "mean": lambda: [units.mean(dim=1)],
        "mean+std": lambda: [units.mean(dim=1), units.std(dim=1, correction=0)],
        "mean+max": lambda: [units.mean(dim=1), units.amax(dim=1)],
        "encoder": lambda: [frozen.pooled],
    }
    return torch.cat(parts[how](), dim=1)


def label_images(source: Source, indices: np.ndarray, batch: int) -> UInt8[np.ndarray, "F H W"]:
    """The label image of each frame, at the resolution in which the source hands it out; 255 is ignored."""
    parts = [source.frames(part, labels=True)["label"] for part in _batches(indices, batch)]
    return torch.cat(parts).numpy().astype(np.uint8)


def unit_shares(labels: UInt8[np.ndarray, "F H W"], grid: tuple[int, int], n_classes: int) -> Float[Tensor, "F N K"]:
    """Which share of each unit's pixels is which class; ignored pixels are no class, so a row sums to at most 1."""
    n_frames, height, width = labels.shape
    rows, columns = grid
    unit = (np.arange(height) * rows // height)[:, None] * columns + np.arange(width) * columns // width
    size = np.bincount(unit.ravel(), minlength=rows * columns)
    shares = np.empty((n_frames, rows * columns, n_classes), dtype=np.float32)
    for i, label in enumerate(labels):
        known = label < n_classes
        place = unit[known] * n_classes + label[known]
        counts = np.bincount(place, minlength=rows * columns * n_classes).reshape(-1, n_classes)
        shares[i] = counts / size[:, None]
    return torch.from_numpy(shares)


def one_hot(classes: Int64[np.ndarray, "F"], n_classes: int) -> Float[Tensor, "F 1 K"]:
    """The class of a frame as the share of its one unit."""
    return torch.nn.functional.one_hot(torch.from_numpy(classes), n_classes).float()[:, None]


def _batches(indices: Sequence[int] | np.ndarray, batch: int) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), batch):
        yield np.asarray(indices[start : start + batch])
