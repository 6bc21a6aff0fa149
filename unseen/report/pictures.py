"""Pictures for the README, made by the code that they explain: real patches, real masks, a real run's predictions.

`python -m unseen.report.pictures OUT --run RUN` writes pipeline.svg, masks.svg and reconstruction.svg into OUT.
"""

import argparse
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from markupsafe import Markup
from torch import Tensor

from unseen import masks
from unseen.contract import Clip, MaskPolicy, Metadata, Units, promises
from unseen.errors import UnseenError
from unseen.packing import pack
from unseen.randomness import keys
from unseen.report.render import picture_uri, write_text
from unseen.report.run_folder import Pictures, RunFolder, read_pictures, read_run
from unseen.units import Patches

GREY = 127
STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b2330; }
.soft { fill: #5b6675; font-size: 12px; } .name { font-weight: 600; } .middle { text-anchor: middle; }
.box { fill: none; stroke: #5b6675; stroke-width: 1.5; } .arrow { stroke: #5b6675; stroke-width: 1.5; fill: none; }
.head { fill: #5b6675; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6eaf0; } .soft { fill: #9aa6b6; } .box, .arrow { stroke: #9aa6b6; } .head { fill: #9aa6b6; }
}
"""
Image = UInt8[np.ndarray, "H W 3"]


def make_pictures(out: Path, run: Path) -> list[Path]:
    """Write the README's pictures from the last samples of a run; returns the files."""
    folder = read_run(run)
    if not folder.pictures:
        raise UnseenError(f"{run} has no samples", "the pictures show a run's own predictions", "name another run")
    samples, unit = read_pictures(folder.pictures[-1]), patch_of(folder)
    image = samples.input[0]
    hidden = hidden_units(samples.input[0], samples.masked[0], unit)
    made = {
        "pipeline.svg": pipeline(image, samples.prediction[0], hidden, unit),
        "masks.svg": mask_gallery(image, policies(), unit),
        "reconstruction.svg": reconstruction(samples),
    }
    return [write_text(out / name, text) for name, text in made.items()]


def policies() -> dict[str, MaskPolicy]:
    """Every policy of `unseen.masks` that hides parts of an image, so that a new one appears here by itself."""
    members = [member for member in map(masks.__dict__.get, masks.__all__) if _is_policy(member)]
    policies = {member.__name__: member() for member in members}
    return {name: policy for name, policy in policies.items() if _for_images(policy)}


def _is_policy(member: Any) -> TypeGuard[type[MaskPolicy]]:
    """Told from a corruption by what it is called with: it never sees content."""
    return isinstance(member, type) and [*signature(member.__call__).parameters][1:] == ["units", "key", "metadata"]


def _for_images(policy: MaskPolicy) -> bool:
    try:
        draw_mask(np.zeros((64, 64, 3), np.uint8), policy, Patches(size=(16, 16)))
    except UnseenError:
        return False
    return promises(policy).hides


def pipeline(image: Image, prediction: Image, hidden: Bool[Tensor, "N"], unit: Patches) -> str:
    """log -> units -> mask -> visible -> encoder -> predictor -> loss, on one frame under the mask that it had."""
    values, units = _cut(image, unit)
    strip = pack(values, ~hidden[None])[0]  # [V, h, w, C] in unit order: exactly what the encoder reads
    error = _error(image, prediction, hidden, unit)
    share = f"{int(hidden.sum())} of {hidden.numel()} hidden"
    side, high = 168, round(168 * image.shape[0] / image.shape[1])
    encoder = _box("features", f"of {len(strip)} patches", side, high)
    predictor = _box("contents", f"for {int(hidden.sum())} places", side, high)
    panels = [
        ("1 frame of a log", f"{image.shape[1]} x {image.shape[0]} px", _picture(image, side, high)),
        ("2 units", f"patches of {unit.size[0]} x {unit.size[1]} px", _picture(_apart(values, units), side, high)),
        ("3 mask", share, _picture(masked_picture(image, hidden, unit), side, high)),
        ("4 visible units", f"{len(strip)} patches in unit order", _picture(_packed(strip), side, high)),
        ("5 encoder", "what is kept after pretraining", encoder),
        ("6 predictor", "thrown away", predictor),
        ("7 prediction", "of the hidden units", _picture(prediction, side, high)),
        ("8 error per hidden unit", "bright: pictures differ more", _picture(error, side, high)),
    ]
    return _row(panels, side, high, columns=4, arrows=True)


def mask_gallery(image: Image, policies: Mapping[str, MaskPolicy], unit: Patches, seed: int = 0) -> str:
    """Policies side by side on one frame, each drawing its mask as in training."""
    side, high = 200, round(200 * image.shape[0] / image.shape[1])
    panels = []
    for name, policy in policies.items():
        hidden = draw_mask(image, policy, unit, seed)
        share = f"{int(hidden.sum())} of {hidden.numel()} hidden"
        panels.append((name, share, _picture(masked_picture(image, hidden, unit), side, high)))
    return _row(panels, side, high, columns=4)


def reconstruction(samples: Pictures, most: int = 4) -> str:
    """Input, what was visible and the prediction of the first few samples, one column each."""
    side, high = 200, round(200 * samples.input.shape[1] / samples.input.shape[2])
    columns = min(most, len(samples.input))
    stacks = {
        "input": samples.input,
        "visible to the model": samples.masked,
        f"prediction, step {samples.step}": samples.prediction,
    }
    panels = [
        (name if k == 0 else "", "", _picture(stack[k], side, high))
        for name, stack in stacks.items()
        for k in range(columns)
    ]
    return _row(panels, side, high, columns=columns)


def draw_mask(image: Image, policy: MaskPolicy, unit: Patches, seed: int = 0) -> Bool[Tensor, "N"]:
    """Which units a policy hides for one frame."""
    _, units = _cut(image, unit)
    key = keys(seed, torch.zeros(1, dtype=torch.int64), 0, "mask")
    return policy(units, key, Metadata(centre=units.centre, valid=units.valid, grid=units.grid)).target[0]


def masked_picture(image: Image, hidden: Bool[Tensor, "N"], unit: Patches) -> Image:
    """The frame with hidden units in grey."""
    values, units = _cut(image, unit)
    return _join(torch.where(hidden[None, :, None, None, None], torch.full_like(values, GREY), values), units, unit)


def hidden_units(image: Image, masked: Image, unit: Patches) -> Bool[Tensor, "N"]:
    """The mask of a saved sample: the units whose content the masked picture does not show."""
    before, after = _cut(image, unit)[0], _cut(masked, unit)[0]
    hidden = (before != after).flatten(2).any(dim=2)[0]
    if hidden.all() or not hidden.any():
        raise UnseenError("the masked picture hides all or nothing", "a mask leaves some units", "give another sample")
    return hidden


def patch_of(run: RunFolder) -> Patches:
    """The unit of the run's recipe; UnseenError when it is not an image patch."""
    unit = ((run.recipe or {}).get("fields") or {}).get("unit") or {}
    size = (unit.get("fields") or {}).get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise UnseenError(
            f"{run.path / 'recipe.json'} has no image patch", "the pictures show patches", "name another run"
        )
    return Patches(size=(int(size[0]), int(size[1])))


def _cut(image: Image, unit: Patches) -> tuple[Tensor, Units]:
    return unit.cut(Clip(image=torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]))


def _join(values: Tensor, units: Units, unit: Patches) -> Image:
    return unit.join(values, units)[0].permute(1, 2, 0).contiguous().numpy()


def _apart(values: Tensor, units: Units, paper: int = 236) -> Image:
    """The patches a little apart, on light paper."""
    _, n, h, w, channels = values.shape
    gap = max(2, h // 5)
    spaced = torch.full((1, n, h + gap, w + gap, channels), paper, dtype=values.dtype)
    spaced[:, :, gap // 2 : gap // 2 + h, gap // 2 : gap // 2 + w] = values
    return _join(spaced, units, Patches(size=(h + gap, w + gap)))


def _packed(patches: Tensor) -> Image:
    """Visible patches side by side in unit order, as many a row as make a 4 : 3 picture."""
    columns = max(1, round((len(patches) * 4 / 3) ** 0.5))
    rows = -(-len(patches) // columns)
    full = patches.new_full((1, rows * columns, *patches.shape[1:]), 236)
    full[0, : len(patches)] = patches
    grid = Units(torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1), (rows, columns))
    return _apart(full, grid)


def _error(image: Image, prediction: Image, hidden: Bool[Tensor, "N"], unit: Patches) -> Image:
    """Mean absolute difference of the two pictures per hidden unit, black where nothing is scored."""
    truth, units = _cut(image, unit)
    guess, _ = _cut(prediction, unit)
    error = (truth.float() - guess.float()).abs().mean(dim=(2, 3, 4))[0] * hidden
    level = (255 * (error / error.max().clamp(min=1e-6)).sqrt()).to(torch.uint8)
    return _join(level[None, :, None, None, None].expand_as(truth).contiguous(), units, unit)


def _picture(image: Image, side: int, high: int) -> Markup:
    return Markup('<image width="{}" height="{}" preserveAspectRatio="none" href="{}"/>').format(
        side, high, picture_uri(image, quality=88)
    )


def _box(name: str, note: str, side: int, high: int) -> Markup:
    """A network as a box with its name and what it does."""
    box = Markup('<rect class="box" x="12" y="{:.0f}" width="{}" height="{:.0f}" rx="8"/>')
    words = Markup(
        '<text class="middle name" x="{0}" y="{1:.0f}">{2}</text>'
        '<text class="middle soft" x="{0}" y="{3:.0f}">{4}</text>'
    )
    middle = high / 2
    return box.format(0.15 * high, side - 24, 0.7 * high) + words.format(side / 2, middle - 2, name, middle + 16, note)


def _row(panels: Sequence[tuple[str, str, Markup]], side: int, high: int, columns: int, arrows: bool = False) -> str:
    """Panels in rows with a name and a line of explanation under each; arrows lead from one to the next."""
    gap, under = 30 if arrows else 12, 44 if any(note for _, note, _ in panels) else 26
    rows = -(-len(panels) // columns)
    parts = []
    for i, (name, note, body) in enumerate(panels):
        x, y = (i % columns) * (side + gap), (i // columns) * (high + under)
        words = Markup('<text class="name" x="0" y="{}">{}</text><text class="soft" x="0" y="{}">{}</text>')
        parts.append(
            Markup('<g transform="translate({} {})">{}{}</g>').format(
                x, y, body, words.format(high + 17, name, high + 33, note)
            )
        )
        if arrows and (i + 1) % columns and i + 1 < len(panels):
            ends = Markup('<path class="arrow" d="M{0} {2}H{1}"/><path class="head" d="M{1} {3}l7 4l-7 4z"/>')
            parts.append(ends.format(x + side + 5, x + side + gap - 11, y + high / 2, y + high / 2 - 4))
    width, height = columns * side + (columns - 1) * gap, rows * (high + under)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
    names = ", ".join(name for name, *_ in panels if name)
    return (
        head.format(width, height)
        + f"<title>{Markup.escape(names)}</title><style>{STYLE}</style>"
        + "".join(parts)
        + "</svg>\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m unseen.report.pictures", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder with samples/")
    options = parser.parse_args(arguments)
    try:
        for file in make_pictures(options.out, options.run):
            print(file)
    except UnseenError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
