"""Models: an encoder, and something that predicts hidden units from what it saw."""

from unseen.models.bert import Bert
from unseen.models.heads import LinearHead
from unseen.models.in_place import InPlace
from unseen.models.initialise import initialise
from unseen.models.masked_autoencoder import MaskedAutoencoder
from unseen.models.modernbert import ModernBert
from unseen.models.positions import Learned, Sequence1D, SinCos
from unseen.models.predictors import CrossAttention, SelfAttention
from unseen.models.quantiser import Quantiser, VectorQuantised
from unseen.models.relative import Relative
from unseen.models.rotary_predictor import RotarySelfAttention
from unseen.models.rotary_vit import RotaryViT
from unseen.models.stems import ConvStem, LinearStem, TokenStem, WhitenedStem
from unseen.models.vit import ViT
from unseen.models.words import TiedHead

__all__ = [
    "Bert",
    "ConvStem",
    "CrossAttention",
    "InPlace",
    "Learned",
    "LinearHead",
    "LinearStem",
    "MaskedAutoencoder",
    "ModernBert",
    "Quantiser",
    "Relative",
    "RotarySelfAttention",
    "RotaryViT",
    "SelfAttention",
    "Sequence1D",
    "SinCos",
    "TiedHead",
    "TokenStem",
    "VectorQuantised",
    "ViT",
    "WhitenedStem",
    "initialise",
]
