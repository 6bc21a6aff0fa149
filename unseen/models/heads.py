"""Heads: one for each output that a model owes, and the bookkeeping of their names."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from unseen.contract import Output
from unseen.errors import UnseenError
from unseen.packing import Packing, gather, packing


@runtime_checkable
class Head(Protocol):
    """A head as a recipe names it: a frozen description of the module [B, K, width] -> [B, K, n_values].

    The module may read the encoder's parameters; it sees the predicted units only.
    """

    def build(self, encoder: Any, n_values: int) -> nn.Module: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """One linear map."""

    def build(self, encoder: Any, n_values: int) -> nn.Module:
        return nn.Linear(encoder.spec.width, n_values)


class Heads(nn.ModuleDict):
    """A map from tokens to each named output. Names may hold dots, which module names may not."""

    def __init__(
        self,
        width: int,
        outputs: dict[str, Output],
        encoder_width: int,
        make: Callable[[int], nn.Module] | None = None,  # from the number of values; None: one linear map each
    ):
        shapes = {name: (encoder_width,) if output.shape is None else output.shape for name, output in outputs.items()}
        make = make or (lambda n_values: nn.Linear(width, n_values))
        super().__init__({_key(name): make(math.prod(shape)) for name, shape in shapes.items()})
        self.shapes = shapes

    def of(self, name: str) -> nn.Module:
        """The head of one output."""
        return self[_key(name)]

    def forward(
        self, name: str, tokens: Float[Tensor, "B K D"], live: Bool[Tensor, "B K"] | None
    ) -> Shaped[Tensor, "B K *T"]:
        """Predict one output; padding is exactly zero."""
        values = self.of(name)(tokens)
        if live is not None:
            values = torch.where(live[..., None], values, values.new_zeros(()))
        return values.unflatten(-1, self.shapes[name] or (1,)).view(*values.shape[:2], *self.shapes[name])


def named_masks(target_mask: Tensor | dict[str, Tensor], outputs: dict[str, Output]) -> dict[str, Tensor]:
    """Target masks by output name; a lone mask belongs to the lone output. UnseenError for other names."""
    if isinstance(target_mask, Tensor):
        if len(outputs) != 1:
            raise UnseenError(f"one target mask for the outputs {sorted(outputs)}", "give one mask per output, by name")
        return dict.fromkeys(outputs, target_mask)
    unknown = target_mask.keys() - outputs.keys()
    if unknown:
        raise UnseenError(f"the model has no output {sorted(unknown)}", f"it was built for {sorted(outputs)}")
    return target_mask


def within(
    tokens: Float[Tensor, "B K D"], places: Packing, held: Bool[Tensor, "B N"], wanted: Bool[Tensor, "B N"]
) -> tuple[Float[Tensor, "B L D"], Bool[Tensor, "B L"] | None]:
    """Of tokens packed by `held` (at `places`), those that `wanted` names, a subset; and which of them are live."""
    if wanted is held or torch.equal(wanted, held):
        return tokens, places.live
    chosen = wanted.gather(1, places.index)
    if places.live is not None:
        chosen = chosen & places.live
    inner = packing(chosen)
    return gather(tokens, inner), inner.live


def union_of(masks: list[Tensor]) -> Tensor:
    """Where any mask is True; the first mask itself when all are the same."""
    first = masks[0]
    if all(mask is first or torch.equal(mask, first) for mask in masks[1:]):
        return first
    return torch.stack(masks).any(dim=0)


def _key(name: str) -> str:
    return name.replace(".", "@")
