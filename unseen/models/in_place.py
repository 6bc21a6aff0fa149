"""In place: the encoder reads a full-length input in which hidden units are replaced by a learned token.

BEiT, SimMIM, MaskFeat, data2vec with the package's ViT, BERT with its encoders of tokens; with `backbone`, the same for
any network [B, C, H, W] -> [B, D, h, w] that a user already ships.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from unseen.contract import MaskedModel, Metadata, Shapes, Tree, Units
from unseen.errors import UnseenError
from unseen.models.encoder import EncoderSpec
from unseen.models.heads import Head, Heads, LinearHead, named_masks, union_of, within
from unseen.models.initialise import construct, initialise
from unseen.models.positions import centre_of
from unseen.packing import gather, packing, unpack


@runtime_checkable
class Backbone(Protocol):
    """A user's network as a recipe names it: a frozen dataclass whose `build()` gives [B, C, H, W] -> [B, D, h, w]."""

    def build(self) -> nn.Module: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """Exactly one of `encoder` (mask token replaces embeddings, before positions) and `backbone` (learned patch)."""

    encoder: EncoderSpec | None = None
    backbone: Backbone | nn.Module | None = None  # a module itself works in a notebook, but no recipe can store it
    head: Head = field(default_factory=LinearHead)  # of each output; a backbone has linear ones

    def __post_init__(self) -> None:
        if (self.encoder is None) == (self.backbone is None):
            raise UnseenError("InPlace got both or neither of `encoder` and `backbone`", "it needs exactly one")
        if self.backbone is not None and not isinstance(self.head, LinearHead):
            raise UnseenError(f"InPlace got a backbone and a {type(self.head).__name__}", "a backbone has linear heads")

    def build(self, shapes: Shapes) -> MaskedModel:
        """The model for data of these shapes, with the weights of seed 0."""
        encoder = self.encoder
        if encoder is not None:
            return construct(lambda: InPlaceViT(self, encoder, shapes))
        foreign = ForeignEncoder(self.backbone, shapes)
        model = construct(lambda: InPlaceBackbone(self, shapes, foreign.width))
        model.encoder = foreign
        return initialise(model, 0)


class InPlaceViT(MaskedModel):
    """An encoder over all units; heads read its final tokens at any unit, hidden or visible, and at no other."""

    def __init__(self, spec: InPlace, encoder: EncoderSpec, shapes: Shapes):
        super().__init__()
        self.spec, self.shapes = spec, shapes
        self.encoder = encoder.module(shapes)
        self.mask_token = nn.Parameter(torch.empty(1, 1, encoder.width))
        self.heads = Heads(encoder.width, shapes.outputs, encoder.width, partial(spec.head.build, self.encoder))

    def forward(self, x_visible: Tree, visible_mask: Tree, target_mask: Tree, metadata: Metadata | None = None) -> Tree:
        """Map [B, V, *P] to [B, T, *target], packed in unit order, by output name (a lone mask gives a lone Tensor)."""
        masks = named_masks(target_mask, self.shapes.outputs)
        n_units = visible_mask.shape[1]
        embedded = self.encoder.patch_embed(x_visible)
        full = unpack(embedded, packing(visible_mask), n_units, self.mask_token[0, 0])
        union = union_of(list(masks.values()))
        places = packing(union)
        [tokens] = self.encoder.run(full, centre_of(metadata), _live(metadata), wanted=places)
        prediction = {name: self.heads(name, *within(tokens, places, union, mask)) for name, mask in masks.items()}
        return next(iter(prediction.values())) if isinstance(target_mask, Tensor) else prediction


class InPlaceBackbone(MaskedModel):
    """A user's network over the image in which each hidden patch is one learned patch.

    A backbone with batch statistics mixes the samples of a batch in training mode; that is the user's choice.
    """

    encoder: "ForeignEncoder"

    def __init__(self, spec: InPlace, shapes: Shapes, width: int):
        super().__init__()
        self.spec, self.shapes = spec, shapes
        self.mask_patch = nn.Parameter(torch.empty(1, 1, *shapes.unit))
        self.heads = Heads(width, shapes.outputs, width)

    def forward(self, x_visible: Tree, visible_mask: Tree, target_mask: Tree, metadata: Metadata | None = None) -> Tree:
        """Map [B, V, h, w, C] to [B, T, *target], packed in unit order (a lone mask gives a lone Tensor)."""
        masks = named_masks(target_mask, self.shapes.outputs)
        grid = (metadata or {}).get("grid") or self.shapes.grid
        patches = unpack(x_visible, packing(visible_mask), visible_mask.shape[1], self.mask_patch[0, 0])
        features = self.encoder.at_units(compose(patches, grid), tuple(grid or ()))
        prediction = {}
        for name, mask in masks.items():
            places = packing(mask)
            prediction[name] = self.heads(name, gather(features, places), places.live)
        return next(iter(prediction.values())) if isinstance(target_mask, Tensor) else prediction


