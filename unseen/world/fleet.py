"""Ground support equipment and other vehicles of an apron, built of solids.

Body frame: x forward, y left, z up, origin on the ground under the middle. Sizes are the nominal ones, in metres.
"""

import numpy as np

from unseen.world.solids import BLACK, GREY, STEEL, WHITE, Material, Solid, Vector, box, capsule, cone, place


def _wheels(length: float, width: float, radius: float = 0.4) -> list[Solid]:
    return [
        cone((x, s * (width / 2 - 0.28), radius), (x, s * (width / 2 + 0.02), radius), radius, 1.0, "gse", BLACK)
        for x in (0.32 * length, -0.32 * length)
        for s in (1, -1)
    ]


def tractor(paint: Vector) -> list[Solid]:
    """A baggage tractor, 3.0 x 1.5 x 2.0."""
    return [
        box((0, 0, 0.72), (3.0, 1.4, 0.65), "gse", paint, material=Material.GLOSS),
        box((-0.3, 0, 1.85), (1.4, 1.35, 0.1), "gse", paint),
        *[box((x, y, 1.4), (0.08, 0.08, 0.85), "gse", BLACK) for x in (0.35, -0.95) for y in (0.6, -0.6)],
        box((-0.5, 0, 1.15), (0.5, 1.0, 0.5), "gse", BLACK),
        *_wheels(3.0, 1.5, 0.36),
    ]


def cart(paint: Vector, load: Vector | None) -> list[Solid]:
    """A baggage cart, 3.2 x 1.6; `load` is the colour of its curtain or of the bags, None when empty."""
    solids = [
        box((0, 0, 0.5), (3.0, 1.55, 0.16), "gse", paint),
        *_wheels(3.0, 1.5, 0.25),
        box((1.75, 0, 0.4), (0.7, 0.08, 0.08), "gse", BLACK),
    ]
    if load is not None:
        solids.append(
            box((0, 0, 1.2), (2.7, 1.4, 1.24), "gse", load, material=Material.CHECKER, accent=[0.6 * c for c in load])
        )
        solids.append(box((0, 0, 1.9), (3.0, 1.6, 0.08), "gse", paint))
    return solids


def baggage_train(paint: Vector, loads: list) -> list[Solid]:
    """A tractor and its carts, one behind the other."""
    solids = tractor(paint)
    for i, load in enumerate(loads):
        solids += place(cart(STEEL, load), -3.75 * (i + 1), 0.0)
    return solids


def belt_loader(paint: Vector, raised_m: float = 2.3) -> list[Solid]:
    """A belt loader, 8 x 2.1, its belt rising forward."""
    rise = np.arctan2(raised_m - 0.8, 7.2)
    return [
        box((-0.6, -0.45, 0.65), (5.2, 1.1, 0.5), "gse", paint, material=Material.GLOSS),
        box((0.3, 0, (raised_m + 0.8) / 2 + 0.2), (8.0, 0.9, 0.22), "gse", BLACK, pitch_rad=rise),
        *[
            box((0.3, s * 0.5, (raised_m + 0.8) / 2 + 0.32), (8.0, 0.07, 0.25), "gse", paint, pitch_rad=rise)
            for s in (1, -1)
        ],
        box((0.6, -0.8, 1.25), (1.3, 0.7, 0.9), "gse", paint, material=Material.CABIN),
        *_wheels(5.4, 1.9),
    ]


def power_unit(paint: Vector) -> list[Solid]:
    """A ground power unit on a trailer, 3.2 x 1.6 x 1.6."""
    return [
        box((0, 0, 0.98), (2.9, 1.5, 1.15), "gse", paint, material=Material.GLOSS),
        box((0.2, 0, 1.0), (1.2, 1.54, 0.6), "gse", BLACK),
        box((1.9, 0, 0.45), (1.0, 0.08, 0.08), "gse", BLACK),
        *_wheels(2.6, 1.5, 0.32),
    ]


def pushback_tug(paint: Vector) -> list[Solid]:
    """A towbar tug with its bar, 5.5 x 2.4 x 2.0."""
    return [
        box((0, 0, 0.8), (5.4, 2.4, 0.8), "gse", paint, material=Material.GLOSS),
        box((1.0, 0, 1.6), (1.5, 2.1, 0.9), "gse", paint, material=Material.CABIN),
        box((-2.72, 0, 0.75), (0.06, 2.4, 0.35), "gse", (0.8, 0.1, 0.05), material=Material.CHECKER, accent=WHITE),
        capsule((2.7, 0, 0.5), (6.4, 0, 0.55), 0.07, "gse", (0.8, 0.15, 0.05)),
        *_wheels(5.4, 2.4, 0.55),
    ]


