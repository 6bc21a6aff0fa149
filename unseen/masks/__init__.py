"""WHICH units are hidden: one policy a file, all built on `choose`."""

from unseen.masks.block import Block
from unseen.masks.grid import Grid
from unseen.masks.nothing import Nothing
from unseen.masks.random import Random

__all__ = ["Block", "Grid", "Nothing", "Random"]
