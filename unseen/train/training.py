"""How long, how fast and with which optimiser: the part of a recipe that the loop reads."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unseen.errors import UnseenError
from unseen.models.in_place import ForeignEncoder
from unseen.models.masked_autoencoder import MaskedAutoencoderModel

Named = tuple[str, nn.Parameter]

OUTER = ("patch_embed", "stem", "embed", "head", "token")  # first and last layers: AdamW, also under Muon
# What may change between two parts of one run: none of these touches a weight.
FREE = ("workers", "cache_mb", "checkpoint_every", "keep", "monitor_every", "monitor_samples", "log_every", "recompute")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, ICLR 2019); betas of MAE (He et al., CVPR 2022)."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.05  # vectors, biases, tokens and positions are exempt

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UnseenError(f"AdamW: betas are {self.betas}", "each is at least 0 and below 1")
        if not (self.eps > 0 and self.weight_decay >= 0):
            raise UnseenError(
                f"AdamW: eps {self.eps}, weight_decay {self.weight_decay}", "eps is above 0, weight decay 0 or more"
            )

    def build(self, named: list[Named]) -> list[Optimizer]:
        groups = parameter_groups(named, self.weight_decay)
        return [torch.optim.AdamW(groups, lr=0.0, betas=self.betas, eps=self.eps, fused=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for the inner matrices (Jordan et al., 2024), AdamW for everything else.

    Updates are scaled to AdamW's RMS (Liu et al., 2025), so that one learning rate serves both.
    """

    momentum: float = 0.95
    weight_decay: float = 0.05
    rest: AdamW = AdamW()

    def build(self, named: list[Named]) -> list[Optimizer]:
        inner = [(name, p) for name, p in named if p.ndim == 2 and decays(name, p) and not _outer(name)]
        chosen = {name for name, _ in inner}
        optimisers = self.rest.build([(name, p) for name, p in named if name not in chosen])
        if inner:
            muon = torch.optim.Muon(
                [p for _, p in inner],
                lr=0.0,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            optimisers.append(muon)
        return optimisers


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    steps: int = 1000
    batch: int = 64  # samples of a step, over all processes
    micro_batch: int | None = None  # samples that one process runs at once; None: its whole share
    lr: float = 1.5e-4  # per 256 samples, before scaling
    scale_lr: Literal["linear", "sqrt", "none"] = "linear"  # of the peak, with batch / 256
    warmup: int = 60  # steps
    min_lr: float = 0.0  # at the end of the half cosine
    optimiser: AdamW | Muon = AdamW()
    clip_norm: float | None = 1.0  # of the gradient of all parameters together
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 autocast where the hardware has it
    compile: bool | Literal["whole"] = False  # True: block by block; "whole": faster steps after minutes of compiling
    recompute: bool = False  # trade a second forward pass of each block for its activations' memory
    seed: int = 0
    log_power: float = 0.5  # a frame of a log is drawn with a weight of (frames of the log) ** -log_power
    workers: int = 1  # threads that prepare data
    cache_mb: int = 2048  # decoded frames kept in memory
    checkpoint_every: int = 200  # steps
    keep: int = 2  # checkpoints
    monitor_every: int = 100  # steps
    monitor_samples: int = 32
    log_every: int = 10  # steps

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "keep", "monitor_every", "monitor_samples", "log_every"):
            if getattr(self, name) < 1:
                raise UnseenError(f"training.{name} is {getattr(self, name)}", "it counts from 1")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise UnseenError(f"training.micro_batch is {self.micro_batch}", "it counts from 1, or is None")
        if not 0 <= self.warmup < self.steps:
            raise UnseenError(
                f"training.warmup is {self.warmup} of {self.steps} steps",
                "the learning rate must reach its peak before the run ends",
                f"set training.warmup to {self.steps // 20}",
            )
        if not (self.lr >= 0 and math.isfinite(self.lr)):
            raise UnseenError(f"training.lr is {self.lr}", "it is a finite number, 0 or more")
        if not 0 <= self.min_lr <= self.peak_lr():
            raise UnseenError(
                f"training.min_lr is {self.min_lr}", f"it lies between 0 and the peak, {self.peak_lr():.3g}"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UnseenError(f"training.clip_norm is {self.clip_norm}", "it is above 0, or None for no clipping")

    def peak_lr(self) -> float:
        """The learning rate after the warm-up, scaled by the batch as asked for."""
        scale = {"linear": self.batch / 256, "sqrt": math.sqrt(self.batch / 256), "none": 1.0}
        return self.lr * scale[self.scale_lr]

    def lr_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: linear warm-up to the peak, then a half cosine down to `min_lr`."""
        peak = self.peak_lr()
        if step < self.warmup:
            return peak * (step + 1) / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.min_lr + (peak - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def decisive(self) -> "Training":
        """The same training with everything that touches no weight at its default: what a resume must agree on."""
        free: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in FREE}
        return replace(self, **free)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices and kernels called `weight`; not to vectors, tokens and positions."""
    return parameter.ndim >= 2 and name.endswith("weight") and "pos" not in name.split(".")[-2:][0]


def parameter_groups(named: list[Named], weight_decay: float) -> list[dict]:
    """The field's two groups: with decay and without."""
    with_decay = [p for name, p in named if decays(name, p)]
    without = [p for name, p in named if not decays(name, p)]
    groups = [{"params": with_decay, "weight_decay": weight_decay}, {"params": without, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def trainable(model: nn.Module) -> list[Named]:
    """Names and parameters that learn."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def set_lr(optimisers: list[Optimizer], lr: float) -> None:
    """One learning rate for all groups of all optimisers."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = lr


def compile_blocks(model: nn.Module) -> None:
    """Compile the members of every list called `blocks`; where there is none, the user's network, or the whole model.

    Block by block takes a fraction of the time of the whole: equal blocks share their code, and what depends on the
    number of chosen units (packing) stays outside.
    """
    lists = [part for name, part in model.named_modules() if name.rpartition(".")[2] == "blocks"]
    blocks = [block for part in lists for block in part.children()]
    networks = [part.net for part in model.modules() if isinstance(part, ForeignEncoder)]
    for part in blocks or networks or [model]:
        part.compile()


def compile_whole(model: nn.Module) -> None:
    """Compile encoder and predictor of a masked autoencoder in one piece each.

    One graph each, where equal blocks share nothing: steps are faster than after `compile_blocks`, and compilation
    takes many times as long. A model that is no encoder with a predictor is compiled by blocks.
    """
    if not isinstance(model, MaskedAutoencoderModel):
        compile_blocks(model)
        return
    for part in (model.encoder, model.predictor):
        if part is not None:
            part.compile()


def recompute_blocks(model: nn.Module, wanted: bool) -> None:
    """Have the parts that can compute their blocks again in the backward pass do so; UnseenError where none can."""
    able: list[Any] = [part for part in model.modules() if hasattr(part, "recompute")]
    if wanted and not able:
        raise UnseenError("training.recompute is set", "only the package's own blocks are recomputed", "leave it out")
    for part in able:
        part.recompute = wanted


def _outer(name: str) -> bool:
    return any(part in name for part in OUTER)
