"""Token ids: the loss is torch's cross-entropy, in parts, and what has no id is refused."""

import pytest
import torch
import torch.nn.functional as F

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.targets import TokenIds, tokens
from unseen.units import Tokens


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_also_in_parts(smoothing, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits, ids = 3 * torch.randn(4, 9, 50, generator=generator), torch.randint(0, 50, (4, 9), generator=generator)
    target = TokenIds(vocabulary=50, smoothing=smoothing)
    expected = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(target.loss(logits, ids).flatten(), expected)
    monkeypatch.setattr(tokens, "CHUNK", 350)
    torch.testing.assert_close(target.loss(logits, ids).flatten(), expected)
    assert target.loss(logits[:, :0], ids[:, :0]).shape == (4, 0)


def test_ids_beyond_the_vocabulary_and_pixels_are_refused():
    values, units = Tokens().cut(Clip(token=torch.tensor([[3, 60, -1]])))
    assert TokenIds(vocabulary=61).make(values, units, Clip()).tolist() == [[3, 60, 0]]
    assert TokenIds(vocabulary=61).weight(values, units, Clip()).tolist() == [[1, 1, 0]]
    with pytest.raises(UnseenError, match="token 60"):
        TokenIds(vocabulary=60).make(values, units, Clip())
    with pytest.raises(UnseenError, match="token ids"):
        TokenIds(vocabulary=60).make(torch.zeros(2, 3, 4), units, Clip())
    with pytest.raises(UnseenError, match="logits"):
        TokenIds(vocabulary=60).loss(torch.zeros(2, 3, 59), torch.zeros(2, 3, dtype=torch.long))
