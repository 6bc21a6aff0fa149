"""What stands on an apron: aircraft, ground support equipment, cones, chocks and people, built of solids.

Every builder works in the body's own frame: x forward, y left, z up, origin on the ground (aircraft: under the nose
gear; vehicles: under the middle). Sizes are the nominal ones of the types, in metres; callers scale them.
"""

from typing import NamedTuple

import numpy as np

from unseen.world.solids import Material, Shape, Solid, Vector, box, capsule, cone, ellipsoid, place, wing

BLACK, GREY, STEEL, WHITE = (0.03, 0.03, 0.035), (0.35, 0.36, 0.37), (0.5, 0.52, 0.54), (0.82, 0.83, 0.84)
ORANGE, YELLOW, DARK_GLASS = (0.85, 0.2, 0.03), (0.85, 0.6, 0.04), (0.05, 0.07, 0.09)


class AircraftType(NamedTuple):
    """Length, span, height of the fin, fuselage diameter, nose to main gear, between main gears: metres."""

    length: float
    span: float
    height: float
    fuselage: float
    wheelbase: float
    track: float
    propeller: bool = False


AIRCRAFT = {
    "A320": AircraftType(37.57, 35.80, 11.76, 3.95, 12.64, 7.59),
    "B738": AircraftType(39.47, 35.79, 12.55, 3.76, 15.60, 5.72),
    "A359": AircraftType(66.80, 64.75, 17.05, 5.96, 28.66, 10.60),
    "B77W": AircraftType(73.86, 64.80, 18.50, 6.20, 31.22, 10.97),
    "AT76": AircraftType(27.17, 27.05, 7.65, 2.87, 10.80, 4.10, propeller=True),
}


class Livery(NamedTuple):
    """Colours of one operator."""

    body: Vector
    belly: Vector
    tail: Vector
    engine: Vector
    pattern: float


def nose_ahead_m(kind: AircraftType) -> float:
    """How far the nose reaches before the nose gear."""
    return 0.135 * kind.length


def aircraft(kind: AircraftType, livery: Livery) -> list[Solid]:
    """A whole aircraft on its wheels."""
    return [*_fuselage(kind, livery), *_wings(kind, livery), *_tail(kind, livery), *_gear(kind)]


def _axis_height(kind: AircraftType) -> float:
    return (0.72 if kind.propeller else 0.92) * kind.fuselage


def _fuselage(kind: AircraftType, livery: Livery) -> list[Solid]:
    d, z, nose = kind.fuselage, _axis_height(kind), nose_ahead_m(kind)
    shoulder, waist, end = nose - 1.5 * d, nose - 0.68 * kind.length, nose - kind.length
    look = {"accent": livery.belly, "pattern": livery.pattern}
    return [
        ellipsoid((shoulder, 0, z), (3.0 * d, d, d), "aircraft", livery.body, material=Material.NOSE, **look),
        cone((waist, 0, z), (shoulder, 0, z), d / 2, 1.0, "aircraft", livery.body, material=Material.FUSELAGE, **look),
        cone((waist, 0, z), (end, 0, z + 0.27 * d), d / 2, 0.14, "aircraft", livery.body, material=Material.GLOSS),
    ]


def _wings(kind: AircraftType, livery: Livery) -> list[Solid]:
    d, half = kind.fuselage, kind.span / 2
    root_z = _axis_height(kind) + (0.5 if kind.propeller else -0.28) * d
    sweep, chord = (0.02, 0.1 * kind.length) if kind.propeller else (0.5, 0.185 * kind.length)
    root_x = -kind.wheelbase + 0.32 * chord
    tip_x, tip_z = root_x - sweep * half, root_z + (0.02 if kind.propeller else 0.08) * half
    solids = []
    for side in (1, -1):
        tip = (tip_x, side * half, tip_z)
        solids.append(
            wing(
                (root_x, side * 0.3 * d, root_z),
                tip,
                chord,
                0.13 * chord,
                0.27,
                "aircraft",
                (0.55, 0.57, 0.6),
                material=Material.GLOSS,
            )
        )
        if not kind.propeller:
            winglet = (tip_x - 0.9, side * (half + 0.25), tip_z + 0.065 * kind.span)
            solids.append(wing(tip, winglet, 0.25 * chord, 0.15, 0.5, "aircraft", livery.tail, material=Material.GLOSS))
        solids += _engine(kind, livery, side, root_x, root_z, sweep, tip_z)
    return solids


