"""Masked autoencoder: the encoder reads visible units only, a predictor fills in the hidden ones (He et al., 2022)."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unseen.contract import MaskedModel, Metadata, Shapes, Tree
from unseen.models.encoder import EncoderSpec
from unseen.models.heads import Heads, named_masks, union_of, within
from unseen.models.initialise import construct
from unseen.models.positions import centre_of
from unseen.models.predictors import Predictor, SelfAttention
from unseen.models.vit import ViT
from unseen.packing import Packing, gather, packing


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedAutoencoder:
    """Encoder and predictor; which hidden units are predicted (all, or a sample) is the objective's `decode`."""

    encoder: EncoderSpec = field(default_factory=ViT)
    predictor: Predictor = field(default_factory=SelfAttention)

    def build(self, shapes: Shapes) -> "MaskedAutoencoderModel":
        """The model for data of these shapes, with the weights of seed 0."""
        return construct(lambda: MaskedAutoencoderModel(self, shapes))


class MaskedAutoencoderModel(MaskedModel):
    """Outputs on hidden units come from the predictor, outputs on visible units from the encoder's own tokens."""

    predictor: Any  # None when nothing is predicted on hidden units

    def __init__(self, spec: MaskedAutoencoder, shapes: Shapes):
        super().__init__()
        self.spec, self.shapes = spec, shapes
        self.encoder: Any = spec.encoder.module(shapes)
        hidden = {name: output for name, output in shapes.outputs.items() if output.on == "hidden"}
        visible = {name: output for name, output in shapes.outputs.items() if output.on == "visible"}
        predictor: Any = spec.predictor.build(spec.encoder, shapes.spacing) if hidden else None
        self.predictor = predictor
        self.heads = Heads(predictor.width if hidden else 0, hidden, spec.encoder.width)
        self.visible_heads = Heads(spec.encoder.width, visible, spec.encoder.width)

    def forward(self, x_visible: Tree, visible_mask: Tree, target_mask: Tree, metadata: Metadata | None = None) -> Tree:
        """Map [B, V, *P] to [B, T, *target], packed in unit order, by output name (a lone mask gives a lone Tensor)."""
        masks = named_masks(target_mask, self.shapes.outputs)
        centre, seen = centre_of(metadata), packing(visible_mask)
        centre_visible = gather(centre, seen)
        tokens, features = self._encode(x_visible, centre_visible, seen)
        prediction = self._predict_hidden(features, centre_visible, seen, centre, masks)
        for name, mask in masks.items():
            if name not in prediction:
                at_units = tokens[:, tokens.shape[1] - seen.index.shape[1] :]
                prediction[name] = self.visible_heads(name, *within(at_units, seen, visible_mask, mask))
        return next(iter(prediction.values())) if isinstance(target_mask, Tensor) else {n: prediction[n] for n in masks}

    def _encode(self, x_visible: Tensor, centre: Tensor, seen: Packing) -> tuple[Tensor, Tensor | list[Tensor]]:
        """The encoder's final tokens, and what the predictor reads."""
        layers = None if self.predictor is None else self.predictor.layers
        features = self.encoder(x_visible, centre, seen.live, layers)
        return (features if layers is None else features[-1]), features

    def _predict_hidden(
        self, features: Tensor | list[Tensor], centre_visible: Tensor, seen: Packing, centre: Tensor, masks: dict
    ) -> dict[str, Tensor]:
        """Decode the union of the hidden targets once, then hand each head its units."""
        wanted = {name: mask for name, mask in masks.items() if self.shapes.outputs[name].on == "hidden"}
        if not wanted:
            return {}
        union = union_of(list(wanted.values()))
        places = packing(union)
        tokens = self.predictor(features, centre_visible, seen.live, gather(centre, places), places.live)
        return {name: self.heads(name, *within(tokens, places, union, mask)) for name, mask in wanted.items()}
