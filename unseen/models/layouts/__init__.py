"""Weights from elsewhere and for elsewhere: timm encoders, and MAE, BEiT, VideoMAE and I-JEPA as their own code and
transformers name them.

The official MAE names, whose encoder half is timm's, are the hub: each other layout is a renaming to and from them.
Nothing is guessed and nothing is skipped in silence: a file must fill the model exactly, but for an explicit list of
keys that may be left out.
"""

from unseen.models.layouts.files import read_config, read_state
from unseen.models.layouts.load import Matched, load_weights
from unseen.models.layouts.official import to_official, to_timm

__all__ = ["Matched", "load_weights", "read_config", "read_state", "to_official", "to_timm"]
