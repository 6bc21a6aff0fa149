"""Encoder and predictor compile without a break in the graph. Run by test_compile.py, without shape checks."""

import torch

from unseen.contract import Output, Shapes
from unseen.models import CrossAttention, MaskedAutoencoder, Relative, SelfAttention, Sequence1D, ViT
from unseen.packing import pack

UNIT, N = (4, 6, 3), 12


def main() -> None:
    values, rank = torch.randn(3, N, *UNIT), torch.rand(3, N).argsort(dim=1).argsort(dim=1)
    visible, target = rank < 3, rank >= 7
    metadata = {"centre": torch.rand(1, N, 2) * 20}
    shapes = Shapes(UNIT, (4.0, 6.0), (2, 6), {"pixels": Output(UNIT)})
    plain, beit = ({}, {"positions": None, "relative": Relative(grid=(2, 6)), "layer_scale": 0.1})
    for predictor, changes in (
        (SelfAttention(width=16, depth=1, heads=2), plain),
        (CrossAttention(width=16, depth=1, heads=2), plain),
        (SelfAttention(width=16, depth=1, heads=2, positions=Sequence1D(grid=(2, 6))), beit),
    ):
        encoder = ViT(width=24, depth=2, heads=3, **changes)
        model = MaskedAutoencoder(encoder=encoder, predictor=predictor).build(shapes)
        inputs = pack(values, visible), visible, target, metadata
        before = model(*inputs)
        for part in (model.encoder, model.predictor):
            part.forward = torch.compile(part.forward, fullgraph=True, backend="eager")
        assert torch.allclose(model(*inputs), before, atol=1e-6)


if __name__ == "__main__":
    main()
