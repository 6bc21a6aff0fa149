"""I-JEPA (Assran et al., CVPR 2023): encoders of the official files and of transformers <-> the hub's names.

An official file holds `encoder`, its exponential average `target_encoder`, and a predictor; the names of an encoder are
timm's, without a class token. The paper evaluates the average, timm and transformers read `encoder`, as is done here
unless told. The predictor is of another design than those here and is left out by name.
"""

from typing import Any

from torch import Tensor

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.layouts.names import Names, strip
from unseen.models.layouts.official import to_hub
from unseen.models.layouts.transformers import (
    VIT_BLOCK,
    VIT_BLOCKS,
    VIT_ENDS,
    VIT_POSITIONS,
    describe_vit,
    grid_of,
    is_transformers,
    prefixed,
    vit_config,
)
from unseen.models.positions import Learned
from unseen.models.vit import VisionTransformer, ViT

BRANCHES = ("encoder", "target_encoder")
_OUTER = (*VIT_POSITIONS, *VIT_ENDS)

PEER = Names(
    what="transformers' I-JEPA",
    outer=_OUTER,
    blocks=VIT_BLOCKS,
    inner=VIT_BLOCK,
    ignored=r"pooler\.dense\.(weight|bias)|embeddings\.mask_token",
)
PEER_WHOLE = Names(
    what="transformers' I-JEPA",
    outer=prefixed(_OUTER, "ijepa."),
    blocks=prefixed(VIT_BLOCKS, "ijepa."),
    inner=VIT_BLOCK,
    ignored=r"(ijepa\.pooler\.dense|classifier)\.(weight|bias)|ijepa\.embeddings\.mask_token",
)


def is_official(state: dict[str, Tensor]) -> bool:
    weight = state.get("encoder.patch_embed.proj.weight", state.get("target_encoder.patch_embed.proj.weight"))
    average = any(name.startswith(("target_encoder.", "predictor.predictor_embed.")) for name in state)
    return average and weight is not None and weight.ndim == 4


def is_peer(state: dict[str, Tensor]) -> bool:
    return is_transformers(state) and not any(name.endswith("embeddings.cls_token") for name in state)


def read(state: dict[str, Tensor], branch: str = "encoder") -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Either layout under the hub's names, and what is left out; `branch`: the network of an official file to take."""
    if is_transformers(state):
        return (PEER_WHOLE if any(name.startswith("ijepa.") for name in state) else PEER).read(state)
    chosen = {name: value for name, value in state.items() if name.startswith(f"{branch}.")}
    if branch not in BRANCHES or not chosen:
        found = sorted({name.partition(".")[0] for name in state})
        raise UnseenError(f"no branch {branch!r}, the file has {found}", f"a branch is one of {BRANCHES}")
    return strip(chosen, f"{branch}."), tuple(name for name in state if name not in chosen)


def to_peer(encoder: VisionTransformer, grid: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and config.json for `IJepaModel`, computed positions as the table of this grid."""
    spec = encoder.spec
    if spec.class_token or spec.relative is not None or spec.layer_scale is not None or spec.positions is None:
        raise UnseenError(
            "this encoder is no I-JEPA", "it has positions that are added, no class token and no LayerScale"
        )
    config = vit_config(spec, encoder.unit, grid) | {"architectures": ["IJepaModel"], "model_type": "ijepa"}
    return PEER.write(to_hub(encoder, grid)), config


def describe(config: dict[str, Any], head: str = "pixels") -> tuple[ViT, Shapes]:
    """From an I-JEPA config.json: the encoder and its shapes, positions as the learned table that transformers has."""
    return describe_vit(config, head, class_token=False, positions=Learned(grid=grid_of(config)))