def _engine(kind, livery, side, root_x, root_z, sweep, tip_z) -> list[Solid]:
    y = 0.16 * kind.span
    x = root_x - sweep * y
    radius = 0.05 * kind.length if kind.propeller else 0.034 * kind.span
    if kind.propeller:
        body = cone(
            (x - 3.2, side * y, root_z - 0.1), (x + 2.2, side * y, root_z - 0.1), 0.62, 0.75, "aircraft", livery.engine
        )
        blades = [
            box((x + 2.35, side * y, root_z - 0.1), size, "aircraft", BLACK)
            for size in ((0.12, 0.3, 3.8), (0.12, 3.8, 0.3))
        ]
        return [body, *blades]
    length, z = 3.6 * radius, max(root_z + (tip_z - root_z) * 0.3 - 1.25 * radius, radius + 0.55)
    front = x + 0.11 * kind.length
    return [
        cone(
            (front - length, side * y, z),
            (front, side * y, z),
            radius * 0.78,
            1.28,
            "aircraft",
            livery.engine,
            material=Material.ENGINE,
        ),
        cone(
            (front - length - radius, side * y, z), (front - length, side * y, z), radius * 0.35, 1.7, "aircraft", STEEL
        ),
        box(
            (front - 0.9 * length, side * y, z + 1.05 * radius),
            (length, 0.35, 0.9 * radius),
            "aircraft",
            (0.5, 0.5, 0.52),
        ),
    ]


def _tail(kind: AircraftType, livery: Livery) -> list[Solid]:
    d, top = kind.fuselage, kind.height
    end, base = nose_ahead_m(kind) - kind.length, _axis_height(kind) + 0.36 * d
    chord, rise = 0.17 * kind.length, top - base
    fin_root = (end + 0.16 * kind.length, 0, base)
    fin = wing(fin_root, (end + 0.03 * kind.length, 0, top), chord, 0.09 * chord, 0.4, "aircraft", livery.tail,
               material=Material.FIN, accent=livery.body, pattern=livery.pattern)  # fmt: skip
    stab_z, stab_x = (top, end + 0.035 * kind.length) if kind.propeller else (base - 0.1 * d, end + 0.1 * kind.length)
    half, lift = 0.175 * kind.span, 0.12 * rise
    stabilisers = [
        wing(
            (stab_x, 0, stab_z),
            (stab_x - 0.45 * half, side * half, stab_z + (0 if kind.propeller else lift)),
            0.6 * chord,
            0.07 * chord,
            0.45,
            "aircraft",
            (0.6, 0.62, 0.65),
            material=Material.GLOSS,
        )
        for side in (1, -1)
    ]
    return [fin, *stabilisers]


def _gear(kind: AircraftType) -> list[Solid]:
    z, radius = _axis_height(kind), 0.15 * kind.fuselage
    solids = [
        capsule((0, 0, 0.3), (0, 0, z - 0.3 * kind.fuselage), 0.1, "aircraft", STEEL),
        *_axle(0.0, 0.0, 0.62 * radius, 0.35),
    ]
    for side in (1, -1):
        y = side * kind.track / 2
        solids.append(capsule((-kind.wheelbase, y, 0.5), (-kind.wheelbase, y * 0.9, z), 0.17, "aircraft", STEEL))
        for x in (0.9, -0.9) if kind.length > 50 else (0,):
            solids += _axle(-kind.wheelbase + x, y, radius, 0.6)
    return solids


def _axle(x: float, y: float, radius: float, gap: float, cls: str = "aircraft") -> list[Solid]:
    width = 0.42 * gap
    return [
        cone(
            (x, y + s * gap / 2 - width / 2, radius), (x, y + s * gap / 2 + width / 2, radius), radius, 1.0, cls, BLACK
        )
        for s in (1, -1)
    ]


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


