"""One airport apron: its style and where its stands and roads lie. The same for all its logs.

Site frame: x along the terminal's front, y away from it toward the taxilane, z up, origin at the middle of the front.
Aircraft park nose-in, heading -y. Sizes follow common practice, varied per site by 10 to 20 %.
"""

from dataclasses import dataclass

import numpy as np
import torch

from unseen.randomness import keys, name_hash
from unseen.world.aircraft import Livery
from unseen.world.solids import Vector

HEAD_ROAD_M = (3.0, 11.0)  # between the terminal and the noses
NOSE_Y_M = 19.0


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that is a pure function of a seed and of the names of what it is for."""
    identity = torch.tensor([name_hash("/".join(str(name) for name in names))])
    return np.random.Generator(np.random.PCG64(int(keys(seed, identity, 0, "world")) % 2**63))


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStyle:
    """What tells one airport from another at a glance."""

    slab: Vector
    slab_m: float  # 0: asphalt without joints
    road: Vector
    grass: Vector
    lead_in: Vector
    lead_in_m: float
    black_edged: bool
    restraint_m: float
    white_flanked: bool
    hatched: bool
    wall: Vector
    glass_m: float  # width of a pane
    terminal_height_m: float
    jet_bridges: bool
    vests: tuple[Vector, ...]
    service: tuple[Vector, ...]  # paint of the ground support equipment
    cone_bands: int
    liveries: tuple[Livery, ...]
    fleet: tuple[str, ...]  # types seen here, more often the more they appear


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """One parking place."""

    number: str
    x_m: float
    width_m: float
    wide_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site: style, stands from low x to high x, and the lines that follow from them."""

    site_id: str
    style: SiteStyle
    stands: tuple[Stand, ...]
    tail_road_m: tuple[float, float]

    @property
    def half_length_m(self) -> float:
        """Half of the terminal's front."""
        return sum(stand.width_m for stand in self.stands) / 2

    @property
    def taxilane_y_m(self) -> float:
        """Centre line of the taxilane behind the stands."""
        return self.tail_road_m[1] + 28.0


def make_site(seed: int, index: int, *, stands: int = 4) -> Site:
    """Draw a site."""
    rng = generator(seed, "site", index)
    style = _style(rng, index)
    wide = rng.random(stands) < (0.3 if index % 2 else 0.1)
    widths = np.where(wide, 74.0, 43.0) * rng.uniform(0.96, 1.06)
    starts = np.cumsum(widths) - widths - widths.sum() / 2
    first = int(rng.integers(1, 40))
    depth = NOSE_Y_M + (74.0 if wide.any() else 41.0) + 5.0
    return Site(
        site_id=f"site-{index:02d}",
        style=style,
        stands=tuple(
            Stand(
                number=str(first + i),
                x_m=float(starts[i] + widths[i] / 2),
                width_m=float(widths[i]),
                wide_body=bool(wide[i]),
            )
            for i in range(stands)
        ),
        tail_road_m=(depth, depth + float(rng.uniform(7.0, 9.0))),
    )


def _style(rng: np.random.Generator, index: int) -> SiteStyle:
    """Neighbouring sites differ in kind (concrete or asphalt, bridges or stairs), all differ in detail."""
    concrete = index % 2 == 0
    grey = rng.uniform(0.30, 0.42) if concrete else rng.uniform(0.09, 0.15)
    tint = np.array([1.0, rng.uniform(0.96, 1.0), rng.uniform(0.86, 0.96)])
    yellow, orange = (0.62, 0.85, 0.05), (0.95, 0.32, 0.03)
    return SiteStyle(
        slab=tuple(grey * tint),
        slab_m=float(rng.uniform(5.0, 7.5)) if concrete else 0.0,
        road=tuple(np.full(3, rng.uniform(0.10, 0.17)) if concrete else np.full(3, rng.uniform(0.06, 0.08))),
        grass=tuple(np.array([0.13, 0.19, 0.05]) if rng.random() < 0.5 else np.array([0.26, 0.24, 0.1])),
        lead_in=(0.85, rng.uniform(0.52, 0.62), 0.03),
        lead_in_m=float(rng.uniform(0.18, 0.34)),
        black_edged=concrete,
        restraint_m=float(rng.uniform(0.14, 0.24)),
        white_flanked=bool(rng.random() < 0.5),
        hatched=bool(rng.random() < 0.6),
        wall=tuple(rng.uniform(0.35, 0.75) * np.array([1, rng.uniform(0.93, 1.0), rng.uniform(0.82, 1.0)])),
        glass_m=float(rng.uniform(1.4, 3.2)),
        terminal_height_m=float(rng.uniform(10, 18)),
        jet_bridges=concrete,
        vests=(yellow, yellow, orange) if rng.random() < 0.5 else (orange, orange, yellow),
        service=_service_paints(rng),
        cone_bands=int(rng.integers(1, 3)),
        liveries=tuple(_livery(rng) for _ in range(4)),
        fleet=("A320", "A320", "B738") if concrete else ("B738", "AT76", "A320"),
    )


def _service_paints(rng: np.random.Generator) -> tuple[Vector, ...]:
    palette = [
        (0.8, 0.8, 0.78),
        (0.8, 0.55, 0.05),
        (0.08, 0.2, 0.5),
        (0.65, 0.08, 0.06),
        (0.1, 0.35, 0.2),
        (0.55, 0.6, 0.65),
    ]
    return tuple(palette[i] for i in rng.permutation(len(palette))[:3])


def _livery(rng: np.random.Generator) -> Livery:
    palette = [
        (0.6, 0.05, 0.06),
        (0.05, 0.12, 0.42),
        (0.02, 0.32, 0.3),
        (0.85, 0.35, 0.02),
        (0.25, 0.05, 0.3),
        (0.75, 0.6, 0.05),
        (0.08, 0.09, 0.12),
    ]
    main, other = (palette[i] for i in rng.permutation(len(palette))[:2])
    body = (0.85, 0.86, 0.87) if rng.random() < 0.8 else (0.62, 0.65, 0.69)
    return Livery(
        body,
        main if rng.random() < 0.3 else (0.55, 0.57, 0.6),
        main,
        other if rng.random() < 0.5 else body,
        float(rng.random()),
    )
