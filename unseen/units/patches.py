"""Image patches: rectangular, any size that divides the image, any channel count, any dtype. Exact inverse."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """One unit is a patch; its content is [rows, columns, channels], its centre (y, x) in px of the nominal frame."""

    size: tuple[int, int] = (16, 16)  # rows, columns

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UnseenError(f"Patches: size is {self.size}", "a patch has at least one pixel along each side")

    @property
    def spacing(self) -> tuple[float, ...]:
        return tuple(float(side) for side in self.size)

    def cut(self, clip: Clip) -> tuple[Shaped[Tensor, "B N h w C"], Units]:
        image = clip["image"]
        batch, channels, height, width = image.shape
        h, w = self.size
        if height % h or width % w:
            raise UnseenError(
                f"an image of {height} x {width} px does not divide into patches of {h} x {w}",
                "the patch must divide both sides",
                f"crop or resize to {height - height % h} x {width - width % w}, or change the patch",
            )
        rows, columns = height // h, width // w
        pixels = image.movedim(1, 3).contiguous()  # channels last first: then whole rows of a patch are copied
        values = pixels.view(batch, rows, h, columns, w, channels).permute(0, 1, 3, 2, 4, 5)
        centre = self.centres(rows, columns, clip.get("region_px"), image.device)
        valid = torch.ones(batch, rows * columns, dtype=torch.bool, device=image.device)
        importance = torch.ones(1, rows * columns, device=image.device)
        return values.reshape(batch, rows * columns, h, w, channels), Units(centre, valid, importance, (rows, columns))

    def centres(
        self, rows: int | torch.SymInt, columns: int | torch.SymInt, region_px: Tensor | None, device: torch.device
    ) -> Tensor:
        """Centres [1 or B, rows * columns, 2] (y, x); a region stretches the grid over its part of the frame."""
        y = (torch.arange(rows, device=device) + 0.5) / rows  # type: ignore[arg-type]
        x = (torch.arange(columns, device=device) + 0.5) / columns  # type: ignore[arg-type]
        share = torch.cartesian_prod(y, x)[None]
        if region_px is None:
            return share * share.new_tensor([rows * self.size[0], columns * self.size[1]])
        start, end = region_px[:, None, :2], region_px[:, None, 2:]
        return start + share * (end - start)

    def join(self, values: Shaped[Tensor, "B N h w C"], units: Units) -> Shaped[Tensor, "B C H W"]:
        """Put patches back into the image; the exact inverse of `cut`."""
        rows, columns = units.grid or (0, 0)
        batch, _, h, w, channels = values.shape
        image = values.view(batch, rows, columns, h, w, channels).permute(0, 5, 1, 3, 2, 4)
        return image.reshape(batch, channels, rows * h, columns * w)

    picture = join  # what pictures of a run show of units
