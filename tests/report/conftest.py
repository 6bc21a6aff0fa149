"""A run folder as the other rooms write it: small, synthetic, complete, with a real mask over a drawn frame."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unseen.masks import Random
from unseen.randomness import keys, uniform
from unseen.units import Patches

LOGS = [f"apron-{i:02d}" for i in range(8)]
CLASSES = {"apron": 0.71, "aircraft": 0.34, "vehicle": 0.22, "cone": 0.06, "person": 0.04, "marking": 0.12}
ROWS = {  # features: (mIoU, half width of the interval of a difference to it)
    "pretrained": (0.412, 0.0),
    "random init": (0.301, 0.022),
    "raw pixels": (0.214, 0.031),
    "hand-made": (0.372, 0.018),
    "nearly-unmasked twin": (0.404, 0.016),
}
RECIPE = {
    "class": "unseen.recipes.recipe:Recipe",
    "fields": {
        "unit": {"class": "unseen.units.patches:Patches", "fields": {"size": [8, 8]}},
        "mask": {"class": "unseen.masks.random:Random", "fields": {"ratio": 0.75, "cell": 1}},
    },
}


def frames(n: int, seed: int = 0) -> np.ndarray:
    """Drawn frames uint8 [n, 96, 128, 3]: sky, apron, a lead-in line and a few boxes."""
    images = np.zeros((n, 96, 128, 3), np.float32)
    draws = uniform(keys(seed, torch.arange(n), 0, "frames"), 40).numpy()
    y = np.linspace(0, 1, 96)[:, None, None]
    for image, draw in zip(images, draws, strict=True):
        image[:] = np.where(y < 0.4, [0.55, 0.7, 0.9] * (1.1 - y), [0.42, 0.43, 0.45] * (0.8 + 0.4 * y))
        centre = int(30 + 60 * draw[0])
        image[40:, centre : centre + 3] = (0.95, 0.8, 0.2)
        for k in range(5):
            top, left, side = int(30 + 45 * draw[3 * k + 1]), int(110 * draw[3 * k + 2]), int(6 + 18 * draw[3 * k + 3])
            image[top : top + side, left : left + 2 * side] = draw[20 + 3 * k : 23 + 3 * k]
    return (255 * images.clip(0, 1)).astype(np.uint8)


def samples(step: int, n: int = 4) -> dict[str, np.ndarray]:
    """What the monitor saves: input, what the mask leaves, and a prediction that sharpens with the step."""
    images, unit = frames(n), Patches(size=(8, 8))
    values, units = unit.cut({"image": torch.from_numpy(images).permute(0, 3, 1, 2)})
    hidden = Random(ratio=0.75)(units, keys(0, torch.arange(n), 0, "mask"), {}).target[:, :, None, None, None]
    flat = values.float().mean(dim=(2, 3), keepdim=True).expand_as(values)
    share = min(step / 400, 0.8)
    guess = (share * values.float() + (1 - share) * flat).to(torch.uint8)

    def picture(x: torch.Tensor) -> np.ndarray:
        return unit.join(x, units).permute(0, 2, 3, 1).numpy()

    masked = torch.where(hidden, torch.full_like(values, 127), values)
    shown = torch.where(hidden, guess, values)
    caption = (
        "Prediction in patch-normalised space, scaled by mean and deviation interpolated from visible patches only."
    )
    return {"input": images, "masked": picture(masked), "prediction": picture(shown), "caption": np.array(caption)}


def metrics_lines(steps: int = 400, seed: int = 0) -> list[dict]:
    noise = uniform(keys(seed, torch.arange(1), 0, "noise"), steps + 1)[0].tolist()
    lines = []
    for step in range(10, steps + 1, 10):
        loss = 0.42 + 0.75 * math.exp(-step / 70) + 0.04 * noise[step]
        lr = 3e-4 * min(step / 60, 0.5 + 0.5 * math.cos(math.pi * max(0, step - 60) / (steps - 60)))
        record = {"kind": "train", "step": step, "time_s": 0.31 * step, "lr": lr, "loss": loss}
        lines.append(
            record | {"losses": {"pixels": loss}, "samples_per_s": 180 + 30 * noise[step], "grad_norm": 1 / loss}
        )
        if step % 50 == 0:
            lines.append(monitor_line(step, loss + 0.01))
    return lines


def monitor_line(step: int, loss: float) -> dict:
    classes = {name: {"loss": loss * (1.5 - share), "units": int(1000 * share) + 3} for name, share in CLASSES.items()}
    baselines = {"null": 1.0, "mean": 0.83, "neighbour": 0.61, "previous": 0.55}
    record = {"kind": "monitor", "step": step, "losses": {"pixels": loss}, "baselines": {"pixels": baselines}}
    return record | {"by_class": classes, "visible_share": 0.25, "target_share": 0.75, "effective_rank": 20 + step / 20}


def probe(n_logs: int = 8, **changes) -> dict:
    """A dense probe over `n_logs` logs; below five there are no intervals, as the evaluation room writes it."""
    logs = LOGS[:n_logs]
    spec = {"type": "Dense", "classifier": "logistic", "small": ["cone", "person"]}
    base = {"name": "apron-seg", "kind": "dense", "labels": "seg", "spec": spec, "spec_hash": "5bd1" * 8}
    base |= {"registered_before_training": True, "protocol": "split", "primary": "miou", "n_logs": n_logs, "logs": logs}
    base |= {
        "split_digest": "9f0c" * 8,
        "looks": 1,
        "rows": [row(name, logs) for name in ROWS],
        "few_label": few_label(),
    }
    return base | changes


def row(name: str, logs: list[str]) -> dict:
    value = ROWS[name][0]
    enough = len(logs) >= 5
    per_log = {log: {"miou": value + 0.01 * (i - len(logs) / 2)} for i, log in enumerate(logs)}
    method = f"Student t on the values of {len(logs)} logs"
    interval = {"method": method, "low": value - 0.025, "high": value + 0.025} if enough else None
    against = {}
    for floor, (other, half) in ROWS.items():
        difference = value - other
        if floor not in (name, "pretrained"):
            ends = {"low": difference - half, "high": difference + half} if enough else {"low": None, "high": None}
            each = {log: difference + 0.002 * (i % 3 - 1) for i, log in enumerate(logs)}
            against[floor] = {"difference": difference, **ends, "method": method, "per_log": each}
    per_class = {
        c: {"iou": min(0.95, value + share - 0.3 if share > 0.2 else value * share), "recall": share}
        for c, share in CLASSES.items()
    }
    return {
        "features": name,
        "classifier": "logistic",
        "metrics": {"miou": value, "pixel_accuracy": value + 0.4, "small_recall": value / 4},
        "per_class": per_class,
        "per_log": per_log,
        "interval": interval,
        "interval_note": None if enough else f"{len(logs)} logs are too few for an interval over logs",
        "against": against,
    }


def completion(name: str = "pixels", ahead: float = 0.1, half: float | None = 0.02, **changes) -> dict:
    """What a model and two baselines lose on held-out logs; half=None: too few logs for an interval."""
    ends = {"low": None, "high": None, "method": "4 logs are too few for an interval over logs"}
    losses, against = {"model": 0.5}, {}
    for kind, more in (("neighbour", ahead), ("training mean", 0.4)):
        losses[kind] = 0.5 + more
        if half is not None:
            ends = {"low": -more - half, "high": -more + half, "method": "bootstrap over 22 logs, 2000 draws"}
        against[kind] = {"difference": -more, "logs_ahead": 20, **ends}
    return {name: {"losses": losses, "against": against, "n_logs": 22, "units": 4224.0} | changes}


def few_label() -> list[dict]:
    curve = []
    for name, (value, *_) in ROWS.items():
        for n in (1, 2, 5, 10):
            mean = value * (1 - 0.4 / (n + 0.5))
            curve.append(
                {
                    "features": name,
                    "budget_logs": n,
                    "draws": [mean] * 5,
                    "mean": mean,
                    "spread": "range of the draws",
                    "low": mean - 0.02,
                    "high": mean + 0.02,
                }
            )
    return curve


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder; name=None leaves a piece out, evaluation=... replaces it."""

    def make(name: str = "mae-apron", seed: int = 0, **pieces) -> Path:
        run = tmp_path / "runs" / name
        (run / "samples").mkdir(parents=True)
        split = {"name": "default", "by": ["log_id"], "seed": 0, "components": 12, "digest": "9f0c" * 8}
        split |= {"store_digest": "77aa" * 8, "unknown": {"route_id": 12, "date": 0}}
        split["assignment"] = {log: "test" for log in LOGS} | {f"drive-{i:02d}": "train" for i in range(20)}
        documents = {
            "recipe": RECIPE,
            "env": {
                "python": "3.11.9",
                "torch": "2.13.0",
                "threads": 2,
                "command": "unseen pretrain mae --data apron --out runs/mae-apron",
            },
            "lineage": {"encoder": {"init": "random", "seed": 0}, "store": "77aa" * 8},
            "manifest": {"split": split, "frames": 4120},
            "evaluation": {"format": 1, "run": name, "probes": [probe()], "completion": completion()},
        }
        for key, content in (documents | pieces).items():
            if content is not None and key in documents:
                (run / f"{key}.json").write_text(json.dumps(content))
        if pieces.get("metrics", True) is not None:
            lines = pieces.get("metrics") or metrics_lines(seed=seed)
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for step in pieces.get("samples", (100, 200, 400)):
            np.savez(run / "samples" / f"step-{step:06d}.npz", **samples(step))
        return run

    return make


@pytest.fixture
def make_probe() -> Callable[..., dict]:
    return probe


@pytest.fixture
def make_completion() -> Callable[..., dict]:
    return completion


@pytest.fixture
def make_samples() -> Callable[..., dict[str, np.ndarray]]:
    return samples
