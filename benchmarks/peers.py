"""The peers of the training-step benchmark. transformers is a test dependency; the official code comes by path."""

import importlib
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.sizes import Size


class _PatchEmbed(nn.Module):
    """Stands in for the class of that name that the official code imports from timm, which needs torchvision."""

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int):
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.num_patches = (img_size // patch_size) ** 2
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x):
        rows, length, width = x.shape
        qkv = self.qkv(x).reshape(rows, length, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attention = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(rows, length, width))


class _Block(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio, qkv_bias=True, qk_scale=None, norm_layer=nn.LayerNorm):
        super().__init__()
        self.norm1, self.attn, self.norm2 = norm_layer(dim), _Attention(dim, num_heads), norm_layer(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def official(checkout: Path, size: Size) -> nn.Module:
    """facebookresearch/mae's own model and loss from a checkout, on plain attention."""
    if "models_mae" not in sys.modules:
        timm = types.ModuleType("timm.models.vision_transformer")
        timm.PatchEmbed, timm.Block = _PatchEmbed, _Block
        for name in ("timm", "timm.models"):
            sys.modules.setdefault(name, types.ModuleType(name))
        sys.modules["timm.models.vision_transformer"] = timm
        setattr(np, "float", float)  # noqa: B010 - the official position tables use the name that numpy dropped
        sys.path.insert(0, str(checkout))
    module = importlib.import_module("models_mae")
    return module.MaskedAutoencoderViT(
        img_size=size.image,
        patch_size=size.patch,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        decoder_embed_dim=size.decoder[0],
        decoder_depth=size.decoder[1],
        decoder_num_heads=size.decoder[2],
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )


def transformers_mae(size: Size, attention: str) -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        image_size=size.image,
        patch_size=size.patch,
        decoder_hidden_size=size.decoder[0],
        decoder_num_hidden_layers=size.decoder[1],
        decoder_num_attention_heads=size.decoder[2],
        decoder_intermediate_size=4 * size.decoder[0],
        norm_pix_loss=True,
        attn_implementation=attention,
    )
    torch.set_grad_enabled(True)
    return ViTMAEForPreTraining(config).train()
