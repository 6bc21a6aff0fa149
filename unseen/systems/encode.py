"""The encoder in the hands of a user: raw pixels in, features out; nothing is masked and nothing is random."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from unseen.codec import from_json, to_json
from unseen.contract import Clip, MaskedModel, Output, Shapes, Unit
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.models.in_place import ForeignEncoder
from unseen.models.layouts import read_state
from unseen.models.vit import VisionTransformer
from unseen.units.normalise import Normalise, apply

FORMAT, VERSION = "unseen-encoder", 1


class Features(NamedTuple):
    pooled: Float[Tensor, "B D"]  # the mean over units
    units: Float[Tensor, "B N D"]
    grid: tuple[int, int]  # rows, columns of the units (for a user's backbone: of its feature map)


class FrozenEncoder(nn.Module):
    """A copy of an encoder with all that it needs to read raw images: cut, normalisation, and the frame it was taught.

    Any image that the patch divides may come, square or not: its positions are scaled so that it spans the nominal
    frame, `frame_px` (H, W). With `layers`, the features of those blocks side by side.
    """

    def __init__(
        self,
        encoder: VisionTransformer | ForeignEncoder,
        unit: Unit,
        normalise: Normalise,
        frame_px: tuple[int, int],
        layers: tuple[int, ...] | None = None,
    ):
        super().__init__()
        if layers is not None and isinstance(encoder, ForeignEncoder):
            raise UnseenError("layers of a user's backbone", "only the package's ViT gives single layers")
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.unit, self.normalise, self.layers = unit, normalise, layers
        self.frame_px = (int(frame_px[0]), int(frame_px[1]))
        self.eval()

    @torch.no_grad()
    def forward(self, image: Shaped[Tensor, "B C H W"]) -> Features:
        """Features of uint8 or uint16 images."""
        self._check(image)
        frame = torch.tensor([[0.0, 0.0, *self.frame_px]], device=image.device)
        clip = apply(self.normalise, Clip(image=image, region_px=frame))
        if isinstance(self.encoder, ForeignEncoder):
            features = self.encoder(clip["image"])
            units, grid = features.flatten(2).transpose(1, 2), features.shape[2:]
        else:
            values, places = self.unit.cut(clip)
            centre = places.centre.expand(image.shape[0], -1, -1)
            tokens = self.encoder(values, centre, None, self.layers)
            tokens = torch.cat(tokens, dim=-1) if isinstance(tokens, list) else tokens
            units, grid = tokens[:, tokens.shape[1] - values.shape[1] :], places.grid
        return Features(units.mean(dim=1), units, (int(grid[0]), int(grid[1])))

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode, also when a model around it trains."""
        return super().train(False)

    def _check(self, image: Any) -> None:
        if not isinstance(image, Tensor):
            raise UnseenError(
                f"the image is a {type(image).__module__}.{type(image).__qualname__}",
                "a torch.Tensor [B, C, H, W] is expected",
                "for a numpy array [H, W, C]: torch.from_numpy(image).permute(2, 0, 1)[None]",
            )
        if image.ndim != 4:
            raise UnseenError(
                f"the image has shape {tuple(image.shape)}",
                "a batch [B, C, H, W] is expected",
                "a single image [C, H, W] becomes one by image[None]" if image.ndim == 3 else "",
            )
        if min(image.shape[2:]) < 1:
            raise UnseenError(
                f"the image has shape {tuple(image.shape)}: no pixel at all",
                "features are made of at least one patch",
                "leave empty images out",
            )
        if image.dtype not in (torch.uint8, torch.uint16):
            raise UnseenError(
                f"the image is {image.dtype}",
                "raw uint8 or uint16 is expected: the encoder brings its own normalisation",
                "pass the image as it was decoded",
            )
        expected, got = self.encoder.unit[-1], image.shape[1]
        if got != expected:
            remedy = {(1, 3): "repeat it: image.expand(-1, 3, -1, -1)", (3, 1): "convert it to grey first"}
            raise UnseenError(
                f"the image has {got} channels",
                f"the encoder was trained on {expected}",
                remedy.get((got, expected), "choose the channels it was trained on"),
            )


def save_encoder(
    folder: Path,
    model: MaskedModel,
    unit: Unit,
    normalise: Normalise,
    frame_px: tuple[int, int],
    *,
    lineage: dict[str, Any] | None = None,
) -> None:
    """Write encoder.safetensors (timm names) and encoder.json, each under a temporary name first."""
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained: Any = model
    spec = getattr(trained.spec, "encoder", None) or trained.spec.backbone
    shapes: Shapes = trained.shapes
    card = {
        "format": FORMAT,
        "version": VERSION,
        "encoder": to_json(spec),
        "unit": to_json(unit),
        "normalise": to_json(normalise),
        "shapes": {"unit": shapes.unit, "spacing": shapes.spacing, "grid": shapes.grid},
        "frame_px": list(frame_px),
        "pixel_order": "a unit holds (row, column, channel); patch_embed.proj.weight holds (channel, row, column)",
        "lineage": lineage or {},
    }
    state = {name: value.detach().cpu().contiguous() for name, value in trained.encoder.state_dict().items()}
    write_whole(folder / "encoder.safetensors", save(state, metadata={"format": FORMAT}))
    write_whole(folder / "encoder.json", json.dumps(card, indent=1))


def load_encoder(
    path: Path | str, *, layers: tuple[int, ...] | None = None, trust: Sequence[str] = ()
) -> FrozenEncoder:
    """The encoder of a run folder, or of any folder that holds encoder.json.

    `trust` names modules outside the package whose classes the file may name (a user's backbone); nothing else is
    imported. Raises UnseenError for a folder without an encoder, an unknown format, or weights that do not fit.
    """
    card, state = read_encoder(path)
    shapes = shapes_of(card)
    spec = from_json(card["encoder"], trust=trust)
    encoder = spec.build(shapes) if hasattr(spec, "stem") else ForeignEncoder(spec, shapes)
    _load_exactly(encoder, state, path)
    unit, normalise = from_json(card["unit"], trust=trust), from_json(card["normalise"], trust=trust)
    return FrozenEncoder(encoder, unit, normalise, tuple(card["frame_px"]), layers)


def read_encoder(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The two files of an encoder, unbuilt."""
    folder = Path(path)
    if not (folder / "encoder.json").is_file() or not (folder / "encoder.safetensors").is_file():
        raise UnseenError(
            f"{folder} holds no encoder",
            "encoder.json and encoder.safetensors are needed",
            "give a finished run folder",
        )
    try:
        card = json.loads((folder / "encoder.json").read_text())
    except ValueError as error:
        raise UnseenError(f"{folder}/encoder.json is damaged: {error}", "it is JSON in UTF-8") from error
    if card.get("format") != FORMAT or card.get("version") != VERSION:
        raise UnseenError(f"{folder}/encoder.json is not {FORMAT} version {VERSION}", "other versions are not read")
    return card, read_state(folder / "encoder.safetensors")


def shapes_of(card: dict[str, Any]) -> Shapes:
    """The shapes that an encoder.json tells, without outputs."""
    told = card["shapes"]
    grid = None if told["grid"] is None else tuple(told["grid"])
    outputs: dict[str, Output] = {}
    return Shapes(tuple(told["unit"]), tuple(told["spacing"]), grid, outputs)


def _load_exactly(module: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise UnseenError(f"the weights in {path} do not fit", f"missing {missing}, unexpected {unexpected}")
