"""Members that each break one law in a way that published code or a hasty colleague has broken it."""

import dataclasses
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unseen.contract import Clip, Mask, MaskedBatch, MaskedModel, Metadata, Shapes, Units
from unseen.masks import EgoTube
from unseen.masks.choose import choose, counts, grid_2d
from unseen.packing import pack
from unseen.randomness import gumbel, uniform
from unseen.targets import Pixels
from unseen.units import Patches


@dataclasses.dataclass(frozen=True)
class GlobalGenerator:
    """Draws from torch's global generator."""

    ratio: float = 0.75

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        return choose(torch.rand(units.valid.shape), units.valid, *counts(units.valid, self.ratio))


@dataclasses.dataclass(frozen=True)
class IgnoresKey:
    ratio: float = 0.75

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        score = torch.arange(units.valid.shape[1]).expand(units.valid.shape)
        return choose(score.double(), units.valid, *counts(units.valid, self.ratio))


@dataclasses.dataclass(frozen=True)
class Truncates:
    """Counts as the official samplers do: int(n * (1 - ratio)), one short where the float product falls below."""

    ratio: float = 0.9

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        n_valid = units.valid.sum(dim=1)
        n_visible = torch.tensor([int(n * (1 - self.ratio)) for n in n_valid.tolist()])
        return choose(uniform(key, units.valid.shape[1]), units.valid, n_visible, n_valid - n_visible)


@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Draws each unit by itself: the count holds on average only."""

    ratio: float = 0.75

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        hidden = uniform(key, units.valid.shape[1]) < self.ratio
        return Mask(~hidden & units.valid, hidden & units.valid)


@dataclasses.dataclass(frozen=True)
class CutToBatchMinimum:
    """Cuts all rows to the smallest count in the batch, as I-JEPA's collator does."""

    ratio: float = 0.75

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        n_visible, n_target = (count.min().expand(len(key)) for count in counts(units.valid, self.ratio))
        return choose(uniform(key, units.valid.shape[1]), units.valid, n_visible, n_target)


@dataclasses.dataclass(frozen=True)
class CountsPadding:
    """Takes the ratio of all units, those that do not exist included."""

    ratio: float = 0.5

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        everything = torch.ones_like(units.valid)
        return choose(uniform(key, units.valid.shape[1]), units.valid, *counts(everything, self.ratio))


@dataclasses.dataclass(frozen=True)
class HidesPadding:
    ratio: float = 0.5

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        everything = torch.ones_like(units.valid)
        return choose(uniform(key, units.valid.shape[1]), everything, *counts(everything, self.ratio))


@dataclasses.dataclass(frozen=True)
class SparesTheBorder:
    """Its rectangles never reach the last row or column, as with I-JEPA's exclusive upper bound."""

    ratio: float = 0.5

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        rows, columns = grid_2d(units)
        last = (torch.arange(rows)[:, None] == rows - 1) | (torch.arange(columns) == columns - 1)
        return choose(
            uniform(key, rows * columns) - 2.0 * last.flatten(), units.valid, *counts(units.valid, self.ratio)
        )


@dataclasses.dataclass(frozen=True)
class ClaimsItsWeights:
    """Takes weights for probabilities: of a sample without replacement they are not."""

    ratio: float = 0.75

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        weight = units.importance.expand(units.valid.shape)
        score = weight.log() + gumbel(key, weight.shape[1])
        mask = choose(score, units.valid, *counts(units.valid, self.ratio))
        return mask._replace(inclusion=(self.ratio * weight / weight.mean()).clamp(max=1))


