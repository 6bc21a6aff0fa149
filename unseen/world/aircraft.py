"""Aircraft of the apron, built of solids from the nominal sizes of their types.

Body frame: x forward, y left, z up, origin on the ground under the nose gear. Metres.
"""

from typing import NamedTuple

from unseen.world.solids import BLACK, STEEL, Material, Solid, Vector, box, capsule, cone, ellipsoid, wing


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
