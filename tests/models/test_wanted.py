"""The last block may leave out tokens that nothing reads: the others come out as if it had not."""

import pytest
import torch

from unseen.contract import Output, Shapes
from unseen.models import Bert, ModernBert, Quantiser, Relative, RotaryViT
from unseen.packing import gather, packing

from .conftest import GRID, Batch, close, randomise, shapes, tiny

WORDS = Shapes((), (1.0,), None, {"token": Output((17,))})
ENCODERS = {
    "vit": (tiny(relative=Relative(grid=GRID), layer_scale=0.125), shapes()),
    "vit without class token": (tiny(class_token=False), shapes()),
    "quantiser": (Quantiser(vit=tiny(), codes=13, code_width=5), shapes()),
    "rotary": (RotaryViT(width=24, depth=2, heads=3), shapes()),
    "bert": (Bert(width=24, depth=2, heads=3, vocabulary=17, mask_id=1), WORDS),
    "modernbert": (ModernBert(width=24, depth=2, heads=3, vocabulary=17, mask_id=1), WORDS),
}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_wanted_tokens_are_those_of_all(name, ragged):
    spec, data = ENCODERS[name]
    encoder, batch = randomise(spec.build(data)).eval(), Batch(ragged=ragged)
    n_units = batch.target.shape[1]
    centre = torch.arange(float(n_units))[None, :, None] if data is WORDS else batch.metadata["centre"]
    tokens = torch.randn(len(batch.target), n_units, 24, generator=torch.Generator().manual_seed(0))
    wanted = packing(batch.target)
    [every], [some] = encoder.run(tokens, centre), encoder.run(tokens, centre, wanted=wanted)
    expected, live = gather(every[:, every.shape[1] - n_units :], wanted), wanted.live
    assert (some.shape == expected.shape and live is None) or ragged
    here = slice(None) if live is None else live
    assert close(some[here], expected[here])
