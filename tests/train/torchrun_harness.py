"""One process of a distributed run; started by torchrun from test_train_distributed."""

import sys
from pathlib import Path

import torch
from train_stand_ins import Memory, Tiny, objective, training

from unseen.train.loop import fit

torch.set_num_threads(1)
source = Memory()
fit(
    run=Path(sys.argv[1]),
    model=Tiny(),
    objective=objective(),
    training=training(micro_batch=3, steps=int(sys.argv[2]), warmup=2),
    source=source,
    monitor=source.frames(range(3)),
    console=None,
)
