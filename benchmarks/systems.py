"""One training step of BEiT and of VideoMAE against transformers, each in its best mode.

Same sizes, content and weights (the losses of the first masks are printed side by side, in float32); alternating in one
process, one thread, CPU clock, bfloat16 autocast, fused AdamW. `python -m benchmarks.systems`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rounds import Job, alternate, command, gemm_peak, ratio
from benchmarks.stepping import adamw, objective_loss, peer_step, step_of
from unseen.contract import Clip, MaskedBatch, MaskedModel, ModelSpec, Units
from unseen.masks import Block, Tube
from unseen.models import InPlace, MaskedAutoencoder, Relative, SelfAttention, Sequence1D, ViT
from unseen.models.layouts import beit, video_mae
from unseen.randomness import keys
from unseen.systems.objective import Objective, Term
from unseen.targets import Pixels
from unseen.units import Patches, Tubes

SIDE, WIDTH, DEPTH, HEADS, VOCABULARY = 112, 192, 12, 3, 8192
EPS = 1e-5  # of every norm: transformers' VideoMAE has it fixed in its decoder


class System(NamedTuple):
    """One objective of the package, and how a peer computes the same."""

    objective: Objective
    spec: ModelSpec
    clip: Clip
    peer: Callable[[MaskedModel, str], nn.Module]  # with the same weights, under a named attention
    loss: Callable[[Any, Clip, MaskedBatch], Tensor]  # of a peer, for the mask of a batch
    decode: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Class ids that are known: BEiT's tokenizer is no part of the step."""

    known: Tensor

    suits: ClassVar[str] = "timing"
    risk: ClassVar[str] = "none"

    def make(self, values: Tensor, units: Units, clip: Clip) -> Tensor:
        return self.known

    def weight(self, values: Tensor, units: Units, clip: Clip) -> Tensor:
        return units.valid.float()

    def prediction(self, target: Tensor) -> tuple[int, ...]:
        return (VOCABULARY,)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction.float().flatten(0, 1), target.flatten(), reduction="none").view_as(target)


def beit_system(batch: int = 16) -> System:
    """Masked image modelling over 14 x 14 patches of which 75 are hidden (Bao et al., ICLR 2022, section 3)."""
    patch, grid = 8, (14, 14)
    generator = torch.Generator().manual_seed(0)
    clip = Clip(image=torch.randn(batch, 3, SIDE, SIDE, generator=generator), sample_id=torch.arange(batch))
    ids = torch.randint(0, VOCABULARY, (batch, grid[0] * grid[1]), generator=generator)
    encoder = ViT(
        width=WIDTH,
        depth=DEPTH,
        heads=HEADS,
        norm_eps=EPS,
        positions=None,
        relative=Relative(grid=grid),
        layer_scale=0.1,
    )
    objective = Objective(
        normalise=None,  # peers are given normalised content too
        unit=Patches(size=(patch, patch)),
        mask=Block(ratio=75 / 196),
        targets={"ids": Term(target=Ids(known=ids))},
    )

    def peer(model: Any, attention: str) -> nn.Module:
        from transformers import BeitConfig, BeitForMaskedImageModeling

        state, config = beit.to_peer(model, grid)
        return loaded(BeitForMaskedImageModeling, BeitConfig(**config), state, attention)

    def loss(peer: Any, clip: Clip, batch: MaskedBatch) -> Tensor:
        hidden = ~batch.visible_mask
        return peer(clip["image"], bool_masked_pos=hidden, labels=batch.target["ids"][hidden]).loss

    return System(objective, InPlace(encoder=encoder), clip, peer, loss, (1.0,))


