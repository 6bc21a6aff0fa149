"""The two kernels compute the same, padding is never read, and the choice follows what was measured."""

import pytest
import torch

from unseen.models import attention
from unseen.models.attention import attend, choose_kernel, kernel


def tensors(dtype=torch.float32, keys=7):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 5, 4), (2, 3, keys, 4), (2, 3, keys, 4))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("live", [None, torch.arange(7) < torch.tensor([[4], [7]])])
def test_kernels_agree(live):
    with kernel("plain"):
        plain = attend(*tensors(), live)
    with kernel("fused"):
        fused = attend(*tensors(), live)
    assert torch.allclose(plain, fused, atol=1e-6)


@pytest.mark.parametrize("keys", [7, attention.VECTOR])
def test_half_precision_stays_close(keys):
    with kernel("plain"):
        half, single = attend(*tensors(torch.bfloat16, keys)), attend(*tensors(keys=keys))
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), single, atol=0.03)


@pytest.mark.parametrize("name", ["plain", "fused"])
def test_padding_is_never_read(name):
    query, key, value = tensors()
    live = torch.arange(7) < torch.tensor([[4], [6]])
    with kernel(name):
        before = attend(query, key, value, live)
        key[0, :, 4:], value[0, :, 4:] = 1e4, -1e4
        assert torch.equal(attend(query, key, value, live), before)
        alone = attend(query[:1], key[:1, :, :4], value[:1, :, :4])
    assert torch.allclose(before[:1], alone, atol=1e-6)


def test_the_choice_on_a_cpu(monkeypatch):
    half, single = tensors(torch.bfloat16), tensors()
    assert choose_kernel(*half[:2]) == "plain"
    assert choose_kernel(*single[:2]) == "fused"
    monkeypatch.setattr(attention, "PLAIN_LIMIT_BYTES", 2 * 3 * 5 * 7 * 2)
    assert choose_kernel(*half[:2]) == "plain"
    monkeypatch.setattr(attention, "PLAIN_LIMIT_BYTES", 2 * 3 * 5 * 7 * 2 - 1)
    assert choose_kernel(*half[:2]) == "fused"


def test_the_override_ends_with_its_block():
    half = tensors(torch.bfloat16)
    with kernel("fused"):
        assert choose_kernel(*half[:2]) == "fused"
        with kernel("plain"):
            assert choose_kernel(*half[:2]) == "plain"
        assert choose_kernel(*half[:2]) == "fused"
    assert choose_kernel(*half[:2]) == "plain"
