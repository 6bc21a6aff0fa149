"""The four sizes at which a training step is measured."""

from typing import NamedTuple


class Size(NamedTuple):
    image: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder: tuple[int, int, int]  # width, depth, heads
    batch: int


SIZES = {
    "T32": Size(32, 4, 192, 6, 3, (96, 2, 3), 128),
    "T64": Size(64, 4, 192, 12, 3, (128, 4, 4), 32),
    "S224": Size(224, 16, 384, 12, 6, (512, 8, 16), 8),
    "B224": Size(224, 16, 768, 12, 12, (512, 8, 16), 4),
}
