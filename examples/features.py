"""Pretrain for a minute, load the encoder, find the frames most like one frame. Run: python examples/features.py"""

import tempfile
from pathlib import Path

import torch

import unseen
from unseen.data.clips import ClipSource
from unseen.data.store import Store
from unseen.recipes.apron import apron

if __name__ == "__main__":  # the world is made by several processes
    folder = Path(tempfile.mkdtemp())
    unseen.world(folder / "store", logs=4, frames=8)
    unseen.pretrain("apron", data=folder / "store", out=folder / "run", set=("training.steps=60", "training.warmup=6"))

    store = Store.open(folder / "store")
    source = ClipSource(store, store.log_ids(), apron().view)
    frames = source.frames(range(len(source)))
    encoder = unseen.load_encoder(folder / "run")
    features = encoder(frames["image"])  # raw uint8 [B, 3, H, W] in
    print("pooled", tuple(features.pooled.shape), "per unit", tuple(features.units.shape), "grid", features.grid)

    pooled = torch.nn.functional.normalize(features.pooled, dim=1)
    likeness = pooled @ pooled[0]
    for index in likeness.argsort(descending=True)[:5].tolist():
        print(f"{likeness[index]:.3f}  log {frames['log_id'][index]}")
