"""The loop. Its state is the step: data order, masks and learning rate are functions of it, so a resume is exact."""

import math
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from unseen.contract import Clip, MaskedBatch, MaskedModel, Source, check, walk
from unseen.data.loader import prefetch
from unseen.data.order import positions
from unseen.errors import UnseenError
from unseen.precision import autocast, resolve_precision
from unseen.systems.objective import Objective, predict, sample_keys, total, unit_weights
from unseen.train import checkpoint
from unseen.train.allocator import keep_freed_memory
from unseen.train.distributed import Ranks, join, to_device
from unseen.train.failure import keep_failure
from unseen.train.identity import recipe_digest
from unseen.train.interrupt import Stop
from unseen.train.monitors import Monitor
from unseen.train.record import Pace, Record
from unseen.train.training import (
    Training,
    compile_blocks,
    compile_whole,
    recompute_blocks,
    set_lr,
    trainable,
)

CHECKED_STEPS = 3  # steps after a start whose batches are checked against the contract

Micro = tuple[Clip, Tensor]  # a clip and one key per sample


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    run: Path
    step: int  # steps done
    steps: int  # steps wanted
    loss: float | None  # of the last step of this process; None when there was nothing left to do
    seconds: float  # of training, over all parts of the run

    @property
    def finished(self) -> bool:
        return self.step == self.steps

    def summary(self) -> dict[str, Any]:
        """For the command line; `exit` 130 says interrupted and resumable."""
        facts = {"step": self.step, "steps": self.steps, "loss": self.loss, "seconds": round(self.seconds, 1)}
        return facts if self.finished else facts | {"exit": 130, "go_on": f"unseen resume {self.run}"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one step tells, the same on every process."""

    loss: float
    losses: dict[str, float]
    grad_norm: float
    stop: bool  # a process was asked to end


def fit(
    *,
    run: Path,
    model: MaskedModel,
    objective: Objective,
    training: Training,
    source: Source,
    monitor: Clip | None = None,
    class_names: tuple[str, ...] = (),
    device: torch.device | str | None = None,
    console: TextIO | None = sys.stderr,
) -> FitResult:
    """Train `model` in place until `training.steps`, from the last checkpoint in `run` or from its present weights.

    Raises UnseenError when the run was made with other data or another recipe, a sample cannot be read, the disk
    refuses, or the loss is not finite; the last checkpoint is then intact. SIGINT and SIGTERM end after the step, with
    a checkpoint. `monitor`: whole frames, with the frame before and labels where there are any (`class_names` name
    their classes).
    """
    keep_freed_memory()
    with join(device) as ranks, Stop() as stop:
        loop = Loop(run, model, objective, training, source, ranks)
        done = loop.resume()
        ranks.wait()  # nobody writes a first checkpoint while another still looks for one
        if loop.step == training.steps:
            return loop.result(None)
        with closing(Record(run, done, training.steps, console, ranks.writes)) as record:
            watched = monitor if ranks.writes else None
            watch = Monitor(loop.objective, watched, training.seed, class_names, ranks.device) if watched else None
            if done is None:
                loop.watch(watch, record)
                loop.save(record)
            return loop.run_to_the_end(watch, record, stop)


class Loop:
    """A model on its way through a run."""

    def __init__(
        self, run: Path, model: MaskedModel, objective: Objective, training: Training, source: Source, ranks: Ranks
    ):
        self.run, self.training, self.source, self.ranks = run, training, source, ranks
        self.model = model.to(ranks.device).train()
        self.objective = objective  # its targets meet their networks in `resume`
        recompute_blocks(self.model, training.recompute)
        self.named = trainable(self.model)
        self.optimisers = training.optimiser.build(self.named)
        self.precision = resolve_precision(training.precision, ranks.device)
        self.names = sorted(objective.weights())
        self.step, self.seconds = 0, 0.0
        self.parts(0)  # refuses a batch that does not divide among the processes, before anything is written
        self.identity = {"data": source.digest, "recipe": recipe_digest(objective, training, model)}

    def resume(self) -> int | None:
        """Take up the last checkpoint, and bind the targets; its step, or None when there is none."""
        path = checkpoint.last(self.run)
        if path is None:
            self.objective = self.objective.bind(self.model, self.precision)
            return None
        state = checkpoint.load_state(path)
        checkpoint.agree(path, state, self.identity)
        if self.ranks.writes:
            checkpoint.tidy(self.run, self.training.keep)
        self.step, self.seconds, self.precision = state["step"], state["seconds"], state["precision"]
        self.model.load_state_dict(checkpoint.load_tensors(path, "model", self.ranks.device))
        self.objective = self.objective.bind(self.model, self.precision)
        for name, network in self.objective.networks().items():
            network.load_state_dict(checkpoint.load_tensors(path, f"target-{name}", self.ranks.device))
        tensors = checkpoint.load_tensors(path, "optimiser", self.ranks.device)
        checkpoint.restore_optimisers(self.optimisers, self.named, tensors)
        return self.step

    def run_to_the_end(self, watch: Monitor | None, record: Record, stop: Stop) -> FitResult:
        training, first, micros = self.training, self.step, self.micros()
        if training.compile:
            (compile_whole if training.compile == "whole" else compile_blocks)(self.model)
        self.forward = self.ranks.wrap(self.model)
        pace = Pace(self.seconds)
        with closing(micros):
            while self.step < training.steps:
                measured = self.advance(self.read(micros), checked=self.step < first + CHECKED_STEPS, stop=stop)
                self.step += 1
                self.seconds = pace.tick(training.batch)
                ends = measured.stop or self.step == training.steps
                if ends or self.step % training.log_every == 0:
                    record.add(self.line(measured, pace))
                if self.step == training.steps or self.step % training.monitor_every == 0:
                    self.watch(watch, record)
                if ends or self.step % training.checkpoint_every == 0:
                    self.save(record)
                if measured.stop:
                    break
        result = self.result(measured.loss)
        if not result.finished:
            record.progress.say(f"stopped after step {self.step}; go on with `unseen resume {self.run}`")
        return result

    def micros(self) -> Generator[Clip]:
        """The clips of all micro-batches that are still to come, in order."""
        steps = range(self.step, self.training.steps)
        yield from prefetch(self.source, (part for step in steps for part in self.parts(step)), self.training.workers)

    def parts(self, step: int) -> list[np.ndarray]:
        """The positions of each micro-batch of a step on this process."""
        share = positions(step, self.training.batch, self.ranks.rank, self.ranks.world)
        size = self.training.micro_batch or len(share)
        return [share[start : start + size] for start in range(0, len(share), size)]

    def read(self, micros: Iterator[Clip]) -> list[Micro]:
        """The micro-batches of this step, on the device, each sample with the key of its mask."""
        out = []
        for place in self.parts(self.step):
            try:
                clip = next(micros)
            except Exception as error:
                what = error if isinstance(error, UnseenError) else UnseenError(f"{type(error).__name__}: {error}")
                raise UnseenError(
                    f"step {self.step + 1} cannot read its samples: {what.what}",
                    what.rule or "every sample of a run must stay readable",
                    what.remedy or f"repair it, then `unseen resume {self.run}`",
                ) from error
            clip = to_device(clip, self.ranks.device)
            visit = torch.from_numpy(place).to(self.ranks.device)
            out.append((clip, sample_keys(clip, self.training.seed, visit)))
        return out

    def advance(self, micros: list[Micro], *, checked: bool, stop: Stop) -> Measured:
        """One step of the optimiser. Losses divide by the units of the whole step, not of a micro-batch or process."""
        set_lr(self.optimisers, self.training.lr_at(self.step))
        batches = [self.objective.batch(clip, key) for clip, key in micros]
        if checked:
            self.check(batches)
        counted = [unit_weights(batch) for batch in batches]
        units = self.ranks.add(
            torch.stack([torch.cat([part[name].flatten() for part in counted]).double().sum() for name in self.names])
        )
        sums = dict(zip(self.names, units, strict=True))
        errors = torch.zeros_like(units)
        for number, (batch, weight) in enumerate(zip(batches, counted, strict=True)):
            with self.ranks.accumulating(self.forward, last=number + 1 == len(batches)):
                losses = self.losses(batch)
                # wrapped models average gradients over processes, but ours are parts of one sum
                (total(losses, weight, sums, self.objective) * self.ranks.world).backward()
            errors += torch.stack([(losses[name].detach() * weight[name]).double().sum() for name in self.names])
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in self.named], self.training.clip_norm or math.inf)
        measured = self.measure(errors, units, float(norm), stop)
        if not (math.isfinite(measured.loss) and math.isfinite(measured.grad_norm)):
            raise self.not_finite(micros, measured, here=not bool(errors.isfinite().all()))
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.objective.follow(self.model, (self.step + 1) / self.training.steps)
        return measured

    def losses(self, batch: MaskedBatch) -> dict[str, Tensor]:
        with autocast(self.ranks.device, self.precision):
            prediction = predict(self.forward, batch)  # type: ignore[arg-type]  # wrapped, it is called alike
        return self.objective.losses(walk(Tensor.float, prediction), batch)

    def measure(self, errors: Tensor, units: Tensor, norm: float, stop: Stop) -> Measured:
        *means, stops = self.ranks.add(
            torch.cat([errors / units.clamp(min=1e-12), errors.new_tensor([stop.requested])])
        )
        losses = {name: float(mean) for name, mean in zip(self.names, means, strict=True)}
        weights = self.objective.weights()
        return Measured(sum(weights[name] * loss for name, loss in losses.items()), losses, norm, bool(stops > 0))

    def check(self, batches: list[MaskedBatch]) -> None:
        try:
            for batch in batches:
                check(batch, self.objective.read_and_scored)
        except ValueError as error:
            raise UnseenError(
                f"step {self.step + 1}: {error}", "a batch keeps the contract", "change mask or unit"
            ) from error

    def not_finite(self, micros: list[Micro], measured: Measured, *, here: bool) -> UnseenError:
        """Keep the step for a replay (on the process whose part it was); the error that names it."""
        bad = {name: value for name, value in measured.losses.items() if not math.isfinite(value)}
        folder = (
            self.run
            / "failed"
            / (f"step-{self.step + 1:06d}" + (f"-rank-{self.ranks.rank}" if self.ranks.rank else ""))
        )
        if here or not bad:
            facts = {"step": self.step + 1, "losses": {k: str(v) for k, v in measured.losses.items()}}
            facts |= {"grad_norm": str(measured.grad_norm), "precision": self.precision, "seed": self.training.seed}
            keep_failure(folder, micros, self.model, self.objective.networks(), facts)
        what = ", ".join(f"{name} is {value}" for name, value in bad.items()) or f"the gradient is {measured.grad_norm}"
        return UnseenError(
            f"step {self.step + 1}: {what}",
            "a run stops at the first loss that is not finite",
            f"the batch and the weights are kept in {folder}; try a lower training.lr or training.precision=float32",
        )

    def line(self, measured: Measured, pace: Pace) -> dict[str, Any]:
        rate = pace.samples_per_s()
        return {
            "kind": "train",
            "step": self.step,
            "time_s": round(self.seconds, 3),
            "lr": self.training.lr_at(self.step - 1),
            "loss": measured.loss,
            "losses": measured.losses,
            "samples_per_s": rate,
            "grad_norm": measured.grad_norm,
            "eta_s": (self.training.steps - self.step) * self.training.batch / rate,
        }

    def watch(self, watch: Monitor | None, record: Record) -> None:
        if watch is None:
            return
        with torch.compiler.set_stance("force_eager"):  # whole frames: another shape, not worth another compilation
            record.add({"kind": "monitor", "step": self.step, **watch.measure(self.model, self.precision)})
            watch.draw(self.model, self.precision, self.run / "samples" / f"step-{self.step:06d}.npz")

    def save(self, record: Record) -> None:
        if record.metrics is None:
            return
        record.metrics.sync()
        tensors = {
            "model": self.model.state_dict(),
            "optimiser": checkpoint.optimiser_tensors(self.optimisers, self.named),
        } | {f"target-{name}": network.state_dict() for name, network in self.objective.networks().items()}
        state = {**self.identity, "precision": self.precision, "seconds": self.seconds, "torch": torch.__version__}
        checkpoint.save(self.run, self.step, tensors, state, self.training.keep)

    def result(self, loss: float | None) -> FitResult:
        return FitResult(run=self.run, step=self.step, steps=self.training.steps, loss=loss, seconds=self.seconds)
