"""WHICH units are hidden: one policy a file, all built on `choose`."""

from unseen.masks.block import Block
from unseen.masks.ego_tube import EgoTube
from unseen.masks.future import Future
from unseen.masks.grid import Grid
from unseen.masks.multi_block import MultiBlock
from unseen.masks.nothing import Nothing
from unseen.masks.random import Random
from unseen.masks.running_cell import RunningCell
from unseen.masks.tube import Tube
from unseen.masks.weighted import Weighted

__all__ = ["Block", "EgoTube", "Future", "Grid", "MultiBlock", "Nothing", "Random", "RunningCell", "Tube", "Weighted"]
