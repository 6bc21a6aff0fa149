"""Small things and people: cones, chocks, persons, masts, trees, built of solids.

Body frame: x forward, y left, z up, origin on the ground under the middle. Metres.
"""

import numpy as np

from unseen.world.solids import (
    BLACK,
    ORANGE,
    STEEL,
    WHITE,
    Material,
    Shape,
    Solid,
    Vector,
    box,
    capsule,
    cone,
    ellipsoid,
)


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
