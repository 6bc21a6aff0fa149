"""The encoder in the hands of a user: raw pixels in, features out; nothing is masked and nothing is random."""

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.codec import from_json, to_json
from unseen.contract import Clip, MaskedModel, Output, Shapes, Unit
from unseen.data.source import View, WithFile
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.models.in_place import ForeignEncoder
from unseen.models.layouts import read_state
from unseen.units.normalise import Normalise, apply

FORMAT, VERSION = "unseen-encoder", 2
ROWS = 64  # so many are read at once where samples take several


class Features(NamedTuple):
    """What an encoder or a floor gives."""

    pooled: Float[Tensor, "B D"]  # the mean over units that exist, in all rows of a sample
    units: Float[Tensor, "B N D"]  # of its first row
    grid: tuple[int, ...] | None  # rows, columns of the units (for a user's backbone: of its feature map)


class FrozenEncoder(nn.Module):
    """A copy of an encoder with all that it needs to read raw content: view, normalisation, cut.

    Any image that the patch divides may come, square or not: its positions are scaled so that it spans the nominal
    frame of the view. With `layers`, the features of those blocks side by side.
    """

    def __init__(
        self,
        encoder: nn.Module,
        unit: Unit,
        normalise: Normalise | None,
        view: View,
        layers: tuple[int, ...] | None = None,
    ):
        super().__init__()
        if layers is not None and isinstance(encoder, ForeignEncoder):
            raise UnseenError("layers of a user's backbone", "only the package's ViT gives single layers")
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.unit, self.normalise, self.view, self.layers = unit, normalise, view, layers
        self.eval()

    @torch.no_grad()
    def forward(self, raw: Any) -> Features:
        """Features of what the view takes: images [B, C, H, W] as they were decoded, say."""
        device = next((parameter.device for parameter in self.encoder.parameters()), torch.device("cpu"))
        return self.read(moved(self.view.present(raw), device))

    def read(self, clip: Clip) -> Features:
        """Features of a clip that is not normalised yet; gradients pass where the encoder wants them."""
        if "part_of" in clip:
            return self._read_parts(clip)
        clip = apply(self.normalise, clip)
        if isinstance(self.encoder, ForeignEncoder):
            features = self.encoder(clip["image"])
            units, grid = features.flatten(2).transpose(1, 2), tuple(features.shape[2:])
            return Features(units.mean(dim=1), units, grid)
        values, places = self.unit.cut(clip)
        # an exported encoder reads whole images, and the tracer knows no values
        live = None if torch.compiler.is_exporting() or bool(places.valid.all()) else places.valid
        tokens = self.encoder(values, places.centre, live, self.layers)
        tokens = torch.cat(tokens, dim=-1) if isinstance(tokens, list) else tokens
        units = tokens[:, tokens.shape[1] - values.shape[1] :]
        return Features(mean_of(units, live), units, places.grid)

    def _read_parts(self, clip: Clip) -> Features:
        """Of samples that take several rows, each of which counts by its units that exist."""
        part_of = clip["part_of"]
        begins = part_of.diff(prepend=part_of[:1] - 1) > 0
        pooled: list[Tensor] = []
        units: list[Tensor] = []
        counts: list[Tensor] = []
        for start in range(0, len(part_of), ROWS):
            here = slice(start, start + ROWS)
            part = Clip(**{name: value[here] for name, value in clip.items() if name != "part_of"})  # type: ignore
            features = self.read(part)
            counts.append(self.unit.cut(apply(self.normalise, part))[1].valid.sum(dim=1))
            pooled.append(features.pooled)
            units.append(features.units[begins[here]])
        count = torch.cat(counts)[:, None]
        rows = torch.cat(pooled) * count
        total = rows.new_zeros(int(begins.sum()), rows.shape[1]).index_add(0, part_of, rows)
        return Features(
            total / count.new_zeros(len(total), 1).index_add(0, part_of, count), torch.cat(units), features.grid
        )

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode, also when a model around it trains."""
        return super().train(False)


def save_encoder(
    folder: Path,
    model: MaskedModel,
    unit: Unit,
    normalise: Normalise | None,
    view: View,
    *,
    lineage: dict[str, Any] | None = None,
) -> None:
    """Write encoder.safetensors (timm names) and encoder.json, each under a temporary name first."""
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained: Any = model
    encoder = getattr(trained.spec, "encoder", None)
    shapes: Shapes = trained.shapes
    card = {
        "format": FORMAT,
        "version": VERSION,
        "encoder": to_json(encoder or trained.spec.backbone),
        "backbone": encoder is None,
        "unit": to_json(unit),
        "normalise": to_json(normalise),
        "shapes": {"unit": shapes.unit, "spacing": shapes.spacing, "grid": shapes.grid},
        "view": to_json(view),
        "pixel_order": "a unit holds (row, column, channel); patch_embed.proj.weight holds (channel, row, column)",
        "lineage": lineage or {},
    }
    state = {name: value.detach().cpu().contiguous() for name, value in trained.encoder.state_dict().items()}
    weights = save(state, metadata={"format": FORMAT})
    write_whole(folder / "encoder.safetensors", weights)
    write_whole(folder / "encoder.json", json.dumps(card | {"digest": digest_of(weights)}, indent=1))


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
    encoder = ForeignEncoder(spec, shapes) if card["backbone"] else spec.build(shapes)
    _load_exactly(encoder, state, path)
    unit, normalise = from_json(card["unit"], trust=trust), from_json(card["normalise"], trust=trust)
    view = from_json(card["view"], trust=trust)
    view = view.found(Path(path)) if isinstance(view, WithFile) else view
    return FrozenEncoder(encoder, unit, normalise, view, layers)


def read_encoder(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The two files of an encoder, unbuilt; the weights are held against the digest that encoder.json tells.

    UnseenError where one is missing, damaged or of another version.
    """
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
    found = digest_of((folder / "encoder.safetensors").read_bytes())
    if found != card.get("digest", found):
        raise UnseenError(
            f"{folder}/encoder.safetensors is damaged, or of another encoder",
            f"its digest is {found}, encoder.json tells {card['digest']}",
            "copy both files again from where they were made",
        )
    return card | {"digest": found}, read_state(folder / "encoder.safetensors")


def digest_of(content: bytes) -> str:
    """blake2b-128, by which a file of weights is known again."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def shapes_of(card: dict[str, Any]) -> Shapes:
    """The shapes that an encoder.json tells, without outputs."""
    told = card["shapes"]
    grid = None if told["grid"] is None else tuple(told["grid"])
    outputs: dict[str, Output] = {}
    return Shapes(tuple(told["unit"]), tuple(told["spacing"]), grid, outputs)


def moved(clip: Clip, device: torch.device) -> Clip:
    """The clip with its content where the encoder is."""
    if torch.compiler.is_exporting():
        return clip
    return Clip(**{name: value.to(device) if isinstance(value, Tensor) else value for name, value in clip.items()})  # type: ignore


def mean_of(units: Float[Tensor, "B N D"], live: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B D"]:
    """The mean over units that exist."""
    if live is None:
        return units.mean(dim=1)
    return (units * live[..., None]).sum(dim=1) / live.sum(dim=1, keepdim=True).clamp(min=1)


def _load_exactly(module: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise UnseenError(f"the weights in {path} do not fit", f"missing {missing}, unexpected {unexpected}")
