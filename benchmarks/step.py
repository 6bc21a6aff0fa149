"""One training step against transformers ViTMAE and, by path, facebookresearch/mae in its best mode.

Same size, data, batch and thread; alternating in one process, CPU clock. `python -m benchmarks.step --mae CHECKOUT`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from benchmarks.peers import official, transformers_mae
from benchmarks.rounds import Job, alternate, gemm_peak, machine, ratio
from benchmarks.sizes import SIZES, Size
from benchmarks.stepping import Step, adamw, objective_loss, peer_step, step_of
from unseen.contract import Clip
from unseen.masks import Random
from unseen.models import CrossAttention, LinearStem, MaskedAutoencoder, SelfAttention, ViT, initialise
from unseen.randomness import keys
from unseen.systems.objective import Objective, Term
from unseen.targets import Pixels
from unseen.train.training import compile_blocks, compile_whole
from unseen.units import Fixed, Patches


def our_step(
    size: Size, images: torch.Tensor, *, decode: float = 1.0, cross: bool = False, compiled: bool | str = False
) -> Step:
    width, depth, heads = size.decoder
    predictor = (CrossAttention if cross else SelfAttention)(width=width, depth=depth, heads=heads)
    spec = MaskedAutoencoder(
        encoder=ViT(width=size.width, depth=size.depth, heads=size.heads, class_token=True, stem=LinearStem()),
        predictor=predictor,
    )
    objective = Objective(
        normalise=Fixed(mean=(0.0,) * 3, std=(1.0,) * 3),
        unit=Patches(size=(size.patch, size.patch)),
        mask=Random(ratio=0.75),
        targets={"pixels": Term(target=Pixels(normalise="patch", flat_std=0.0))},
        decode=decode,
    )
    clip = Clip(image=images, sample_id=torch.arange(len(images)))
    model = spec.build(objective.shapes(objective.batch(clip, keys(0, clip["sample_id"], 0, "mask"))))
    initialise(model, 0)
    if compiled:
        (compile_whole if compiled == "whole" else compile_blocks)(model)
    return step_of(adamw(model), objective_loss(model, objective, clip))


def variants(size: Size, mae: Path | None, compiled: bool) -> dict[str, Callable[[], Step]]:
    """What is compared, by name; each builds its own model when asked."""
    images = torch.randn(size.batch, 3, size.image, size.image)
    out: dict[str, Callable[[], Step]] = {}

    def peer(make: Callable[[], nn.Module], loss_of: Callable, **how) -> Callable[[], Step]:
        def build() -> Step:
            model = make()
            return peer_step(model, lambda: loss_of(model(images)), **how)

        return build

    if mae:
        out["official, bf16, fused"] = peer(lambda: official(mae, size), lambda o: o[0], bf16=True, fused=True)
        if compiled:
            out["official compiled"] = peer(
                lambda: torch.compile(official(mae, size)), lambda o: o[0], bf16=True, fused=True
            )
    loss_of = lambda o: o.loss  # noqa: E731
    out["transformers, as people start it"] = peer(
        lambda: transformers_mae(size, "sdpa"), loss_of, bf16=False, fused=False
    )
    out["transformers, best mode"] = peer(lambda: transformers_mae(size, "eager"), loss_of, bf16=True, fused=True)
    out["unseen"] = lambda: our_step(size, images)
    out["unseen, 50 % decoded"] = lambda: our_step(size, images, decode=0.5)
    out["unseen, 25 % decoded"] = lambda: our_step(size, images, decode=0.25)
    out["unseen, 25 % cross-attention"] = lambda: our_step(size, images, decode=0.25, cross=True)
    if compiled:
        out["unseen compiled"] = lambda: our_step(size, images, compiled=True)
        out["unseen compiled whole"] = lambda: our_step(size, images, compiled="whole")
    return out


def step_flops(size: Size) -> float:
    """FLOPs of one sample's step on the full objective: 6 per multiply-accumulate of the matrix products."""
    units = (size.image // size.patch) ** 2
    visible, pixels = units // 4 + 1, 3 * size.patch**2

    def blocks(n: int, width: int, depth: int) -> float:
        return depth * (12 * n * width**2 + 2 * n**2 * width)

    width, depth, _ = size.decoder
    encoder = blocks(visible, size.width, size.depth) + visible * pixels * size.width
    decoder = blocks(units + 1, width, depth) + visible * size.width * width + (units - visible) * width * pixels
    return 6.0 * (encoder + decoder)


def peak_memory(name: str, size: str, mae: Path | None) -> float:
    """Peak resident memory in MiB of a process that does three steps of one variant and nothing else."""
    words = [sys.executable, "-m", "benchmarks.step", "--sizes", size, "--only", name]
    done = subprocess.run([*words, *(["--mae", str(mae)] if mae else [])], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().rsplit("\n", 1)[-1])


def compare(name: str, mae: Path | None, rounds: int, seconds: float, compiled: bool, memory: bool) -> dict:
    size = SIZES[name]
    makers = variants(size, mae, compiled)
    jobs: dict[str, Job] = {label: make() for label, make in makers.items()}
    peak = gemm_peak()
    taken = alternate(jobs, rounds, seconds)
    peak = max(peak, gemm_peak())
    base = "official, bf16, fused" if mae else "transformers, best mode"
    print(f"\n{name}: {size.image} px, patch {size.patch}, {size.width}/{size.depth}, batch {size.batch}; "
          f"1 = {base}; bf16 GEMM peak {peak / 1e9:.0f} GFLOP/s")  # fmt: skip
    rows = {}
    for label, times in taken.items():
        middle = sorted(times)[len(times) // 2]
        full = "%" not in label
        row = {"samples_per_s": size.batch / middle, "ratio": ratio(taken, label, base)}
        if full:
            row["share_of_gemm_peak"] = step_flops(size) * size.batch / middle / peak
        if memory and "compiled" not in label:
            row["peak_mib"] = peak_memory(label, name, mae)
        rows[label] = row
        share = f"{100 * row['share_of_gemm_peak']:.0f} % of peak" if full else ""
        print(f"  {label:34s} {row['samples_per_s']:8.1f}/s  {row['ratio']:22s} {share:14s} "
              f"{row.get('peak_mib', 0):6.0f} MiB")  # fmt: skip
    for of, to in (("unseen", "transformers, as people start it"), ("unseen compiled whole", "official compiled")):
        if of in taken and to in taken:
            print(f"  {of} against {to}: {ratio(taken, of, to)}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mae", type=Path, help="a checkout of facebookresearch/mae")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each variant in each round")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", help="do three steps of one variant and print the peak memory in MiB")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if wanted.only:
        step = variants(SIZES[wanted.sizes[0]], wanted.mae, False)[wanted.only]()
        for _ in range(3):
            step()
        status = Path("/proc/self/status").read_text()  # not ru_maxrss: that starts at the size of the parent
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    print(machine())
    rows = {
        name: compare(name, wanted.mae, wanted.rounds, wanted.seconds, wanted.compiled, wanted.memory)
        for name in wanted.sizes
    }
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
