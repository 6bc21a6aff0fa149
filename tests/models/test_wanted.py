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
def test_wanted_tokens_are_those_of_all_in_every_layer(name, ragged):
    spec, data = ENCODERS[name]
    encoder, batch = randomise(spec.build(data)).eval(), Batch(ragged=ragged)
    n_units = batch.target.shape[1]
    centre = torch.arange(float(n_units))[None, :, None] if data is WORDS else batch.metadata["centre"]
    tokens = torch.randn(len(batch.target), n_units, 24, generator=torch.Generator().manual_seed(0))
    exists = batch.visible | batch.target if ragged else None
    wanted = packing(batch.target)
    for layers in ((-1,), (0,), (0, -1)):
        every = encoder.run(tokens, centre, exists, layers)
        some = encoder.run(tokens, centre, exists, layers, wanted)
        for layer, own in zip(every, some, strict=True):
            expected = gather(layer[:, layer.shape[1] - n_units :], wanted)
            assert own.shape == expected.shape
            here = slice(None) if wanted.live is None else wanted.live
            assert close(own[here], expected[here])


def test_blocks_above_the_highest_layer_are_not_run():
    encoder = randomise(tiny().build(shapes())).eval()
    encoder.blocks[1].register_forward_hook(lambda *_: pytest.fail("block 1 was run"))
    batch = Batch()
    encoder.run(torch.randn(len(batch.target), batch.target.shape[1], 24), batch.metadata["centre"], layers=(0,))