def video_mae_system(batch: int = 8) -> System:
    """8 frames in tubes of 2 x 16 x 16: 196 units, of which 20 are read (Tong et al., NeurIPS 2022)."""
    tube, grid = (2, 16, 16), (4, 7, 7)
    video = torch.randn(batch, 8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    positions = Sequence1D(grid=grid)
    encoder = ViT(width=WIDTH, depth=DEPTH, heads=HEADS, norm_eps=EPS, class_token=False, positions=positions)
    predictor = SelfAttention(width=96, depth=4, heads=3, norm_eps=EPS, positions=positions, embed_bias=False)
    objective = Objective(
        normalise=None,  # peers are given normalised content too
        unit=Tubes(size=tube),
        mask=Tube(ratio=0.9),
        targets={"pixels": Term(target=Pixels(normalise="channel", flat_std=0.0))},
    )

    def peer(model: Any, attention: str) -> nn.Module:
        from transformers import VideoMAEConfig, VideoMAEForPreTraining

        state, config = video_mae.to_peer(model)
        return loaded(VideoMAEForPreTraining, VideoMAEConfig(**config), state, attention)

    def loss(peer: Any, clip: Clip, batch: MaskedBatch) -> Tensor:
        return peer(clip["video"], bool_masked_pos=~batch.visible_mask).loss

    clip = Clip(video=video, sample_id=torch.arange(batch))
    return System(objective, MaskedAutoencoder(encoder=encoder, predictor=predictor), clip, peer, loss, (1.0, 0.5))


SYSTEMS = {"beit": beit_system, "videomae": video_mae_system}


def loaded(kind: Any, config: Any, state: dict[str, Tensor], attention: str) -> nn.Module:
    """A model of transformers with our weights, all of them and no others."""
    from transformers import utils

    utils.logging.disable_progress_bar()
    peer, report = kind.from_pretrained(
        None, config=config, state_dict=state, attn_implementation=attention, output_loading_info=True
    )
    if any(report.values()) or peer.config._attn_implementation != attention:
        raise RuntimeError(f"transformers read the weights otherwise: {report}, {peer.config._attn_implementation}")
    return peer


def first_batch(system: System) -> MaskedBatch:
    return system.objective.batch(system.clip, keys(0, system.clip["sample_id"], 0, "mask"))


def fresh(system: System) -> MaskedModel:
    """The model with the weights of seed 0; a table of relative positions starts at zero, here it does not."""
    model = system.spec.build(system.objective.shapes(first_batch(system)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("relative.table"):
                parameter.normal_(0, 0.02, generator=generator)
    return model


def first_losses(system: System) -> tuple[float, float]:
    """Of the package and of the peer: same weights, same masks, float32."""
    torch.set_grad_enabled(True)
    model, batch = fresh(system), first_batch(system)
    peer = system.peer(model, "eager").train()
    ours = objective_loss(model, system.objective, system.clip, bf16=False)()
    return float(ours.detach()), float(system.loss(peer, system.clip, batch).detach())


def jobs(system: System) -> dict[str, Job]:
    """What is timed, by name; the peers have one mask for all their steps, the package draws them."""
    out: dict[str, Job] = {}
    batch = first_batch(system)
    for attention in ("eager", "sdpa"):
        peer = system.peer(fresh(system), attention)
        out[f"transformers, {attention}"] = peer_step(peer, lambda peer=peer: system.loss(peer, system.clip, batch))
    for decode in system.decode:
        model = fresh(system)
        objective = replace(system.objective, decode=decode)
        label = "unseen" if decode == 1 else f"unseen, {100 * decode:.0f} % decoded"
        out[label] = step_of(adamw(model), objective_loss(model, objective, system.clip))
    return out


def compare(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    system = SYSTEMS[name]()
    ours, theirs = first_losses(system)
    taken = alternate(jobs(system), rounds, seconds)
    middle = {label: sorted(times)[len(times) // 2] for label, times in taken.items()}
    base = min((label for label in taken if label.startswith("transformers")), key=lambda label: middle[label])
    samples = len(system.clip["sample_id"])
    print(f"\n{name}: batch {samples}, {rounds} rounds; 1 = {base}; bf16 GEMM peak {gemm_peak() / 1e9:.0f} GFLOP/s; "
          f"loss of the first step, float32: {ours:.6f}, peer {theirs:.6f}")  # fmt: skip
    rows: dict[str, Any] = {"first_loss": {"unseen": ours, "transformers": theirs}}
    for label in taken:
        rows[label] = {"samples_per_s": samples / middle[label], "ratio": ratio(taken, label, base)}
        print(f"  {label:24s} {rows[label]['samples_per_s']:8.1f}/s  {rows[label]['ratio']}")
    return rows


if __name__ == "__main__":
    command(__doc__, "systems", SYSTEMS, compare)
