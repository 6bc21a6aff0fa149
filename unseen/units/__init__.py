"""WHAT can be hidden: one unit a file."""

from unseen.units.normalise import Fixed, PerFrame
from unseen.units.patches import Patches

__all__ = ["Fixed", "Patches", "PerFrame"]