def safety_cone(height_m: float = 0.75, bands: int = 2) -> list[Solid]:
    """A cone with one or two white bands on a square base."""
    base = 0.52 * height_m
    return [
        box((0, 0, 0.03), (base, base, 0.06), "cone", (0.5, 0.12, 0.03)),
        cone(
            (0, 0, 0.05),
            (0, 0, height_m),
            0.42 * base,
            0.2,
            "cone",
            ORANGE,
            material=Material.BANDS,
            accent=WHITE,
            pattern=bands / 4,
        ),
    ]


def chocks(colour: Vector, wheel_radius_m: float = 0.45) -> list[Solid]:
    """A pair of chocks before and behind a wheel."""
    x = wheel_radius_m + 0.15
    return [box((s * x, 0, 0.1), (0.2, 0.75, 0.2), "chock", colour) for s in (1, -1)]


def person(height_m: float, vest: Vector, trousers: Vector, stride: float, *, pose: str = "walk") -> list[Solid]:
    """A worker in a high-visibility vest. `stride` in [-1, 1] swings the legs; pose is walk, signal or bend."""
    h, step = height_m, 0.17 * height_m * stride
    lean = 0.3 * h if pose == "bend" else 0.0
    hip, neck = np.array([0, 0, 0.5 * h]), np.array([lean, 0, (0.68 if pose == "bend" else 0.82) * h])
    solids = [
        capsule((s * step, s * 0.055 * h, 0.05), (0, s * 0.05 * h, 0.48 * h), 0.05 * h, "person", trousers)
        for s in (1, -1)
    ]
    torso = capsule(
        hip + np.array([0, 0, 0.04 * h]),
        neck - np.array([0, 0, 0.06 * h]),
        0.085 * h,
        "person",
        vest,
        material=Material.HIGH_VISIBILITY,
        accent=(0.9, 0.9, 0.86),
    )
    wide = torso.axes_m * np.array([[0.8], [1.45], [1.0]])
    solids.append(torso._replace(axes_m=wide))
    head = neck + np.array([0.03 * h, 0, 0.09 * h])
    solids += [
        ellipsoid(head, (0.13 * h, 0.11 * h, 0.15 * h), "person", (0.5, 0.33, 0.24)),
        ellipsoid(
            head + np.array([0, 0, 0.045 * h]), (0.15 * h, 0.14 * h, 0.1 * h), "person", vest if h > 1.75 else BLACK
        ),
    ]
    for s in (1, -1):
        shoulder = neck + np.array([0, s * 0.135 * h, -0.03 * h])
        reach = np.array(
            {
                "walk": [-s * step, s * 0.02 * h, -0.33 * h],
                "signal": [0.05, s * 0.16 * h, 0.3 * h],
                "bend": [0.12 * h, 0, -0.34 * h],
            }[pose]
        )
        solids.append(capsule(shoulder, shoulder + reach, 0.037 * h, "person", vest))
        if pose == "signal":
            solids.append(
                capsule(
                    shoulder + reach,
                    shoulder + reach + np.array([0, s * 0.05 * h, 0.2 * h]),
                    0.02 * h,
                    "person",
                    (0.95, 0.25, 0.05),
                )
            )
    return solids


def floodlight_mast(height_m: float) -> list[Solid]:
    """A floodlight mast with its head frame."""
    return [
        cone((0, 0, 0), (0, 0, height_m), 0.32, 0.5, "other", STEEL),
        box((0, 0, height_m), (0.5, 4.0, 1.0), "other", (0.7, 0.71, 0.72)),
    ]


def tree(height_m: float, colour: Vector, pattern: float) -> list[Solid]:
    """A round tree."""
    size = 0.75 * height_m
    return [
        Solid(
            Shape.ELLIPSOID,
            np.array([0, 0, 0.55 * height_m]),
            np.diag([size, size, height_m]) / 2 * 0.95,
            1.0,
            "vegetation",
            colour,
            Material.FOLIAGE,
            (0, 0, 0),
            pattern,
        )
    ]
