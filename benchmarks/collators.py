"""The published mask samplers, written anew from their papers and from what reading and running their code showed.

Each is a policy of this project too, so that the audit can be run on it: `units` in, `Mask` out. What is kept are the
algorithms with their defects; random numbers come from a generator seeded by the keys, so that runs repeat.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unseen.contract import Mask, Metadata, Units


def mae(batch: int, n_units: int, ratio: float, generator: torch.Generator) -> Tensor:
    """MAE (models_mae.py): argsort of noise twice, then gather; 1 = hidden [B, N]."""
    noise = torch.rand(batch, n_units, generator=generator)
    restore = torch.argsort(torch.argsort(noise, dim=1), dim=1)
    mask = torch.ones(batch, n_units)
    mask[:, : int(n_units * (1 - ratio))] = 0
    return torch.gather(mask, dim=1, index=restore)


def beit(rows: int, columns: int, count: int, draw: random.Random, least: int = 16, aspect: float = 0.3) -> np.ndarray:
    """BEiT's block-wise sampler of one image (masking_generator.py): ten tries a round, never more than the count."""
    mask, hidden = np.zeros((rows, columns), dtype=int), 0
    low, high = math.log(aspect), math.log(1 / aspect)
    while hidden < count:
        added = 0
        for _ in range(10):
            area = draw.uniform(least, count - hidden)
            shape = math.exp(draw.uniform(low, high))
            h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if not (w < columns and h < rows):
                continue
            top, left = draw.randint(0, rows - h), draw.randint(0, columns - w)
            fresh = h * w - mask[top : top + h, left : left + w].sum()
            if 0 < fresh <= count - hidden:
                for i in range(top, top + h):
                    for j in range(left, left + w):
                        if mask[i, j] == 0:
                            mask[i, j] = 1
                            added += 1
            if added > 0:
                break
        if added == 0:
            break
        hidden += added
    return mask


