"""A vision transformer whose positions are rotary, in as many coordinates as its units have.

V-JEPA 2's encoder (Assran et al., 2025) over tubes with centres (t, y, x); images with (y, x) do as well.
"""

from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.blocks import Mlp, check_heads, of_wanted
from unseen.models.encoder import Encoder, cells, check_depth
from unseen.models.initialise import construct
from unseen.models.rotary import Pairing, RotaryAttention, part_width, turns
from unseen.models.stems import LinearStem, Stem
from unseen.packing import Packing

BASE = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryViT:
    """An encoder as a recipe names it. Pairing "released" is what V-JEPA 2's files need, see `unseen.models.rotary`."""

    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_ratio: float = 4.0
    stem: Stem = field(default_factory=LinearStem)
    norm_eps: float = 1e-6
    pairing: Pairing = "neighbours"

    def __post_init__(self) -> None:
        check_heads("RotaryViT", self.width, self.heads)
        check_depth("RotaryViT", self.depth)

    def module(self, shapes: Shapes) -> "RotaryVisionTransformer":
        return RotaryVisionTransformer(self, shapes)

    def build(self, shapes: Shapes) -> "RotaryVisionTransformer":
        """The module, with the weights of seed 0."""
        return construct(lambda: self.module(shapes))


class RotaryVisionTransformer(Encoder):
    """State dict with the names of timm and of the official V-JEPA 2 code. See `RotaryViT` for the settings."""

    def __init__(self, spec: RotaryViT, shapes: Shapes):
        super().__init__()
        check_parts("RotaryViT", spec.width // spec.heads, len(shapes.spacing))
        self.spec, self.unit, self.spacing, self.grid = spec, shapes.unit, shapes.spacing, shapes.grid
        self.patch_embed = spec.stem.build(shapes.unit, spec.width)
        self.blocks = nn.ModuleList(
            RotaryBlock(spec.width, spec.heads, spec.mlp_ratio, spec.norm_eps, spec.pairing) for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        cos, sin = grid_turns(centre, self.spacing, self.spec.width // self.spec.heads, self.spec.pairing)
        return self.through(tokens, [(cos, sin, live)] * self.spec.depth, layers, wanted)


class RotaryBlock(nn.Module):
    """x + rotary attention(norm(x)), then x + mlp(norm(x)); with `wanted`, the output of those tokens only."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, eps: float, pairing: Pairing):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = RotaryAttention(width, heads, pairing)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, round(width * mlp_ratio))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        cos: Float[Tensor, "#B 1 N C W"],
        sin: Float[Tensor, "#B 1 N C W"],
        live: Bool[Tensor, "B N"] | None = None,
        wanted: Packing | None = None,
    ) -> Float[Tensor, "B K D"]:
        x = of_wanted(x, wanted) + self.attn(self.norm1(x), cos, sin, live, wanted=wanted)
        return x + self.mlp(self.norm2(x))


def grid_turns(
    centre: Float[Tensor, "B N C"], spacing: tuple[float, ...], head_width: int, pairing: Pairing
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for places in steps of the grid.

    The released form depends on where a unit is, not on distances alone, and was trained on whole indices: it gets the
    cell that the centre lies in. The others get the exact place.
    """
    place = cells(centre, spacing) if pairing == "released" else centre.float() / centre.new_tensor(spacing)
    return turns(place, head_width, BASE, pairing)


def check_parts(owner: str, head_width: int, n_coordinates: int) -> None:
    """Refuse heads that are too narrow to hold a pair of numbers for each coordinate."""
    if n_coordinates < 1 or part_width(head_width, n_coordinates) < 2:
        raise UnseenError(
            f"{owner}: heads of width {head_width} for {n_coordinates} coordinates",
            "each coordinate turns at least two numbers of a head",
            f"use fewer heads: a head needs a width of {2 * max(n_coordinates, 1)} or more",
        )
