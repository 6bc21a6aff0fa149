"""Descriptors and MaskFeat's histograms against slow loops over pixels."""

import math
import time

import pytest
import torch

from unseen.contract import Clip, Units
from unseen.errors import UnseenError
from unseen.targets import Descriptors, Hog
from unseen.units import Patches

CELL = 2


def material(height: int = 12, width: int = 20, size: tuple[int, int] = (4, 4)) -> tuple[torch.Tensor, Units, Clip]:
    image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    clip = Clip(image=image)
    return *Patches(size=size).cut(clip), clip


def slow_histogram(dy, dx, top: int, left: int, high: int, wide: int, bins: int) -> list[float]:
    """Mean magnitude by orientation over one rectangle of one channel."""
    out = [0.0] * bins
    for y in range(top, top + high):
        for x in range(left, left + wide):
            gy, gx = float(dy[y, x]), float(dx[y, x])
            out[math.floor(math.atan2(gy, gx) / math.pi * bins) % bins] += math.hypot(gy, gx) / (high * wide)
    return out


def slow_descriptors(target: Descriptors, image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """One image [C, H, W], unit by unit, straight from the definition."""
    channels, height, width = image.shape
    h, w = height // rows, width // columns
    grey = image.mean(dim=0).double()
    up = torch.cat([grey[:1], grey[:-1]])
    down = torch.cat([grey[1:], grey[-1:]])
    before = torch.cat([grey[:, :1], grey[:, :-1]], dim=1)
    after = torch.cat([grey[:, 1:], grey[:, -1:]], dim=1)
    dy, dx = (down - up) / 2, (after - before) / 2
    out = []
    for row in range(rows):
        for column in range(columns):
            numbers = []
            for scale in target.scales:
                reach = scale // 2
                near_rows = range(max(0, row - reach), min(rows, row + reach + 1))
                near_columns = range(max(0, column - reach), min(columns, column + reach + 1))
                near = [(r, c) for r in near_rows for c in near_columns]
                for i in range(target.cells):
                    for j in range(target.cells):
                        high, wide = h // target.cells, w // target.cells
                        parts = [
                            slow_histogram(dy, dx, r * h + i * high, c * w + j * wide, high, wide, target.bins)
                            for r, c in near
                        ]
                        for energy in (sum(values) / len(near) for values in zip(*parts, strict=True)):
                            numbers.append((math.log(energy + 0.01) + 3.9) / (0.7 * scale**-0.2))
                area = image[
                    :,
                    near_rows.start * h : near_rows.stop * h,
                    near_columns.start * w : near_columns.stop * w,
                ].double()
                numbers += [float(area[c].mean()) / 0.8 for c in range(channels)]
                numbers += [(float(area[c].std(correction=0)) ** 0.5 - 0.55) / 0.24 for c in range(channels)]
            out.append(numbers)
    return torch.tensor(out)


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (Descriptors(scales=(1, 3)), (4, 4)),
        (Descriptors(scales=(1, 7), bins=4, cells=1), (4, 4)),
        (Descriptors(scales=(3,), bins=5), (6, 4)),
    ],
    ids=["default", "one-cell", "rectangular"],
)
def test_descriptors_equal_a_slow_loop_borders_included(target, size):
    values, units, clip = material(size=size)
    made = target.make(values, units, clip)
    for b in range(2):
        expected = slow_descriptors(target, clip["image"][b], *units.grid)
        torch.testing.assert_close(made[b], expected, rtol=1e-3, atol=1e-3)


def test_a_crop_smaller_than_the_neighbourhood_still_counts_truly():
    """With two units a side, a scale of 7 is the whole crop, for every unit alike."""
    values, units, clip = material(8, 8)
    made = Descriptors(scales=(7,)).make(values, units, clip)
    torch.testing.assert_close(made, made[:, :1].expand_as(made))


def test_a_vertical_edge_falls_into_the_bin_of_gradients_along_x():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 1
    clip = Clip(image=image)
    values, units = Patches(size=(8, 8)).cut(clip)
    histogram = Descriptors(scales=(1,), cells=1).make(values, units, clip)[0, 0, :9]
    assert histogram.argmax() == 0 and (histogram[1:] == histogram[1]).all()


