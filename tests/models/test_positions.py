"""Position tables against published values, and learned tables at any place."""

import pytest
import torch
import torch.nn.functional as F

from unseen.errors import UnseenError
from unseen.models import SelfAttention
from unseen.models.positions import Learned, Sequence1D, centre_of, look_up, resample, sincos, sincos_grid, sinusoid

PINNED = {  # grid 2 x 3, width 8, layout [x | y] of MAE; the other layout has the halves swapped
    0: (0, 0, 1, 1, 0, 0, 1, 1),
    1: (0.841471, 0.01, 0.540302, 0.99995, 0, 0, 1, 1),
    2: (0.909297, 0.019999, -0.416147, 0.9998, 0, 0, 1, 1),
    3: (0, 0, 1, 1, 0.841471, 0.01, 0.540302, 0.99995),
    5: (0.909297, 0.019999, -0.416147, 0.9998, 0.841471, 0.01, 0.540302, 0.99995),
}


def test_the_table_of_mae():
    table = sincos_grid((2, 3), 8)
    for row, values in PINNED.items():
        assert torch.allclose(table[row], torch.tensor(values, dtype=torch.float32), atol=1e-6), row


def test_three_coordinates_are_each_encoded_as_one():
    table = sincos_grid((2, 2, 2), 12)
    pair = sincos_grid((2, 2), 8)
    assert torch.equal(table[5, :4], pair[1, :4])  # t=1 y=0 x=1: the last coordinate comes first
    assert torch.equal(table[5, 8:], pair[2, 4:])


def test_the_sequence_of_videomae():
    expected = (-0.958924, 0.283662, 0.479426, 0.877583, 0.049979, 0.99875, 0.005, 0.999988)
    assert torch.allclose(sinusoid(6, 8)[5], torch.tensor(expected), atol=1e-6)
    centre = torch.tensor([[[3.0, 4.5, 12.5]]])  # slot 1, row 1, column 2 of a grid 2 x 3 x 4: 12 + 4 + 2
    read = Sequence1D(grid=(2, 3, 4))(centre, (2.0, 3.0, 5.0), 8)
    assert torch.allclose(read[0, 0], sinusoid(24, 8)[18], atol=1e-5)


def test_a_table_of_video_is_exact_at_its_own_cells_and_halfway_between():
    table, grid, spacing = torch.randn(24, 7), (2, 3, 4), (2.0, 3.0, 5.0)
    index = torch.cartesian_prod(*(torch.arange(side) + 0.5 for side in grid))
    centre = (index * torch.tensor(spacing))[None]
    assert torch.allclose(look_up(table, grid, centre, spacing)[0], table, atol=1e-5)
    between = look_up(table, grid, centre[:, :12] + torch.tensor([1.0, 0.0, 0.0]), spacing)[0]
    assert torch.allclose(between, (table[:12] + table[12:]) / 2, atol=1e-5)
    with pytest.raises(UnseenError, match="each axis"):
        look_up(table, grid, centre[..., 1:], spacing[1:])


def test_a_table_of_video_is_resized_in_space_and_time():
    table = torch.randn(24, 7)
    wide = resample(table, (2, 3, 4), (2, 6, 5))
    for slot, part in enumerate(wide.split(30)):
        assert torch.allclose(part, resample(table[12 * slot : 12 * slot + 12], (3, 4), (6, 5)), atol=1e-6)
    long = resample(table, (2, 3, 4), (4, 3, 4))
    assert torch.allclose(long[12:24], 0.75 * table[:12] + 0.25 * table[12:], atol=1e-6)


@pytest.mark.parametrize("positions", [Sequence1D, Learned])
def test_grids_that_are_none_are_refused(positions):
    for grid in ((3,), (0, 2), (1, 2, 3, 4)):
        with pytest.raises(UnseenError, match="grid is"):
            positions(grid=grid)
    with pytest.raises(UnseenError, match="learned table"):
        SelfAttention(positions=Learned(grid=(2, 3)))


def test_what_the_coordinates_leave_over_is_zero():
    assert sincos(torch.rand(3, 2), (1.0, 1.0), 10).shape == (3, 10)
    assert not sincos(torch.rand(3, 2), (1.0, 1.0), 10)[:, 8:].any()


def test_pixels_and_spacing_are_patch_indices():
    centre = torch.tensor([[8.0, 40.0]])  # row 0, column 2 of patches of 16 x 16
    assert torch.allclose(sincos(centre, (16.0, 16.0), 8)[0], sincos_grid((2, 3), 8)[2], atol=1e-6)


def test_a_learned_table_is_exact_at_its_own_cells():
    table, spacing = torch.randn(15, 7), (4.0, 6.0)
    y, x = torch.meshgrid(torch.arange(3) + 0.5, torch.arange(5) + 0.5, indexing="ij")
    centre = torch.stack([y.flatten() * 4, x.flatten() * 6], dim=-1)
    assert torch.allclose(look_up(table, (3, 5), centre[None], spacing)[0], table, atol=1e-5)


def test_a_learned_table_between_cells_is_its_resized_self():
    table = torch.randn(15, 7)
    y, x = torch.meshgrid((torch.arange(6) + 0.5) / 2, (torch.arange(10) + 0.5) / 2, indexing="ij")
    centre = torch.stack([y.flatten(), x.flatten()], dim=-1)
    assert torch.allclose(
        look_up(table, (3, 5), centre[None], (1.0, 1.0))[0], resample(table, (3, 5), (6, 10)), atol=1e-5
    )


def test_resampling_takes_explicit_grids():
    table = torch.arange(12.0)[:, None]
    wide = resample(table, (2, 6), (2, 3))
    expected = F.interpolate(table.view(1, 1, 2, 6), size=(2, 3), mode="bicubic", align_corners=False)
    assert torch.equal(wide, expected.view(6, 1))
    assert resample(table, (2, 6), (2, 6)) is table


def test_missing_coordinates_are_named():
    with pytest.raises(UnseenError, match="centre"):
        centre_of(None)