@dataclasses.dataclass(frozen=True)
class SplitsTubes:
    """Cuts to the exact count of units, so that one place is hidden in some slots only."""

    ratio: float = 0.9
    whole_tubes: ClassVar[bool] = True

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        places = uniform(key, units.valid.shape[1] // units.grid[0])
        return choose(places.repeat(1, units.grid[0]), units.valid, *counts(units.valid, self.ratio))


@dataclasses.dataclass(frozen=True)
class CountsByTheClip:
    """Follows places, with the right counts in the clip, whichever its slots get."""

    visible: float = 0.25
    target: float = 0.5
    follows_the_world: ClassVar[bool] = True

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        n_valid = units.valid.sum(dim=1)
        return choose(uniform(key, units.valid.shape[1]), units.valid, n_valid // 4, n_valid // 2)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NoGuard(EgoTube):
    """Whatever is not visible is a target: a place half on a visible unit is seen."""

    visible: float = 0.25
    target: float = 0.75
    cell: float = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeepsToPixels(EgoTube):
    """A static tube with a guard: the world slides out of it."""

    fallback: Literal["refuse", "tube"] = "tube"

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        return EgoTube.__call__(self, units._replace(place=None), key, metadata)


@dataclasses.dataclass(frozen=True)
class OneWord:
    """Hides a single word, whatever the ratio."""

    ratio: float = 0.5
    whole_words: ClassVar[bool] = True

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        target = (units.group == 0) & units.valid
        return Mask(units.valid & ~target, target)


@dataclasses.dataclass(frozen=True)
class OvershootsByAWord:
    """Adds words until the count is reached, the last one whole."""

    ratio: float = 0.3
    whole_words: ClassVar[bool] = True

    def __call__(self, units: Units, key: Tensor, metadata: Metadata) -> Mask:
        wanted = counts(units.valid, self.ratio)[1]
        first = (units.valid.cumsum(dim=1) <= wanted[:, None]) & units.valid
        last = (units.group.expand(first.shape) * first).amax(dim=1)
        target = (units.group <= last[:, None] + 1) & units.valid
        return Mask(units.valid & ~target, target)


@dataclasses.dataclass(frozen=True)
class Corrupts:
    """Lets the model read half of the targets, as a random token; `wrongs` names what it does wrong."""

    wrongs: str = ""

    def __call__(self, values: Tensor, mask: Mask, key: Tensor) -> tuple[Tensor, Mask]:
        score = uniform(key, values.shape[1])
        if self.wrongs == "generator":
            score = torch.rand(values.shape)
        order = score.masked_fill(~mask.target, 2).argsort(dim=1).argsort(dim=1)
        read = mask.target & (order < mask.target.sum(dim=1, keepdim=True) // 2)
        if self.wrongs == "count":
            read = mask.target & (score < 0.5)
        drawn = (uniform(key ^ 1, values.shape[1]) * 90).long() + 5
        if self.wrongs == "content":
            drawn = values + 1
        if self.wrongs == "mates":
            drawn = drawn + values.sum()
        changed = torch.where(read, drawn, values)
        if self.wrongs == "visible":
            changed = torch.where(mask.visible, changed + 1, changed)
        return changed, mask._replace(visible=mask.visible | read)


@dataclasses.dataclass(frozen=True)
class SwapsAxes(Patches):
    """Its inverse puts columns where rows were."""

    size: tuple[int, int] = (4, 4)

    def join(self, values: Tensor, units: Units) -> Tensor:
        return Patches.join(self, values.transpose(2, 3), units)


@dataclasses.dataclass(frozen=True)
class SwapsCentres(Patches):
    """Centres as (x, y)."""

    size: tuple[int, int] = (4, 4)

    def cut(self, clip: Clip) -> tuple[Tensor, Units]:
        values, units = Patches.cut(self, clip)
        return values, units._replace(centre=units.centre.flip(-1))


@dataclasses.dataclass(frozen=True)
class CentresOfMass(Patches):
    """Centres that follow the content, as those of point groups do: where a hidden unit is then says what it holds."""

    size: tuple[int, int] = (4, 4)

    def cut(self, clip: Clip) -> tuple[Tensor, Units]:
        values, units = Patches.cut(self, clip)
        return values, units._replace(centre=units.centre + values.float().mean(dim=(2, 3, 4))[..., None] / 255)


@dataclasses.dataclass(frozen=True)
class ReadsNeighbours(Pixels):
    """Its loss smooths over neighbouring units, so that one unit's loss moves another's prediction."""

    suits: ClassVar[str] = "nothing"
    risk: ClassVar[str] = "all"

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        loss = (prediction - target).square().flatten(2).mean(dim=2)
        return (loss + loss.roll(1, dims=1)) / 2


@dataclasses.dataclass(frozen=True)
class NaNOnFlat(Pixels):
    """Divides by the bare standard deviation."""

    suits: ClassVar[str] = "nothing"
    risk: ClassVar[str] = "all"

    def make(self, values: Tensor, units: Units, clip: Clip) -> Tensor:
        centred = values - values.mean(dim=(2, 3, 4), keepdim=True)
        return centred / values.std(dim=(2, 3, 4), keepdim=True)


@dataclasses.dataclass(frozen=True)
class ByTheBatch(Pixels):
    """Standardises by the statistics of the batch."""

    suits: ClassVar[str] = "nothing"
    risk: ClassVar[str] = "all"

    def make(self, values: Tensor, units: Units, clip: Clip) -> Tensor:
        return (values - values.mean()) / values.std()


@dataclasses.dataclass(frozen=True)
class OneNumberPerSample(Pixels):
    """Reduces over the units already."""

    suits: ClassVar[str] = "nothing"
    risk: ClassVar[str] = "all"

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().flatten(1).mean(dim=1)


@dataclasses.dataclass(frozen=True)
class CountsTheAbsent(Pixels):
    suits: ClassVar[str] = "nothing"
    risk: ClassVar[str] = "all"

    def weight(self, values: Tensor, units: Units, clip: Clip) -> Tensor:
        return torch.ones(values.shape[:2])


@dataclasses.dataclass(frozen=True)
class Standing:
    """A small model whose `mixes` names how it wrongs its batch; "" does nothing wrong."""

    mixes: str = ""

    def build(self, shapes: Shapes) -> MaskedModel:
        return StandingModel(self.mixes, shapes)


class StandingModel(MaskedModel):
    def __init__(self, mixes: str, shapes: Shapes):
        super().__init__()
        self.mixes, self.shapes = mixes, shapes
        n_values = torch.Size(shapes.unit).numel()
        self.read = nn.Linear(n_values, 4)
        self.heads = nn.ModuleList(nn.Linear(6, torch.Size(output.shape).numel()) for output in shapes.outputs.values())

    def forward(self, x_visible, visible_mask, target_mask, metadata=None):
        tokens = self.read(x_visible.flatten(2))
        live = torch.arange(tokens.shape[1]) < visible_mask.sum(dim=1)[:, None]
        if self.mixes == "padding":
            state = tokens.mean(dim=1)
        else:
            state = (tokens * live[..., None]).sum(dim=1) / live.sum(dim=1, keepdim=True)
        if self.mixes == "batch":
            state = state - state.mean(dim=0)
        predictions = {}
        for head, (name, mask) in zip(self.heads, target_mask.items(), strict=True):
            place = pack(metadata["centre"].expand(len(mask), -1, -1), mask)
            joined = torch.cat([state[:, None].expand(-1, place.shape[1], -1), place / 100], dim=2)
            value = head(joined)
            if self.mixes != "padding":
                value = torch.where((torch.arange(place.shape[1]) < mask.sum(dim=1)[:, None])[..., None], value, 0)
            predictions[name] = value.unflatten(2, self.shapes.outputs[name].shape)
        return predictions


def masks_by_multiplying(model: MaskedModel, batch: MaskedBatch) -> dict[str, Tensor]:
    """Hands the model everything times the mask: a hidden NaN stays NaN."""
    x = batch.input * batch.visible_mask.view(*batch.visible_mask.shape, *[1] * (batch.input.ndim - 2))
    return model(x, torch.ones_like(batch.visible_mask), batch.target_mask, batch.metadata)


def hands_over_weights(model: MaskedModel, batch: MaskedBatch) -> dict[str, Tensor]:
    """Gives the model all metadata, weights included: that a hidden unit weighs nothing says that it is flat."""
    return model(pack(batch.input, batch.visible_mask), batch.visible_mask, batch.target_mask, batch.metadata)


def centres_by_all_units(model: MaskedModel, batch: MaskedBatch) -> dict[str, Tensor]:
    """Takes the mean of all units out of the visible ones: a statistic of what is hidden leaks."""
    x = batch.input - batch.input.mean(dim=1, keepdim=True)
    return model(pack(x, batch.visible_mask), batch.visible_mask, batch.target_mask, batch.metadata)
