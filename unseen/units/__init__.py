"""WHAT can be hidden: one unit a file."""

from unseen.units.mosaic import Mosaic
from unseen.units.normalise import Fixed, PerClip, PerFrame
from unseen.units.patches import Patches
from unseen.units.tokens import Tokens
from unseen.units.tubes import Tubes

__all__ = ["Fixed", "Mosaic", "Patches", "PerClip", "PerFrame", "Tokens", "Tubes"]
