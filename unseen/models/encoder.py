"""What makes tokens of units: the one interface behind which the ViT and its siblings stand."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from unseen.contract import Shapes, Units
from unseen.errors import UnseenError
from unseen.models.blocks import call, of_wanted
from unseen.packing import Packing


@runtime_checkable
class EncoderSpec(Protocol):
    """An encoder as a recipe names it: a frozen description of the module."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...

    def module(self, shapes: Shapes) -> "Encoder":
        """The module for data of these shapes, its weights not yet drawn: a part of a model that draws them all."""
        ...

    def build(self, shapes: Shapes) -> "Encoder":
        """The same alone, with the weights of seed 0."""
        ...


class Encoder(nn.Module):
    """Tokens for the units that it is given. A subclass sets the attributes and says what `run` does."""

    spec: Any  # the EncoderSpec
    unit: tuple[int, ...]
    recompute = False  # trade time for memory: recompute each block's activations in the backward pass
    patch_embed: Any  # module [B, V, *P] -> [B, V, width]: of each unit alone, without its position
    blocks: Any
    norm: Any

    def forward(
        self,
        x_visible: Shaped[Tensor, "B V *P"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor | list[Tensor]:
        """Tokens [B, (1 +) V, width] through the final norm, the class token first where there is one.

        `centre` are the coordinates of these very units (one row where all samples have the same); units that are not
        `live` are padding and are never read.
        With `layers`, a list: the output of each named block, through the same final norm. Block -1 is the last.
        """
        if tuple(x_visible.shape[2:]) != tuple(self.unit):
            raise UnseenError(
                f"units of {tuple(x_visible.shape[2:])} numbers, where the encoder was built for {tuple(self.unit)}",
                "what a unit holds has one shape, in crops of training as in whole frames of monitors and probes",
                "a unit of one's own must not grow with the picture",
            )
        outputs = self.run(self.patch_embed(x_visible), centre, live, (-1,) if layers is None else layers)
        return outputs[0] if layers is None else outputs

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        """The same from embedded units, positions not yet added: a list of the layers' outputs.

        With `wanted`, every output is of these units only, packed and without class token, and the last block that is
        run computes no others.
        """
        raise NotImplementedError

    def of_units(self, values: Shaped[Tensor, "B N *P"], units: Units, last: int) -> list[Float[Tensor, "B N D"]]:
        """Tokens of every unit that is given, from the last blocks, without the class token."""
        live = None if bool(units.valid.all()) else units.valid
        layers = self.run(self.patch_embed(values), units.centre, live, tuple(range(-last, 0)))
        return [layer[:, layer.shape[1] - values.shape[1] :] for layer in layers]

    def through(
        self,
        x: Float[Tensor, "B N D"],
        inputs: Sequence[tuple[Tensor | None, ...]],
        layers: tuple[int, ...],
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        """Run the blocks, each with its own further inputs, and give the outputs of `layers` through the final norm.

        None above the highest of `layers` is run.
        """
        numbers, outputs = [self.layer(layer) for layer in layers], {}
        last = max(numbers)
        for number, (block, more) in enumerate(list(zip(self.blocks, inputs, strict=True))[: last + 1]):
            x = call(block, x, *more, recompute=self.recompute, wanted=wanted if number == last else None)
            if number in numbers:
                outputs[number] = self.norm(x if number == last else of_wanted(x, wanted))
        return [outputs[number] for number in numbers]

    def layer(self, layer: int) -> int:
        """Which block a layer is; negative numbers count from the end. UnseenError where there is no such block."""
        if not -self.spec.depth <= layer < self.spec.depth:
            raise UnseenError(f"layer {layer} of an encoder with {self.spec.depth} blocks", "it must exist")
        return layer % self.spec.depth


def check_depth(owner: str, depth: int) -> None:
    """UnseenError for an encoder without blocks."""
    if depth < 1:
        raise UnseenError(f"{owner}: depth is {depth}", "an encoder has at least one block")


def cells(centre: Float[Tensor, "B N C"], spacing: tuple[float, ...]) -> Float[Tensor, "B N C"]:
    """Which whole cell of the grid each centre lies in, along each coordinate, from 0."""
    return (centre.float() / torch.tensor(spacing, device=centre.device)).floor()
