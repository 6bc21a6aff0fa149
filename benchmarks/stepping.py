"""Training steps as they are timed: forward, backward and AdamW, of the package and of its peers alike."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count

import torch
from torch import Tensor, nn

from unseen.contract import Clip, MaskedModel
from unseen.randomness import keys
from unseen.systems.objective import Objective, predict, total, unit_weights
from unseen.train.training import AdamW, trainable

Step = Callable[[], float]
Loss = Callable[[], Tensor]
LR = 1e-4


def half(enabled: bool = True) -> AbstractContextManager:
    """bfloat16 autocast, or float32."""
    return torch.autocast("cpu", torch.bfloat16) if enabled else nullcontext()


def step_of(optimiser: torch.optim.Optimizer, loss_of: Loss) -> Step:
    """One training step; it gives the loss."""

    def step() -> float:
        loss = loss_of()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def in_half(loss_of: Loss, enabled: bool = True) -> Loss:
    """The whole loss under autocast, as peers that compute their own are trained."""

    def loss() -> Tensor:
        with half(enabled):
            return loss_of()

    return loss


def peer_step(model: nn.Module, loss_of: Loss, *, decay: float = 0.05, bf16: bool = True, fused: bool = True) -> Step:
    torch.set_grad_enabled(True)  # importing a peer's code may leave it off
    parameters = model.train().parameters()
    optimiser = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.95), weight_decay=decay, fused=fused)
    return step_of(optimiser, in_half(loss_of, bf16))


def adamw(model: nn.Module, decay: float = 0.05) -> torch.optim.Optimizer:
    """The package's own optimiser, at the learning rate of the peers."""
    [optimiser] = AdamW(weight_decay=decay).build(trainable(model))
    for group in optimiser.param_groups:
        group["lr"] = LR
    return optimiser


def objective_loss(model: MaskedModel, objective: Objective, clip: Clip, *, bf16: bool = True) -> Loss:
    """The loss as the training loop computes it: cutting, another mask at every call, and targets are inside."""
    epochs = count()

    def loss() -> Tensor:
        batch = objective.batch(clip, keys(0, clip["sample_id"], next(epochs), "mask"))
        with half(bf16):
            prediction = predict(model, batch)
        losses, counted = objective.losses(prediction, batch), unit_weights(batch)
        return total(losses, counted, {name: value.sum() for name, value in counted.items()}, objective)

    return loss
