"""WHAT is predicted, and its loss per unit: one target a file."""

from unseen.targets.descriptors import Descriptors
from unseen.targets.hog import Hog
from unseen.targets.pixels import Pixels
from unseen.targets.tokens import TokenIds

__all__ = ["Descriptors", "Hog", "Pixels", "TokenIds"]
