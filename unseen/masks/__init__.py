"""WHICH units are hidden: one policy a file, all built on `choose`; and what of them is read all the same."""

from unseen.masks.block import Block
from unseen.masks.corruption import KeepOrReplace, Noise
from unseen.masks.ego_tube import EgoTube
from unseen.masks.future import Future
from unseen.masks.grid import Grid
from unseen.masks.multi_block import MultiBlock
from unseen.masks.nothing import Nothing
from unseen.masks.random import Random
from unseen.masks.running_cell import RunningCell
from unseen.masks.span import Span
from unseen.masks.tube import Tube
from unseen.masks.weighted import Weighted
from unseen.masks.word import WholeWord

__all__ = [
    "Block",
    "EgoTube",
    "Future",
    "Grid",
    "KeepOrReplace",
    "MultiBlock",
    "Noise",
    "Nothing",
    "Random",
    "RunningCell",
    "Span",
    "Tube",
    "Weighted",
    "WholeWord",
]
