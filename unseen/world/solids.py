"""The solids that a scene is made of: five unit shapes, each under an affine map.

An affine map keeps the parameter along a ray, so a shape is intersected in its own unit coordinates and the answer is
a depth in metres. A sheared box is a swept wing, a stretched sphere a nose, a leaning cone the tail of a fuselage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from unseen.geometry import pose


class Shape(IntEnum):
    """Unit shapes; local z is the long axis."""

    BOX = 0  # |x|, |y|, |z| <= 1
    WEDGE = 1  # a box whose x and y shrink linearly to `form` at z = 1
    ELLIPSOID = 2  # the unit sphere
    CONE = 3  # radius 1 at z = -1, `form` at z = 1, closed: a cylinder where form is 1
    CAPSULE = 4  # the unit cylinder |z| <= form, closed by half spheres


class Material(IntEnum):
    """How a surface is painted; `render` holds one small function for each."""

    MATTE = 0
    GLOSS = 1
    GLASS = 2
    FUSELAGE = 3
    NOSE = 4
    FIN = 5
    HIGH_VISIBILITY = 6
    BANDS = 7
    FACADE = 8
    ENGINE = 9
    CHECKER = 10
    CABIN = 11
    FOLIAGE = 12


CLASSES = ("sky", "apron", "marking", "building", "aircraft", "gse", "cone", "chock", "person", "vegetation", "other")
SMALL_CLASSES = ("cone", "chock", "person", "marking")

Vector = Sequence[float | int] | np.ndarray

# linear RGB of what recurs
BLACK, GREY, STEEL, WHITE = (0.03, 0.03, 0.035), (0.35, 0.36, 0.37), (0.5, 0.52, 0.54), (0.82, 0.83, 0.84)
ORANGE, YELLOW = (0.85, 0.2, 0.03), (0.85, 0.6, 0.04)


class Solid(NamedTuple):
    """One shape: where its centre is, what its three unit axes become (rows, metres), and how it looks."""

    shape: Shape
    centre_m: np.ndarray  # [3]
    axes_m: np.ndarray  # [3, 3]: row i is the image of local axis i
    form: float
    cls: str
    colour: Vector
    material: Material = Material.MATTE
    accent: Vector = (0.1, 0.1, 0.1)
    pattern: float = 0.0  # in [0, 1): varies the material


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solids:
    """Many solids as columns."""

    shape: Int[np.ndarray, "P"]
    centre_m: Float[np.ndarray, "P 3"]
    axes_m: Float[np.ndarray, "P 3 3"]
    form: Float[np.ndarray, "P"]
    cls: Int[np.ndarray, "P"]
    colour: Float[np.ndarray, "P 3"]
    material: Int[np.ndarray, "P"]
    accent: Float[np.ndarray, "P 3"]
    pattern: Float[np.ndarray, "P"]

    def __len__(self) -> int:
        return len(self.shape)

    @staticmethod
    def of(solids: Sequence[Solid]) -> "Solids":
        """Stack single solids; an empty list gives an empty table."""
        return Solids(
            shape=np.array([s.shape for s in solids], dtype=np.int64),
            centre_m=np.array([s.centre_m for s in solids], dtype=float).reshape(-1, 3),
            axes_m=np.array([s.axes_m for s in solids], dtype=float).reshape(-1, 3, 3),
            form=np.array([s.form for s in solids], dtype=float),
            cls=np.array([CLASSES.index(s.cls) for s in solids], dtype=np.int64),
            colour=np.array([s.colour for s in solids], dtype=float).reshape(-1, 3),
            material=np.array([s.material for s in solids], dtype=np.int64),
            accent=np.array([s.accent for s in solids], dtype=float).reshape(-1, 3),
            pattern=np.array([s.pattern for s in solids], dtype=float),
        )

    @staticmethod
    def join(tables: Sequence["Solids"]) -> "Solids":
        """All rows, in order."""
        names = [field.name for field in fields(Solids)]
        return Solids(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})

    def rows(self, index: Int[np.ndarray, "K"]) -> "Solids":
        """Some of the rows."""
        return Solids(**{field.name: getattr(self, field.name)[index] for field in fields(Solids)})

    def corners_m(self) -> Float[np.ndarray, "P 8 3"]:
        """The corners of a parallelepiped that contains each solid."""
        reach = np.ones((len(self), 3))
        tapered = (self.shape == Shape.CONE) | (self.shape == Shape.WEDGE)
        reach[:, :2] = np.where(tapered, np.maximum(self.form, 1.0), 1.0)[:, None]
        reach[:, 2] += np.where(self.shape == Shape.CAPSULE, self.form, 0.0)
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
        return self.centre_m[:, None] + np.einsum("pci,pij->pcj", signs[None] * reach[:, None], self.axes_m)

    def local_from_frame(self) -> Float[np.ndarray, "P 3 3"]:
        """The linear maps that take offsets from the centre to unit coordinates."""
        return np.linalg.inv(self.axes_m.transpose(0, 2, 1))


def place(solids: Sequence[Solid], x_m: float, y_m: float, yaw_rad: float = 0.0, z_m: float = 0.0) -> list[Solid]:
    """Copies of solids of a body's frame, set down at (x, y, z) with a heading."""
    rotation, at = pose.turn(yaw_rad), np.array([x_m, y_m, z_m])
    return [s._replace(centre_m=rotation @ s.centre_m + at, axes_m=s.axes_m @ rotation.T) for s in solids]


