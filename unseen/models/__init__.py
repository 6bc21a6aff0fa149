"""Models: an encoder, and something that predicts hidden units from what it saw."""

from unseen.models.in_place import InPlace
from unseen.models.initialise import initialise
from unseen.models.masked_autoencoder import MaskedAutoencoder
from unseen.models.positions import Learned, Sequence1D, SinCos
from unseen.models.predictors import CrossAttention, SelfAttention
from unseen.models.quantiser import Quantiser, VectorQuantised
from unseen.models.relative import Relative
from unseen.models.stems import ConvStem, LinearStem, WhitenedStem
from unseen.models.vit import ViT

__all__ = [
    "ConvStem",
    "CrossAttention",
    "InPlace",
    "Learned",
    "LinearStem",
    "MaskedAutoencoder",
    "Quantiser",
    "Relative",
    "SelfAttention",
    "Sequence1D",
    "SinCos",
    "VectorQuantised",
    "ViT",
    "WhitenedStem",
    "initialise",
]