def lorry(paint: Vector, body: Vector, length: float, height: float, *, tank: bool = False) -> list[Solid]:
    """A cab with a tank (refueller) or a box (catering) behind it."""
    back = length - 2.4
    x = -length / 2 + back / 2
    load = (
        cone(
            (-length / 2, 0, height / 2 + 0.75),
            (-length / 2 + back, 0, height / 2 + 0.75),
            (height - 1.5) / 2,
            1.0,
            "gse",
            body,
            material=Material.GLOSS,
        )
        if tank
        else box(
            (x, 0, height / 2 + 0.45),
            (back, 2.5, height - 0.9),
            "gse",
            body,
            material=Material.CHECKER,
            accent=paint,
            pattern=0.9,
        )
    )
    return [
        load,
        box((length / 2 - 1.1, 0, 1.5), (2.1, 2.4, 2.0), "gse", paint, material=Material.CABIN),
        box((0, 0, 0.7), (length, 2.0, 0.3), "gse", BLACK),
        *_wheels(length, 2.5, 0.5),
    ]


def bus(paint: Vector) -> list[Solid]:
    """An apron bus, 13.8 x 3.0 x 3.1."""
    return [
        box((0, 0, 1.7), (13.8, 3.0, 2.8), "gse", paint, material=Material.CABIN, pattern=0.5),
        *_wheels(13.0, 3.0, 0.48),
    ]


def stairs(paint: Vector, height_m: float = 3.4) -> list[Solid]:
    """Passenger stairs rising forward, 8.5 x 2.6."""
    slope = np.arctan2(height_m - 0.6, 5.5)
    middle = (height_m + 0.7) / 2
    return [
        box((-0.5, 0, 0.75), (6.5, 2.2, 0.5), "gse", paint, material=Material.GLOSS),
        box((0.2, 0, middle), (6.4, 1.5, 0.25), "gse", STEEL, pitch_rad=slope, material=Material.CHECKER, accent=GREY),
        *[box((0.2, s * 0.8, middle + 0.75), (6.4, 0.06, 0.9), "gse", WHITE, pitch_rad=slope) for s in (1, -1)],
        box((3.9, 0, height_m), (1.5, 2.0, 0.2), "gse", STEEL),
        box((3.4, 0, height_m / 2), (0.25, 1.6, height_m), "gse", GREY),
        *_wheels(6.5, 2.2, 0.42),
    ]


def container_loader(paint: Vector) -> list[Solid]:
    """A loader of unit load devices, 9 x 4 x 3.2, with one container aboard."""
    return [
        box((-1.5, 0, 0.9), (6.0, 3.6, 0.35), "gse", paint),
        box((3.0, 0, 2.6), (2.6, 3.4, 0.3), "gse", paint),
        *[box((x, s * 1.6, 1.4), (0.3, 0.2, 2.6), "gse", GREY) for x in (2.0, 4.0) for s in (1, -1)],
        box((3.0, 1.5, 3.3), (1.2, 0.9, 1.3), "gse", paint, material=Material.CABIN),
        *container(-1.5, 1.08),
        *_wheels(7.5, 3.6, 0.45),
    ]


def container(x_m: float, z_m: float = 0.55) -> list[Solid]:
    """An LD3 container on a dolly or a deck."""
    return [
        box(
            (x_m, 0, z_m + 0.8),
            (1.53, 2.0, 1.6),
            "gse",
            (0.62, 0.64, 0.66),
            material=Material.CHECKER,
            accent=(0.5, 0.52, 0.55),
        ),
        box((x_m, 0, z_m - 0.1), (1.9, 2.3, 0.15), "gse", GREY),
    ]


def follow_me(paint: Vector) -> list[Solid]:
    """A follow-me car, chequered, with a beacon bar."""
    return [
        box((0, 0, 0.72), (4.6, 1.85, 0.75), "gse", paint, material=Material.CHECKER, accent=BLACK, pattern=0.3),
        box((-0.5, 0, 1.38), (2.5, 1.65, 0.62), "gse", paint, material=Material.CABIN),
        box((-0.4, 0, 1.78), (0.3, 1.2, 0.16), "gse", (0.95, 0.45, 0.03)),
        *_wheels(4.4, 1.85, 0.34),
    ]