def box(centre_m: Vector, size_m: Vector, cls: str, colour: Vector, *, pitch_rad: float = 0.0, **look) -> Solid:
    """A box of full size (along x, y, z); pitch raises its front."""
    c, s = np.cos(pitch_rad), np.sin(pitch_rad)
    axes = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) * (np.asarray(size_m, dtype=float)[:, None] / 2)
    return Solid(Shape.BOX, np.asarray(centre_m, dtype=float), axes, 1.0, cls, colour, **look)


def ellipsoid(centre_m: Vector, size_m: Vector, cls: str, colour: Vector, **look) -> Solid:
    """An ellipsoid of full size (along x, y, z). Local axes: x up, y left, z forward."""
    axes = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) * (
        np.asarray(size_m, dtype=float)[[2, 1, 0], None] / 2
    )
    return Solid(Shape.ELLIPSOID, np.asarray(centre_m, dtype=float), axes, 1.0, cls, colour, **look)


def wing(
    root_m: Vector, tip_m: Vector, chord_m: float, thickness_m: float, taper: float, cls: str, colour: Vector, **look
) -> Solid:
    """A tapered slab from the middle of the root to the middle of the tip; the chord runs along x."""
    root, tip = np.asarray(root_m, dtype=float), np.asarray(tip_m, dtype=float)
    half = (tip - root) / 2
    chord = np.array([chord_m / 2, 0.0, 0.0])
    across = np.cross(half, chord)
    axes = np.stack([chord, across / np.linalg.norm(across) * thickness_m / 2, half])
    return Solid(Shape.WEDGE, root + half, axes, taper, cls, colour, **look)


def cone(from_m: Vector, to_m: Vector, radius_m: float, taper: float, cls: str, colour: Vector, **look) -> Solid:
    """A closed cone or cylinder whose axis runs between two points; `taper` scales the radius at the far end."""
    start, end = np.asarray(from_m, dtype=float), np.asarray(to_m, dtype=float)
    axes = np.concatenate([_round(end - start, radius_m), (end - start)[None] / 2])
    return Solid(Shape.CONE, (start + end) / 2, axes, taper, cls, colour, **look)


def capsule(from_m: Vector, to_m: Vector, radius_m: float, cls: str, colour: Vector, **look) -> Solid:
    """All points within a radius of a segment."""
    start, end = np.asarray(from_m, dtype=float), np.asarray(to_m, dtype=float)
    length = float(np.linalg.norm(end - start))
    axes = np.concatenate([_round(end - start, radius_m), (end - start)[None] / length * radius_m])
    return Solid(Shape.CAPSULE, (start + end) / 2, axes, length / (2 * radius_m), cls, colour, **look)


def _round(axis: np.ndarray, radius_m: float) -> np.ndarray:
    """Two orthogonal vectors of one length across an axis: the first as upright as can be."""
    axis = axis / np.linalg.norm(axis)
    hint = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    up = hint - axis * (axis @ hint)
    up /= np.linalg.norm(up)
    return np.stack([up, np.cross(axis, up)]) * radius_m
