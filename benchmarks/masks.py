"""Masks a second against the published samplers, and the audit of both: `python -m benchmarks.masks [--audit]`.

Batches of 64 and of 512 in one process on one thread, CPU clock, alternating; ratios are medians over rounds with their
range.
"""

import argparse
import os
import random
import statistics
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks import collators
from benchmarks.rounds import Job, alternate, machine, ratio
from unseen.contract import MaskPolicy, Units
from unseen.evaluate.audit import audit, draw
from unseen.masks import Block, KeepOrReplace, MultiBlock, Random, Tube
from unseen.randomness import keys

BATCHES, TOKENS, WORDS = (64, 512), 128, 30000
SHORT = MultiBlock(ratio=0.75, context=0.25, area=((0.15, 0.15),))
SPECIAL = frozenset((0, 101, 102, 103))


def units_of(batch: int, *grid: int) -> Units:
    """Units of a grid, all there; on a 3-D grid slots are a quarter of a second apart."""
    sides = [torch.arange(side) + 0.5 for side in grid]
    if len(grid) == 3:
        sides[0] = torch.arange(grid[0]) / 4
    centre = torch.cartesian_prod(*sides).view(1, -1, len(grid)).float()
    n_units = centre.shape[1]
    return Units(centre, torch.ones(batch, n_units, dtype=torch.bool), torch.ones(1, n_units), tuple(grid))


def ours(policy: MaskPolicy, batch: int, *grid: int) -> Job:
    """Masks with fresh keys at each call, as a step asks for them."""
    units, key = units_of(batch, *grid), keys(0, torch.arange(batch), 0, "mask")
    turn = iter(range(2**62))
    return lambda: policy(units, key + next(turn), {})


def corrupted(tokens: Tensor) -> Job:
    """Tokens chosen and corrupted, with fresh keys at each call."""
    units, key = units_of(*tokens.shape), keys(0, torch.arange(len(tokens)), 0, "mask")
    units = units._replace(valid=~torch.isin(tokens, torch.tensor(sorted(SPECIAL))))
    policy, corruption, turn = Random(ratio=0.15), KeepOrReplace(vocabulary=WORDS, special=1000), iter(range(2**62))

    def job() -> object:
        turned = key + next(turn)
        return corruption(tokens, policy(units, turned, {}), turned)

    return job


def pairs(batch: int) -> dict[str, tuple[Job, Job]]:
    """The published sampler and ours, by name; each makes the masks of a batch."""
    generator, draw_one, of_numpy = torch.Generator().manual_seed(0), random.Random(0), np.random.default_rng(0)
    lists = [[101, *draw_one.choices(range(1000, WORDS), k=TOKENS - 2), 102] for _ in range(batch)]
    mlm = partial(collators.mlm, lists, generator, SPECIAL, 103, WORDS)
    return {
        "MAE 14x14 0.75": (partial(collators.mae, batch, 196, 0.75, generator), ours(Random(), batch, 14, 14)),
        "BEiT 14x14 75 of 196": (
            lambda: [collators.beit(14, 14, 75, draw_one) for _ in range(batch)],
            ours(Block(ratio=75 / 196), batch, 14, 14),
        ),
        "I-JEPA 16x16": (partial(collators.ijepa, batch, (16, 16), generator), ours(MultiBlock(), batch, 16, 16)),
        "V-JEPA 2 8x14x14, 8 blocks": (
            partial(collators.vjepa, batch, (8, 14, 14), generator),
            ours(SHORT, batch, 8, 14, 14),
        ),
        "VideoMAE tube 8x14x14 0.9": (
            lambda: np.stack([collators.tube(8, 196, 0.9, of_numpy) for _ in range(batch)]),
            ours(Tube(), batch, 8, 14, 14),
        ),
        f"MLM {TOKENS} tokens 0.15, choice alone": (mlm, ours(Random(ratio=0.15), batch, TOKENS)),
        f"MLM {TOKENS} tokens 0.15, chosen and corrupted": (mlm, corrupted(torch.tensor(lists))),
    }


def speed(rounds: int, seconds: float) -> None:
    print(machine())
    np.empty(2**22 - 2**16)  # as in training, the allocator has seen a large block freed, and keeps pages from then on
    for batch in BATCHES:
        for name, (published, own) in pairs(batch).items():
            taken = alternate({"published": published, "ours": own}, rounds, seconds)
            middle = {who: batch / statistics.median(times) / 1e3 for who, times in taken.items()}
            print(f"{name}, {batch} at once: published {middle['published']:.1f} k/s, ours {middle['ours']:.1f} k/s, "
                  f"ratio {ratio(taken, 'ours', 'published')}", flush=True)  # fmt: skip


def voxels(batch: int) -> Units:
    """A sweep's occupied cells: few near, many further out, another number in each sample; every tenth of 400 x 400."""
    index = torch.cartesian_prod(torch.arange(0, 400, 10), torch.arange(0, 400, 10)).float()
    chance = torch.rand(batch, 1600, generator=torch.Generator().manual_seed(0))
    return Units(index[None], chance < 0.15, torch.ones(1, 1600), None)


def audits(draws: int = 512) -> dict[str, dict]:
    """The audit of each published sampler and of ours in its place."""
    key = keys(0, torch.arange(draws), 0, "mask")
    image, square, clip = (units_of(draws, *grid) for grid in ((14, 14), (16, 16), (8, 14, 14)))
    cases = {
        "BEiT": (collators.BEIT, image),
        "Block": (Block(ratio=75 / 196), image),
        "I-JEPA": (collators.IJEPA, square),
        "MultiBlock": (MultiBlock(), square),
        "V-JEPA 2": (collators.VJEPA, clip),
        "MultiBlock on clips": (SHORT, clip),
        "Occupancy-MAE": (collators.OCCUPANCY_MAE, voxels(draws)),
        "Random on voxels": (Random(ratio=0.5), voxels(draws)),
    }
    return {
        name: audit(draw(policy, units, key, (1.0,) * units.centre.shape[2])) for name, (policy, units) in cases.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", action="store_true", help="run the checks instead of the clock")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.audit:
        return speed(options.rounds, options.seconds)
    for name, found in audits().items():
        failed = [f"{c['name']} {c['value']:.3g} > {c['limit']:.3g}" for c in found["checks"] if c["ok"] is False]
        print(f"{name}: {'passes' if found['passed'] else 'fails: ' + ', '.join(failed)}", flush=True)


if __name__ == "__main__":
    main()
