"""Several processes, one run: each takes an equal slice of every step. One process is the case of world = 1.

Started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK. A model that outgrows one device would be sharded in
`wrap`, and its checkpoint gathered by rank 0; nothing else of the loop knows about processes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from unseen.contract import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    rank: int = 0
    world: int = 1
    device: torch.device

    @property
    def writes(self) -> bool:
        """Rank 0 alone writes files and speaks."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module whose gradients are averaged over the processes after its backward pass."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    @contextmanager
    def accumulating(self, model: nn.Module, *, last: bool) -> Iterator[None]:
        """Hold back the exchange of gradients until the last micro-batch of a step."""
        if self.world == 1 or last:
            yield
        else:
            with model.no_sync():  # type: ignore[operator]
                yield

    def add(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place; every process gets the same bits."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            distributed.barrier()


def first_process() -> bool:
    """Whether this process writes files, known before the processes have met."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join(device: torch.device | str | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be alone; a group that stands already is used and left standing."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = torch.device(device) if device else default_device(int(os.environ.get("LOCAL_RANK", 0)))
    mine = world > 1 and not distributed.is_initialized()
    if mine:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(rank=rank, world=world, device=chosen)
    finally:
        if mine:
            distributed.destroy_process_group()


def to_device(clip: Clip, device: torch.device) -> Clip:
    """The clip with its tensors on the device."""
    moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in clip.items()}
    return Clip(**moved)  # type: ignore[typeddict-item]


def default_device(local_rank: int = 0) -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
