"""One airport apron: its style, where its stands lie, its markings and its buildings. The same for all its logs.

Site frame: x along the terminal's front, y away from it toward the taxilane, z up, origin at the middle of the front.
Aircraft park nose-in, heading -y. Sizes follow common practice, varied per site by 10 to 20 %.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unseen.randomness import keys, name_hash
from unseen.world.fleet import AIRCRAFT, Livery, floodlight_mast, nose_ahead_m, tree
from unseen.world.paint import Patch, Style, arc, line, polyline, stand_number
from unseen.world.solids import Material, Solid, Vector, box, capsule, cone, place

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


def markings(site: Site, rng: np.random.Generator) -> list[Patch]:
    """Everything painted on the ground, areas and wear first."""
    style, half, edge = site.style, site.half_length_m + 120.0, site.taxilane_y_m + 30.0
    white = (0.75, 0.75, 0.73)
    patches = [
        Patch((0, edge + 240), (900, 240), 0.0, style.grass, "vegetation"),
        Patch((0, edge + 62), (900, 14), 0.0, style.road, "apron"),
    ]
    for low, high in (HEAD_ROAD_M, site.tail_road_m):
        patches += [
            Patch((0, (low + high) / 2), (half, (high - low) / 2), 0.0, style.road, "apron", opacity=0.8),
            line((-half, low), (half, low), 0.15, white),
            line((-half, high), (half, high), 0.15, white),
            line((-half, (low + high) / 2), (half, (low + high) / 2), 0.12, white, style=Style.DASHED, period_m=6.0),
        ]
    patches += _wear(site, rng)
    y = site.taxilane_y_m
    patches += _yellow(site, [(-half, y), (half, y)])
    for stand in site.stands:
        patches += _stand_markings(site, stand)
    return patches


def _wear(site: Site, rng: np.random.Generator) -> list[Patch]:
    patches = []
    for stand in site.stands:
        for _ in range(7):
            at = (stand.x_m + rng.normal(0, 6), rng.uniform(NOSE_Y_M, site.tail_road_m[0]))
            size = (rng.uniform(0.6, 3.0), rng.uniform(0.4, 1.6))
            patches.append(
                Patch(
                    at, size, rng.uniform(0, 3), (0.04, 0.04, 0.04), "apron", Style.STAIN, opacity=rng.uniform(0.3, 0.7)
                )
            )
        for x in (-3.7, 0.0, 3.7):
            patches.append(
                Patch(
                    (stand.x_m + x, 55.0),
                    (38.0, 0.7),
                    np.pi / 2,
                    (0.05, 0.05, 0.05),
                    "apron",
                    Style.STAIN,
                    opacity=0.35,
                )
            )
    return patches


def _yellow(site: Site, points: list[tuple[float, float]]) -> list[Patch]:
    style = site.style
    under = polyline(points, 2.2 * style.lead_in_m, (0.05, 0.05, 0.05)) if style.black_edged else []
    return under + polyline(points, style.lead_in_m, style.lead_in)


def _stand_markings(site: Site, stand: Stand) -> list[Patch]:
    style, x, lane = site.style, stand.x_m, site.taxilane_y_m
    stop_y = NOSE_Y_M + 5.2
    turn = 16.0
    red, white = (0.6, 0.04, 0.03), (0.75, 0.75, 0.73)
    half, tail = stand.width_m / 2 - 2.0, site.tail_road_m[0] - 1.5
    front = HEAD_ROAD_M[1] + 1.2
    envelope = [(x - half, tail), (x - half, front), (x + half, front), (x + half, tail), (x - half, tail)]
    patches = polyline(envelope, 2.6 * style.restraint_m, white) if style.white_flanked else []
    patches += polyline(envelope, style.restraint_m, red)
    patches += _yellow(site, [(x, lane - turn), (x, stop_y)])
    patches += arc((x - turn, lane - turn), turn, 0.0, np.pi / 2, style.lead_in_m, style.lead_in)
    patches += [line((x - 3.0, stop_y + dy), (x + 3.0, stop_y + dy), 0.3, style.lead_in) for dy in (0.0, 4.0)]
    patches += stand_number(stand.number, (x + 4.5, tail - 6.0), 3.0, style.lead_in, (0.03, 0.03, 0.03))
    for side in (-1, 1):
        corner = x + side * (half - 5.5)
        box_points = [
            (corner - 4, front + 1.5),
            (corner + 4, front + 1.5),
            (corner + 4, front + 10),
            (corner - 4, front + 10),
            (corner - 4, front + 1.5),
        ]
        patches += polyline(box_points, 0.14, white)
        if style.hatched and side > 0:
            patches.append(
                Patch((x - half - 2.0, 40.0), (14.0, 1.6), np.pi / 2, red, style=Style.HATCHED, period_m=1.6)
            )
        patches.append(Patch((x + side * 9.0, 38.0), (0.45, 0.45), 0.0, (0.7, 0.08, 0.05), style=Style.DISC))
    zebra = x + half - 1.0
    return [
        *patches,
        line(
            (zebra, HEAD_ROAD_M[0] + 0.3), (zebra, HEAD_ROAD_M[1] - 0.3), 2.6, white, style=Style.DASHED, period_m=1.0
        ),
    ]


def buildings(site: Site, rng: np.random.Generator) -> list[Solid]:
    """Terminal with its bridges, masts, and what closes the horizon."""
    style, solids = site.style, []
    half, height = site.half_length_m, style.terminal_height_m
    n = max(3, round(2 * half / 45))
    for i in range(-1, n + 1):
        x, step = -half + (i + 0.5) * 2 * half / n, 2 * half / n
        tall = height * (1.25 if i % 3 == 1 else 1.0) * (0.6 if i in (-1, n) else 1.0)
        look: dict[str, Any] = {
            "material": Material.FACADE,
            "accent": (0.06, 0.09, 0.12),
            "pattern": (style.glass_m - 1) / 3,
        }
        solids.append(box((x, -16, tall / 2), (step - 0.6, 30, tall), "building", style.wall, **look))
        solids.append(box((x, -14, tall + 0.4), (step, 34, 0.8), "building", (0.5, 0.51, 0.53)))
    if style.jet_bridges:
        for stand in site.stands:
            solids += _jet_bridge(site, stand)
    for i in range(len(site.stands) + 1):
        x = -half + i * 2 * half / len(site.stands)
        solids += place(floodlight_mast(float(rng.uniform(18, 26))), x, 0.8)
    return solids + _horizon(site, rng)


def _jet_bridge(site: Site, stand: Stand) -> list[Solid]:
    kind = AIRCRAFT["A359" if stand.wide_body else "A320"]
    door = np.array([stand.x_m + kind.fuselage / 2 + 1.4, NOSE_Y_M + nose_ahead_m(kind) - 0.3, 1.28 * kind.fuselage])
    root = np.array([stand.x_m + 14.0, 1.0, 6.3])
    tunnel = cone(root, door, 1.75, 1.0, "building", site.style.wall, material=Material.GLOSS)
    middle = root + 0.72 * (door - root)
    return [
        tunnel,
        cone((root[0], root[1], 0), (root[0], root[1], 8.2), 2.3, 1.0, "building", site.style.wall),
        box(door - [0.2, 0, 0.1], (3.2, 3.6, 3.3), "building", (0.3, 0.31, 0.33)),
        *[
            cone(
                middle * [1, 1, 0] + np.array([s, 0, 0]),
                middle + np.array([s, 0, 0]),
                0.22,
                1.0,
                "building",
                (0.7, 0.55, 0.1),
            )
            for s in (-1, 1)
        ],
        capsule(
            middle * [1, 1, 0] + [-1.3, 0, 0.5], middle * [1, 1, 0] + [1.3, 0, 0.5], 0.5, "building", (0.05, 0.05, 0.05)
        ),
    ]


def _horizon(site: Site, rng: np.random.Generator) -> list[Solid]:
    edge, solids = site.taxilane_y_m + 110.0, []
    for i in range(7):
        width, height = rng.uniform(50, 90), rng.uniform(9, 20)
        grey = rng.uniform(0.25, 0.7)
        colour = (grey, grey * rng.uniform(0.9, 1.05), grey * rng.uniform(0.85, 1.1))
        solids.append(
            box(
                (-420 + 135 * i + rng.normal(0, 20), edge + rng.uniform(0, 60), height / 2),
                (width, 40, height),
                "building",
                colour,
                material=Material.FACADE,
                accent=(0.2, 0.22, 0.24),
                pattern=0.95,
            )
        )
    tower_x, top = rng.uniform(-150, 150), rng.uniform(38, 55)
    solids += [
        cone((tower_x, edge - 6, 0), (tower_x, edge - 6, top), 3.4, 0.8, "building", site.style.wall),
        cone(
            (tower_x, edge - 6, top),
            (tower_x, edge - 6, top + 6),
            4.6,
            1.25,
            "building",
            (0.1, 0.12, 0.14),
            material=Material.GLASS,
        ),
    ]
    for _ in range(36):
        green = np.array([0.07, 0.12, 0.03]) * rng.uniform(0.6, 1.3)
        solids += place(
            tree(float(rng.uniform(7, 16)), green, float(rng.random())),
            float(rng.uniform(-520, 520)),
            edge + float(rng.uniform(30, 90)),
        )
    for side in (-1, 1):  # cargo sheds close the ends of the apron
        x = side * (site.half_length_m + 150)
        solids.append(
            box(
                (x, 55, 7),
                (40, 150, 14),
                "building",
                (0.45, 0.47, 0.5),
                material=Material.FACADE,
                accent=(0.25, 0.27, 0.3),
                pattern=0.95,
            )
        )
    return solids