def ijepa(batch: int, side: tuple[int, int], generator: torch.Generator, n_targets: int = 4, least: int = 10):
    """I-JEPA's collator (masks/multiblock.py): sizes drawn once a batch, lists cut to the batch's smallest.

    Returns index lists: contexts [B, K] and, for each of the targets, [B, K'].
    """
    rows, columns = side

    def size(scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        u = torch.rand(1, generator=generator).item()  # one draw for both
        keep = int(rows * columns * (scale[0] + u * (scale[1] - scale[0])))
        shape = aspect[0] + u * (aspect[1] - aspect[0])
        h, w = round(math.sqrt(keep * shape)), round(math.sqrt(keep / shape))
        return min(h, rows - 1), min(w, columns - 1)

    def block(h: int, w: int, allowed: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        dropped, patience = 0, 20
        while True:
            top = torch.randint(0, rows - h, (1,), generator=generator)  # the bound is exclusive
            left = torch.randint(0, columns - w, (1,), generator=generator)
            mask = torch.zeros((rows, columns), dtype=torch.int32)
            mask[top : top + h, left : left + w] = 1
            if allowed is not None:
                for k in range(max(int(len(allowed) - dropped), 0)):
                    mask *= allowed[k]
            chosen = torch.nonzero(mask.flatten())
            if len(chosen) > least:
                break
            patience -= 1
            if patience == 0:
                dropped, patience = dropped + 1, 20
        outside = torch.ones((rows, columns), dtype=torch.int32)
        outside[top : top + h, left : left + w] = 0
        return chosen.squeeze(), outside

    target, context = size((0.15, 0.2), (0.75, 1.5)), size((0.85, 1.0), (1.0, 1.0))
    targets, contexts = [], []
    fewest_target = fewest_context = rows * columns
    for _ in range(batch):
        blocks = [block(*target) for _ in range(n_targets)]
        targets.append([chosen for chosen, _ in blocks])
        fewest_target = min(fewest_target, *(len(chosen) for chosen in targets[-1]))
        contexts.append(block(*context, [outside for _, outside in blocks])[0])
        fewest_context = min(fewest_context, len(contexts[-1]))
    cut = torch.stack([chosen[:fewest_context] for chosen in contexts])
    return cut, torch.stack([torch.stack([chosen[:fewest_target] for chosen in several]) for several in targets])


def vjepa(batch: int, grid: tuple[int, int, int], generator: torch.Generator, n_blocks: int = 8, scale: float = 0.15):
    """V-JEPA 2's generator (masks/multiseq_multiblock3d.py): full-height blocks, both lists cut to the batch's
    smallest. Returns contexts and targets, [B, K] each."""
    slots, rows, columns = grid
    keep = int(rows * columns * scale)
    shape = 0.75 + torch.rand(1, generator=generator).item() * 0.75
    h, w = min(round(math.sqrt(keep * shape)), rows), min(round(math.sqrt(keep / shape)), columns)
    contexts, targets = [], []
    fewest_context = fewest_target = slots * rows * columns
    for _ in range(batch):
        outside = torch.ones((slots, rows, columns), dtype=torch.int32)
        for _ in range(n_blocks):
            top = torch.randint(0, rows - h + 1, (1,), generator=generator)
            left = torch.randint(0, columns - w + 1, (1,), generator=generator)
            one = torch.ones((slots, rows, columns), dtype=torch.int32)
            one[:, top : top + h, left : left + w] = 0
            outside *= one
        flat = outside.flatten()
        contexts.append(torch.nonzero(flat).squeeze(1))
        targets.append(torch.argwhere(flat == 0).squeeze(1))
        fewest_context, fewest_target = min(fewest_context, len(contexts[-1])), min(fewest_target, len(targets[-1]))
    return torch.stack([x[:fewest_context] for x in contexts]), torch.stack([x[:fewest_target] for x in targets])


def tube(slots: int, places: int, ratio: float, draw: np.random.Generator) -> np.ndarray:
    """VideoMAE's tube of one clip (masking_generator.py): shuffle one slot, tile it."""
    hidden = int(ratio * places)
    mask = np.hstack([np.zeros(places - hidden), np.ones(hidden)])
    draw.shuffle(mask)
    return np.tile(mask, (slots, 1)).flatten()


def mlm(samples: list[list[int]], generator: torch.Generator, special: frozenset[int], mask_id: int, words: int):
    """transformers' language-model collator: lists to tensors, specials by list, Bernoulli 15 %, 80/10/10."""
    longest = max(len(sample) for sample in samples)
    input_ids = torch.tensor([sample + [0] * (longest - len(sample)) for sample in samples])
    labels = input_ids.clone()
    is_special = torch.tensor([[token in special for token in row] for row in labels.tolist()], dtype=torch.bool)
    chance = torch.full(labels.shape, 0.15).masked_fill_(is_special, 0.0)
    chosen = torch.bernoulli(chance, generator=generator).bool()
    labels[~chosen] = -100
    masked = torch.bernoulli(torch.full(labels.shape, 0.8), generator=generator).bool() & chosen
    input_ids[masked] = mask_id
    other = torch.bernoulli(torch.full(labels.shape, 0.5), generator=generator).bool() & chosen & ~masked
    input_ids[other] = torch.randint(words, labels.shape, dtype=torch.long, generator=generator)[other]
    return input_ids, labels


def occupancy_mae(voxels: list[Tensor], draw: random.Random, ratio: float = 0.5) -> list[Tensor]:
    """Occupancy-MAE's voxel mask of a batch (voxel_mae.py): which of each sample's voxels [n, 2] (row, column) stay.

    Three ranges, of which the far ones keep 0.2 more; but range is taken in voxel indices from the grid's corner, and
    Python's shuffle swaps views of one tensor, which leaves duplicates.
    """
    index = torch.cat(voxels)
    sample = torch.repeat_interleave(torch.arange(len(voxels)), torch.tensor([len(v) for v in voxels]))
    far = torch.hypot(index[:, 0].float(), index[:, 1].float())
    kept = []
    for inside, keep in ((far < 30, 1 - ratio), ((far >= 30) & (far < 50), 1.1 - ratio), (far >= 50, 1.2 - ratio)):
        ids = inside.nonzero()[:, 0]
        draw.shuffle(ids)  # type: ignore[arg-type]
        kept.append(ids[: int(len(ids) * keep)])
    stay = torch.zeros(len(index), dtype=torch.bool)
    stay[torch.cat(kept)] = True
    return [stay[sample == number] for number in range(len(voxels))]


@dataclass(frozen=True)
class Published:
    """A published sampler as a policy: `draw(units, keys)` gives the visible and the hidden units."""

    name: str
    draw: Callable[[Units, Tensor], tuple[Tensor, Tensor]]
    ratio: float | None = None
    whole_tubes: ClassVar[bool] = False

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        visible, hidden = self.draw(units, key)
        return Mask(visible & units.valid, hidden & units.valid)


def seeded(key: Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(key[0]) & (2**63 - 1))


def _lists(n_units: int, *lists: Tensor) -> tuple[Tensor, ...]:
    """Index lists [B, ...] as masks [B, N]."""
    return tuple(torch.zeros(len(x), n_units, dtype=torch.bool).scatter(1, x.flatten(1), True) for x in lists)


def _beit(units: Units, key: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = units.grid or (0, 0)
    count = round(rows * columns * 75 / 196)
    masks = [beit(rows, columns, count, random.Random(int(one))) for one in key]
    hidden = torch.from_numpy(np.stack(masks)).flatten(1).bool()
    return ~hidden, hidden


def _ijepa(units: Units, key: Tensor) -> tuple[Tensor, ...]:
    rows, columns = units.grid or (0, 0)
    return _lists(rows * columns, *ijepa(len(key), (rows, columns), seeded(key)))


def _vjepa(units: Units, key: Tensor) -> tuple[Tensor, ...]:
    slots, rows, columns = units.grid or (0, 0, 0)
    return _lists(slots * rows * columns, *vjepa(len(key), (slots, rows, columns), seeded(key)))


def _occupancy(units: Units, key: Tensor) -> tuple[Tensor, Tensor]:
    index = units.centre.expand(len(key), -1, -1)
    kept = occupancy_mae([i[v] for i, v in zip(index, units.valid, strict=True)], random.Random(int(key[0])))
    visible = torch.zeros_like(units.valid)
    visible[units.valid] = torch.cat(kept)
    return visible, units.valid & ~visible


BEIT = Published("BEiT", _beit)
IJEPA = Published("I-JEPA", _ijepa)
VJEPA = Published("V-JEPA 2", _vjepa)
OCCUPANCY_MAE = Published("Occupancy-MAE", _occupancy, ratio=0.5)
