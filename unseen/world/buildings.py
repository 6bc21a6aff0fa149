"""What stands on a site and never changes: the terminal, its bridges, masts, and what closes the horizon."""

from typing import Any

import numpy as np

from unseen.world.aircraft import AIRCRAFT, nose_ahead_m
from unseen.world.props import floodlight_mast, tree
from unseen.world.site import NOSE_Y_M, Site, Stand
from unseen.world.solids import Material, Solid, box, capsule, cone, place


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
    """What lies beyond the taxilane and beside the apron."""
    edge = site.taxilane_y_m + 110.0
    return [*_hangars(edge, rng), *_tower(site, edge, rng), *_trees(edge, rng), *_cargo_sheds(site)]


def _hangars(edge: float, rng: np.random.Generator) -> list[Solid]:
    solids = []
    for i in range(7):
        width, height = rng.uniform(50, 90), rng.uniform(9, 20)
        grey = rng.uniform(0.25, 0.7)
        colour = (grey, grey * rng.uniform(0.9, 1.05), grey * rng.uniform(0.85, 1.1))
        centre = (-420 + 135 * i + rng.normal(0, 20), edge + rng.uniform(0, 60), height / 2)
        solids.append(_facade(centre, (width, 40, height), colour, accent=(0.2, 0.22, 0.24)))
    return solids


def _tower(site: Site, edge: float, rng: np.random.Generator) -> list[Solid]:
    x, y, top = rng.uniform(-150, 150), edge - 6, rng.uniform(38, 55)
    dark = (0.1, 0.12, 0.14)
    return [
        cone((x, y, 0), (x, y, top), 3.4, 0.8, "building", site.style.wall),
        cone((x, y, top), (x, y, top + 6), 4.6, 1.25, "building", dark, material=Material.GLASS),
    ]


def _trees(edge: float, rng: np.random.Generator) -> list[Solid]:
    solids = []
    for _ in range(36):
        green = np.array([0.07, 0.12, 0.03]) * rng.uniform(0.6, 1.3)
        solids += place(
            tree(float(rng.uniform(7, 16)), green, float(rng.random())),
            float(rng.uniform(-520, 520)),
            edge + float(rng.uniform(30, 90)),
        )
    return solids


def _cargo_sheds(site: Site) -> list[Solid]:
    """They close the ends of the apron."""
    far = site.half_length_m + 150
    return [
        _facade((side * far, 55, 7), (40, 150, 14), (0.45, 0.47, 0.5), accent=(0.25, 0.27, 0.3)) for side in (-1, 1)
    ]


def _facade(centre: tuple, size: tuple, colour: tuple, accent: tuple) -> Solid:
    return box(centre, size, "building", colour, material=Material.FACADE, accent=accent, pattern=0.95)