class ForeignEncoder(nn.Module):
    """A user's network, and its feature map read at the units' grid.

    A finer map gives each unit all its cells side by side; of a coarser one each cell is spread by a linear map over
    its units (a pixel shuffle).
    """

    def __init__(self, backbone: Backbone | nn.Module | None, shapes: Shapes):
        super().__init__()
        if len(shapes.unit) != 3 or shapes.grid is None or len(shapes.grid) != 2:
            raise UnseenError(f"a backbone got units {shapes.unit} on the grid {shapes.grid}", "it needs image patches")
        self.backbone, self.unit = backbone if not isinstance(backbone, nn.Module) else None, shapes.unit
        self.net = backbone if isinstance(backbone, nn.Module) else self._fresh(0)
        rows, columns = shapes.grid
        h, w, channels = shapes.unit
        features = self._probe(torch.zeros(1, channels, rows * h, columns * w))
        self.channels = features.shape[1]
        self.finer = _ratio(features.shape[2:], shapes.grid)
        self.coarser = 1 if self.finer else _ratio(shapes.grid, features.shape[2:])
        if not self.finer and not self.coarser:
            raise UnseenError(
                f"the backbone gives a {features.shape[2]} x {features.shape[3]} map for {rows} x {columns} patches",
                "one must be a whole multiple of the other, the same along both sides",
                "change the patch size or the backbone's stride",
            )
        self.spread = _spread(self.channels, self.coarser) if self.coarser > 1 else None
        self.width = self.channels * max(self.finer, 1) ** 2

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.net(image)

    def at_units(self, image: Float[Tensor, "B C H W"], grid: tuple[int, ...]) -> Float[Tensor, "B N E"]:
        """One feature vector per unit, in unit order."""
        features = self.net(image)
        if self.spread is not None:
            cells = self.spread(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            features = F.pixel_shuffle(cells, self.coarser)
        elif self.finer > 1:
            features = F.pixel_unshuffle(features, self.finer)
        if features.shape[2:] != tuple(grid):
            raise UnseenError(f"the backbone's map becomes {tuple(features.shape[2:])} for a grid of {tuple(grid)}")
        return features.flatten(2).transpose(1, 2)

    def of_units(self, values: Float[Tensor, "B N h w C"], units: Units, last: int) -> list[Float[Tensor, "B N E"]]:
        """One feature vector per unit of whole images, as the heads get them."""
        if last != 1:
            raise UnseenError(f"the last {last} layers of a user's backbone", "only its output is known", "last=1")
        return [self.at_units(compose(values, units.grid), units.grid or ())]

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Give the network the weights that its own `build()` draws or loads; a module given as such keeps its own."""
        if self.backbone is not None:
            self.net.load_state_dict(self._fresh(seed).state_dict())
        if self.spread is not None:
            initialise(self.spread, seed)

    def _fresh(self, seed: int) -> nn.Module:
        if self.backbone is None:
            return self.net
        with _own_generator(seed):
            return self.backbone.build()

    @torch.no_grad()
    def _probe(self, image: Tensor) -> Tensor:
        training = self.net.training
        features = self.net.eval()(image)
        self.net.train(training)
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise UnseenError("the backbone does not give one Tensor [B, D, h, w]", "wrap it in a module that does")
        return features


def compose(patches: Shaped[Tensor, "B N h w C"], grid: tuple[int, ...] | None) -> Shaped[Tensor, "B C H W"]:
    """The image whose patches these are, in [rows, columns] order. UnseenError where they do not fill the grid."""
    if grid is None or len(grid) != 2 or math.prod(grid) != patches.shape[1]:
        raise UnseenError(f"{patches.shape[1]} patches do not fill the grid {grid}", "a backbone needs whole images")
    batch, _, h, w, channels = patches.shape
    image = patches.unflatten(1, grid).permute(0, 5, 1, 3, 2, 4)
    return image.reshape(batch, channels, grid[0] * h, grid[1] * w)


def _live(metadata: Metadata | None) -> Tensor | None:
    valid = (metadata or {}).get("valid")
    return None if valid is None or bool(valid.all()) else valid


def _spread(channels: int, times: int) -> nn.Linear:
    return construct(lambda: nn.Linear(channels, channels * times**2))


def _ratio(large: tuple[int, ...], small: tuple[int, ...]) -> int:
    """How often `small` goes into `large`, the same along both sides; 0 when it does not."""
    factor = large[0] // small[0]
    return factor if all(factor * s == b for b, s in zip(large, small, strict=True)) else 0


@contextmanager
def _own_generator(seed: int) -> Iterator[None]:
    """A user's constructor draws from torch's global generator: seed it for the call, then put it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
