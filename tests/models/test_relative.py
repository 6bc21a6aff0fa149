"""Relative-position bias: against its definition, entry by entry, and resized."""

import pytest
import torch

from unseen.errors import UnseenError
from unseen.models import Relative, ViT
from unseen.models.attention import kernel
from unseen.models.relative import extent, resample_relative

from .conftest import GRID, Batch, close, randomise, shapes, tiny

WINDOW, HEADS, SPACING = (3, 5), 2, (4.0, 6.0)


def bias_of(shared=True, class_token=True, window=WINDOW):
    spec = Relative(grid=window, shared=shared)
    return randomise(spec.build(4, HEADS, SPACING, class_token))


def centres(window=WINDOW):
    y, x = torch.meshgrid(torch.arange(window[0]) + 0.5, torch.arange(window[1]) + 0.5, indexing="ij")
    return torch.stack([y.flatten() * SPACING[0], x.flatten() * SPACING[1]], dim=-1)[None]


def by_definition(table, window, class_token):
    """BEiT's index, one pair after the other: [heads, N (+ 1), N (+ 1)]."""
    rows, columns = window
    place = [(y, x) for y in range(rows) for x in range(columns)]
    size = len(place) + class_token
    out = torch.empty(table.shape[1], size, size)
    for q in range(size):
        for k in range(size):
            if class_token and (q == 0 or k == 0):
                entry = len(table) - (1 if q == k else 3 if q == 0 else 2)
            else:
                (yq, xq), (yk, xk) = place[q - class_token], place[k - class_token]
                entry = (yq - yk + rows - 1) * (2 * columns - 1) + xq - xk + columns - 1
            out[:, q, k] = table[entry]
    return out


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_every_pair_has_the_bias_of_its_displacement(shared, class_token):
    bias = bias_of(shared, class_token)
    assert bias.table.shape == (1 if shared else 4, 5 * 9 + 3 * class_token, HEADS)
    for read, table in zip(bias(centres()), bias.table, strict=True):
        assert close(read[0], by_definition(table, WINDOW, class_token))


def test_a_part_of_the_units_anywhere_has_the_same_bias():
    bias = bias_of()
    chosen = torch.tensor([7, 2, 11])
    with_class = torch.tensor([0, 8, 3, 12])
    whole = bias(centres())[0][0]
    part = bias(centres()[:, chosen] + 100.25)[0][0]
    assert close(part, whole[:, with_class][:, :, with_class], atol=1e-4)


def test_resizing_keeps_what_has_no_displacement():
    table = bias_of().table.detach()
    new = resample_relative(table, WINDOW, (6, 4))
    assert new.shape == (1, 11 * 7 + 3, HEADS)
    assert torch.equal(new[:, -3:], table[:, -3:])
    assert close(new[:, 77 // 2], table[:, 45 // 2])
    assert resample_relative(table, WINDOW, WINDOW) is table


def test_resizing_does_not_exchange_rows_and_columns():
    rows, columns = extent(WINDOW)
    slope = torch.arange(rows).float()[:, None].expand(rows, columns)  # changes from row to row only
    table = torch.cat([slope.reshape(1, -1, 1), torch.zeros(1, 3, 1)], dim=1)
    new = resample_relative(table, WINDOW, (5, 2))[0, :-3, 0].view(9, 3)
    assert (new[:, 0] == new[:, 2]).all()
    assert (new[1:, 0] > new[:-1, 0]).all()


def test_it_starts_at_nothing_and_layer_scale_where_it_is_told():
    encoder = tiny(relative=Relative(grid=GRID), layer_scale=0.25).build(shapes())
    assert not encoder.relative.table.any()
    assert (encoder.blocks[0].ls1.gamma == 0.25).all() and (encoder.blocks[1].ls2.gamma == 0.25).all()


def test_the_plain_and_the_fused_kernel_agree_and_padding_is_not_read():
    batch = Batch()
    encoder = randomise(tiny(positions=None, relative=Relative(grid=GRID)).build(shapes()))
    live = torch.ones(batch.values.shape[:2], dtype=torch.bool)
    live[:, -2:] = False
    inputs = batch.values, batch.metadata["centre"], live
    with kernel("plain"):
        plain = encoder(*inputs)
    with kernel("fused"):
        fused = encoder(*inputs)
    alone = encoder(batch.values[:, :-2], batch.metadata["centre"][:, :-2])
    assert close(plain[:, :-2], fused[:, :-2], atol=1e-4)
    assert close(alone, fused[:, :-2], atol=1e-4)


@pytest.mark.parametrize("wrong", [{"relative": Relative(grid=(2, 3))}, {"layer_scale": 0.0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UnseenError):
        ViT(width=8, depth=1, heads=2, **wrong).build(shapes()._replace(spacing=(1.0, 1.0, 1.0)))
