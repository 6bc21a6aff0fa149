"""A source of small labelled frames whose classes can be read from the pixels, and a world of logs to split."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROWS, COLUMNS, PATCH = 4, 6, 4


class FakeSource:
    """8 logs x 5 frames of 16 x 24 px, patch 4: each unit is one class, seen as a noisy colour; 255 on a border."""

    def __init__(self, n_logs: int = 8, n_frames: int = 5, noise: float = 40.0, drift: float = 20.0):
        draw = np.random.default_rng(0)
        self.log_ids = [f"log{i}" for i in range(n_logs)]
        self.log_of = np.repeat(np.arange(n_logs), n_frames)
        colour = np.array([[60.0, 90, 120], [120, 90, 60], [150, 150, 150], [90, 160, 90]])
        n = len(self.log_of)
        unit = draw.choice(4, size=(n, ROWS, COLUMNS), p=[0.45, 0.35, 0.15, 0.05])
        label = unit.repeat(PATCH, 1).repeat(PATCH, 2)
        offset = drift * draw.standard_normal((n_logs, 3))[self.log_of]  # each log has its own light
        image = colour[label] + offset[:, None, None] + noise * draw.standard_normal((*label.shape, 3))
        self.image = torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
        self.label = torch.from_numpy(label)
        self.label[:, 0, :] = 255
        self.one_class = np.array([np.bincount(u.ravel(), minlength=4).argmax() for u in unit[:, :2, :2]]) % 2
        self.asked = 0

    def __len__(self):
        return len(self.log_of)

    def raw(self, clip):
        return clip["image"]

    def frames(self, indices, *, previous=False, labels=False):
        self.asked += len(indices)
        clip = {"image": self.image[torch.as_tensor(indices)]}
        return clip | ({"label": self.label[torch.as_tensor(indices)]} if labels else {})

    def class_label(self, index):
        return int(self.one_class[index])

    def labelled(self, kind):
        return np.ones(len(self), dtype=bool)


@pytest.fixture
def source():
    return FakeSource()


@pytest.fixture
def classes():
    seg = SimpleNamespace(names=("sky", "road", "car", "cone", "void"), ignore=4, small=("cone",))
    return {"seg": seg, "class": SimpleNamespace(names=("left", "right"), ignore=None, small=())}


@pytest.fixture
def split(source):
    """Five logs to learn from, three to test on."""
    return {log: "probe" if i < 5 else "test" for i, log in enumerate(source.log_ids)}