def test_descriptors_are_of_order_one_and_make_no_graph():
    smooth = torch.nn.functional.interpolate(torch.randn(4, 3, 9, 12), (64, 96), mode="bicubic")
    clip = Clip(image=((smooth - smooth.mean()) / smooth.std()).requires_grad_())
    values, units = Patches(size=(8, 8)).cut(clip)
    made = Descriptors().make(values, units, clip)
    assert made.shape == (4, 96, 3 * (4 * 9 + 6)) and not made.requires_grad
    assert 0.3 < made.square().mean().sqrt() < 3


def slow_hog(image: torch.Tensor, rows: int, columns: int, cells: int, bins: int = 9) -> torch.Tensor:
    """SlowFast's formula: reflect padding, Sobel, atan2(gx, gy), hard bins, sums, L2 norm over the bins."""
    channels, height, width = image.shape
    at = lambda c, y, x: float(image[c, reflect(y, height), reflect(x, width)])  # noqa: E731
    reflect = lambda i, n: -i if i < 0 else 2 * n - 2 - i if i >= n else i  # noqa: E731
    high, wide = height // rows // cells, width // columns // cells
    sums = torch.zeros(rows * cells, columns * cells, channels, bins, dtype=torch.float64)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                gx = sum(k * (at(c, y + d, x - 1) - at(c, y + d, x + 1)) for d, k in ((-1, 1), (0, 2), (1, 1)))
                gy = sum(k * (at(c, y - 1, x + d) - at(c, y + 1, x + d)) for d, k in ((-1, 1), (0, 2), (1, 1)))
                index = math.floor(math.atan2(gx, gy) / math.pi * bins) % bins
                sums[y // high, x // wide, c, index] += math.hypot(gx, gy)
    sums /= sums.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return sums.view(rows, cells, columns, cells, channels * bins).transpose(1, 2).reshape(rows * columns, -1).float()


def test_hog_equals_a_slow_loop():
    values, units, clip = material(8, 12)
    made = Hog().make(values, units, clip)
    for b in range(2):
        expected = slow_hog(clip["image"][b], *units.grid, cells=CELL)
        torch.testing.assert_close(made[b], expected, rtol=1e-4, atol=1e-5)


def test_hog_of_a_16_px_patch_has_maskfeats_108_numbers_whatever_the_contrast():
    values, units, clip = material(32, 48, (16, 16))
    made = Hog().make(values, units, clip)
    assert made.shape == (2, 6, 108)
    torch.testing.assert_close(made.view(2, 6, 4, 3, 9).norm(dim=-1), torch.ones(2, 6, 4, 3))
    louder = Clip(image=clip["image"] * 4 - 1)
    torch.testing.assert_close(Hog().make(values, units, louder), made)


def test_flat_units_count_nothing_under_hog_and_fully_under_descriptors():
    clip = Clip(image=torch.randn(1, 3, 8, 16))
    clip["image"][:, :, :, :8] = 0.4
    values, units = Patches(size=(8, 8)).cut(clip)
    assert Hog().weight(values, units, clip).tolist() == [[0, 1]]
    assert Hog(flat_std=0.0).weight(values, units, clip).tolist() == [[1, 1]]
    assert Descriptors().weight(values, units, clip).tolist() == [[1, 1]]


@pytest.mark.parametrize("target", [Descriptors(cells=3), Hog(cells=3)])
def test_cells_that_do_not_divide_the_unit_are_refused(target):
    with pytest.raises(UnseenError, match="4 x 4 px does not divide into 3 x 3 cells"):
        target.make(*material())


@pytest.mark.parametrize("target", [Descriptors(), Hog()])
def test_units_without_a_grid_are_refused(target):
    values, units, clip = material()
    with pytest.raises(UnseenError, match="2-D grid"):
        target.make(values, units._replace(grid=None), clip)


@pytest.mark.parametrize("scales", [(), (2,), (1, -1)])
def test_scales_must_have_a_middle(scales):
    with pytest.raises(UnseenError, match="odd number"):
        Descriptors(scales=scales)


def test_descriptors_are_cheap_beside_a_step():
    """About 11 ms for 32 crops of 64 x 128 px on one core; the bound leaves room for a busy machine."""
    clip = Clip(image=torch.randn(32, 3, 64, 128))
    values, units = Patches(size=(8, 8)).cut(clip)
    times = []
    for _ in range(5):
        start = time.process_time()
        Descriptors().make(values, units, clip)
        times.append(time.process_time() - start)
    assert min(times) < 0.1
