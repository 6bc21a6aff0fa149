"""Initial weights as a pure function of (seed, parameter name): the global generator is neither read nor moved."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unseen.randomness import keys, name_hash, normal, uniform

M = TypeVar("M", bound=nn.Module)

CHUNK = 2**14
# drawn from a normal distribution, std 0.02
TOKENS = ("cls_token", "mask_token", "mask_patch", "pos_embed", "segment_embed")


def construct(factory: Callable[[], M], seed: int = 0) -> M:
    """Build a module without drawing a single random number, then give it its initial weights."""
    with torch.device("meta"):
        module = factory()
    return initialise(module.to_empty(device="cpu"), seed)


@torch.no_grad()
def initialise(module: M, seed: int) -> M:
    """Draw all weights anew, in place: Xavier-uniform matrices (a convolution as one flat matrix), normal tokens.

    As in MAE (He et al., 2022): biases 0, LayerNorm 1 and 0. A submodule with a method `reset(seed)` (a user's own
    backbone) resets itself and keeps its own rule; one with `reset_buffers()` restores its buffers.
    """
    _initialise(module, seed, "")
    return module


def _initialise(module: Any, seed: int, prefix: str) -> None:
    if hasattr(module, "reset"):
        module.reset(seed)
        return
    if hasattr(module, "reset_buffers"):
        module.reset_buffers()
    for leaf, parameter in module.named_parameters(recurse=False):
        parameter.copy_(_draw(module, leaf, parameter, seed, prefix + leaf).view_as(parameter))
    for name, child in module.named_children():
        _initialise(child, seed, f"{prefix}{name}.")


def _draw(owner: nn.Module, leaf: str, parameter: Tensor, seed: int, name: str) -> Tensor:
    count = parameter.numel()
    if leaf in TOKENS or isinstance(owner, nn.Embedding):
        return 0.02 * _numbers(normal, count, seed, name)
    if leaf == "bias":
        return torch.zeros(count)
    if isinstance(owner, nn.LayerNorm):
        return torch.ones(count)
    if leaf == "mix":  # [layers out, layers in]
        return _numbers(normal, count, seed, name) / math.sqrt(parameter.shape[1])
    fan_out, fan_in = parameter.shape[0], parameter[0].numel()
    bound = math.sqrt(6 / (fan_in + fan_out))
    return (2 * _numbers(uniform, count, seed, name) - 1) * bound


def _numbers(law: Callable[[Tensor, int], Tensor], count: int, seed: int, name: str) -> Tensor:
    """Draw in chunks that stay in the cache, each under a key of its own: three times as fast as all at once."""
    chunk = torch.arange(math.ceil(count / CHUNK)) + name_hash(name)
    key = keys(seed, chunk, 0, "initialise")
    return torch.cat([law(one, CHUNK)[0].float() for one in key.split(1)])[:count]
