"""The mask audit: does a policy do what it says, and how much of the task could a rule without a model solve?

Measures are taken on many draws; each check is one measure against a stated limit. A check that does not apply, or
that a policy fails on purpose (it favours some units, it leaves a gap), is reported but not judged.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unseen.contract import Mask, MaskedBatch, MaskPolicy, Metadata, Units, promises
from unseen.errors import UnseenError
from unseen.evaluate.leaks import PlaceAudit, image_leak
from unseen.systems.baselines import neighbour
from unseen.systems.objective import masked

BATCH = 64  # samples drawn together, as a loader would
ALONE = 8  # of them drawn once more, each by itself
UNEVEN = 0.1  # limit of the spread of frequencies between units, beyond what chance adds
IDLE = 0.25  # limit of the share of units that is neither seen nor predicted
ENOUGH = 32  # samples that a unit must exist in for its frequency to be looked at
EASY = 0.9  # limit of what interpolation may explain of the content of hidden units
SHOWN = 0.05  # limit of the target area that another slot shows, for masks that follow the world; static tubes: 0.1 up
PIECE = 8  # samples whose distances are computed together; of four such pieces


class Check(NamedTuple):
    name: str
    value: float
    limit: float
    ok: bool | None  # None: not judged
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Many masks of one policy, drawn in batches of 64."""

    policy: MaskPolicy
    units: Units  # of all samples; centre, importance and place may have one row for all
    key: Int64[Tensor, "B"]
    mask: Mask
    spacing: tuple[float, ...]
    values: Float[Tensor, "B N P"] | None = None  # content, for the inpainter
    classes: Float[Tensor, "B N K"] | None = None  # share of each unit that has each class
    real: bool = False  # whether `values` are recordings
    places: PlaceAudit | None = None  # of some of the samples, where it is known which places they show
    places_by: str = ""  # how that is known


def draw(
    policy: MaskPolicy, units: Units, key: Int64[Tensor, "B"], spacing: tuple[float, ...], **content: Any
) -> Draws:
    """Draw a mask for each key. UnseenError where the policy hides nothing, or does not take such units."""
    if not promises(policy).hides:
        raise UnseenError(f"{type(policy).__name__} hides nothing", "the audit is of masks that hide something")
    if not units.valid.any(dim=1).all():
        raise UnseenError("a sample without any unit", "there is nothing to hide in it")
    parts = [mask_of(policy, units, key, slice(i, i + BATCH)) for i in range(0, len(key), BATCH)]
    inclusion = [part.inclusion for part in parts if part.inclusion is not None]
    mask = Mask(
        torch.cat([part.visible for part in parts]),
        torch.cat([part.target for part in parts]),
        torch.cat(inclusion) if inclusion else None,
    )
    return Draws(policy=policy, units=units, key=key, mask=mask, spacing=spacing, **content)


def mask_of(policy: MaskPolicy, units: Units, key: Tensor, rows: slice) -> Mask:
    """The masks of some samples drawn together, as in training."""
    tensors: dict[str, Any] = {name: _rows(x, rows) for name, x in units._asdict().items() if isinstance(x, Tensor)}
    some = units._replace(**tensors)
    return masked(policy, some, key[rows], Metadata(centre=some.centre, valid=some.valid, grid=some.grid))


def audit(draws: Draws) -> dict[str, Any]:
    """All measures and checks of a policy as plain JSON: `checks` [dict], `measures` {name: dict}, `passed`."""
    measures: dict[str, Any] = {"counts": counts(draws), "coverage": coverage(draws), "distance": distance(draws)}
    optional: dict[str, Callable[[Draws], Any]] = {
        "inpainting": inpainting, "classes": classes, "inclusion": inclusion, "time": time_leak,
        "places": places,
    }  # fmt: skip
    measures |= {name: found for name, measure in optional.items() if (found := measure(draws)) is not None}
    checks = judge(draws, measures)
    return {
        "samples": len(draws.key),
        "units": draws.units.valid.shape[1],
        "grid": draws.units.grid,
        "checks": [check._asdict() for check in checks],
        "measures": measures,
        "passed": all(check.ok is not False for check in checks),
    }


def judge(draws: Draws, measures: dict[str, Any]) -> list[Check]:
    """Every measure that has a limit, against it."""
    says_of_itself, found = promises(draws.policy), measures["counts"]
    drawn, even, words = says_of_itself.drawn, says_of_itself.even_coverage, says_of_itself.whole_words
    slots = draws.units.grid[0] if draws.units.grid is not None and len(draws.units.grid) == 3 else 1
    limit = UNEVEN + 3 / math.sqrt(measures["coverage"]["draws"])  # six standard errors of a share of one half
    checks = [
        _most("disjoint", float((draws.mask.visible & draws.mask.target).sum()), 0, "units both visible and target"),
        _most("exists", float(((draws.mask.visible | draws.mask.target) & ~draws.units.valid).sum()), 0,
              "chosen units that do not exist"),
        _most("every sample", found["without_visible"] + found["without_target"], 0,
              "samples without a visible or without a hidden unit"),
        _most("exact", found["count_range"], 0, "units between the smallest and the largest count of samples of one "
              "size", judged=drawn and not words),
        _most("alone", batch_dependence(draws), 0, f"share of samples whose mask changes when drawn without its batch "
              f"of {BATCH}"),
    ]  # fmt: skip
    ratio = getattr(draws.policy, "ratio", None)
    if ratio is not None:
        room = (slots if says_of_itself.whole_tubes else 1) / found["fewest_units"]
        off = abs(found["hidden_share"] - ratio)
        says = f"distance of the hidden share from the ratio {ratio} asked for"
        checks.append(_most("ratio", off, room, says, not words))
    for name in ("hidden", "visible"):
        spread = measures["coverage"][name]
        says = f"difference in how often the most and the least {name} units are"
        checks.append(_most(f"{name} evenly", spread["high"] - spread["low"], limit, says, even))
    says = "share of the units neither seen nor predicted"
    checks.append(_most("nothing idle", found["idle_share"], IDLE, says, drawn))
    if "inpainting" in measures:
        says = "share of the hidden content that interpolation between visible units explains"
        easy = measures["inpainting"]["explained"]
        checks.append(_most("no shortcut", easy, EASY, says, draws.real and not math.isnan(easy)))
    if "inclusion" in measures:
        says = "mean error of the inclusion probabilities"
        checks.append(_most("inclusion", measures["inclusion"]["error"], 0.05, says))
    if "time" in measures and says_of_itself.whole_tubes:
        says = "share of the targets whose place in the image is visible in another slot"
        checks.append(_most("whole tubes", measures["time"]["image_leak"], 0, says))
    if "places" in measures and not math.isnan(measures["places"]["leak"]):
        says = f"share of the target area that another slot shows, in the world, by {draws.places_by}"
        checks.append(_most("no place leak", measures["places"]["leak"], SHOWN, says, says_of_itself.follows_the_world))
    return checks


def counts(draws: Draws) -> dict[str, float]:
    """What share of the units that may be hidden each sample hides, shows and leaves; `count_range` is over samples of
    as many such units."""
    may = draws.units.eligible
    n_units = may.sum(dim=1)
    visible, hidden = (draws.mask.visible & may).sum(dim=1), draws.mask.target.sum(dim=1)
    ranges = []
    for size in n_units.unique():
        for count in (visible[n_units == size], hidden[n_units == size]):
            ranges.append(int(count.max() - count.min()))
    n_units = n_units.clamp(min=1)
    share = hidden / n_units
    return {
        "hidden_share": float(share.mean()),
        "hidden_least": float(share.min()),
        "hidden_most": float(share.max()),
        "visible_share": float((visible / n_units).mean()),
        "idle_share": float(1 - ((visible + hidden) / n_units).mean()),
        "count_range": float(max(ranges)),
        "fewest_units": float(n_units.min()),
        "without_visible": float((visible == 0).sum()),
        "without_target": float((hidden == 0).sum()),
    }


def coverage(draws: Draws) -> dict[str, Any]:
    """How often units are hidden and visible: each unit, and by slot, row and column, or by range."""
    may = draws.units.eligible
    there = may.sum(dim=0).clamp(min=1)
    seen = there >= min(ENOUGH, int(there.max()))
    found: dict[str, Any] = {"draws": int(there[seen].min())}
    for name, chosen in (("hidden", draws.mask.target), ("visible", draws.mask.visible)):
        often = (chosen & may).sum(dim=0) / there
        lines = {axis: _means(often, seen, index) for axis, index in _axes(draws.units).items()}
        found[name] = {
            "low": float(often[seen].min()),
            "high": float(often[seen].max()),
            "map": often.masked_fill(~seen, torch.nan).tolist(),
            "by": lines,
        }
    return found


def _axes(units: Units) -> dict[str, Tensor]:
    """For each unit its slot, row and column; without a grid, in which fifth of the distances from the origin it is."""
    if units.grid is not None and len(units.grid) > 1:
        names = ("slot", "row", "column")[-len(units.grid) :]
        index = torch.cartesian_prod(*(torch.arange(side) for side in units.grid))
        return dict(zip(names, index.unbind(dim=1), strict=True))
    far = units.centre[0].double().norm(dim=1)
    rank = far.argsort().argsort()
    return {"range, nearest fifth first": rank * 5 // len(far)}


def _means(often: Tensor, seen: Tensor, index: Tensor) -> list[float]:
    lines = (often[seen & (index == line)] for line in range(int(index.max()) + 1))
    return [float(line.mean()) if len(line) else math.nan for line in lines]


def batch_dependence(draws: Draws) -> float:
    """The share of samples that get another mask by themselves than in their batch."""
    rows = range(0, min(ALONE, len(draws.key)))
    alone = [mask_of(draws.policy, draws.units, draws.key, slice(row, row + 1)) for row in rows]
    other = [
        not (
            torch.equal(one.visible[0], draws.mask.visible[row]) and torch.equal(one.target[0], draws.mask.target[row])
        )
        for row, one in zip(rows, alone, strict=True)
    ]
    return sum(other) / len(other)


def distance(draws: Draws) -> dict[str, Any]:
    """How far hidden units are from their nearest visible one, in steps between neighbouring units."""
    centre = steps_of(draws)
    found = []
    for start in range(0, min(len(draws.key), 4 * PIECE), PIECE):
        rows = slice(start, start + PIECE)
        apart = torch.cdist(_rows(centre, rows), _rows(centre, rows))
        apart = apart.masked_fill(~draws.mask.visible[rows][:, None, :], torch.inf).amin(dim=2)
        found.append(apart[draws.mask.target[rows]])
    steps = torch.cat(found)
    steps = steps[steps.isfinite()]
    if not len(steps):
        return {"mean": math.nan, "adjacent_share": math.nan, "steps": []}
    edges = torch.tensor([0, 1.01, 1.5, 2.01, 3.01, 4.01, math.inf], dtype=torch.float64)
    shares = [float(((steps > a) & (steps <= b)).double().mean()) for a, b in pairwise(edges)]
    names = ("next", "diagonal", "2", "3", "4", "more")
    return {
        "mean": float(steps.mean()),
        "adjacent_share": shares[0],
        "steps": [{"steps": name, "share": share} for name, share in zip(names, shares, strict=True)],
    }


def steps_of(draws: Draws) -> Float[Tensor, "B N C"]:
    """Where units are, in steps between neighbours: their place in the grid, else their centre by the spacing."""
    if draws.units.grid is not None:
        return torch.cartesian_prod(*(torch.arange(side).double() for side in draws.units.grid)).view(
            1, -1, len(draws.units.grid)
        )
    return draws.units.centre.double() / torch.tensor(draws.spacing, dtype=torch.float64)


def inpainting(draws: Draws) -> dict[str, float] | None:
    """What four neighbours, weighted by inverse distance, explain of the hidden content beyond the visible mean."""
    if draws.values is None:
        return None
    centre, error, spread = steps_of(draws).float(), 0.0, 0.0
    for start in range(0, len(draws.key), BATCH):
        rows = slice(start, start + BATCH)
        values, hidden, visible = draws.values[rows], draws.mask.target[rows], draws.mask.visible[rows]
        if not (hidden.any(dim=1).all() and visible.any(dim=1).all()):
            continue
        batch = MaskedBatch(values, visible, {"x": values}, {"x": hidden}, Metadata(centre=_rows(centre, rows)))
        guess = neighbour(batch, "x", (1.0,) * centre.shape[2])
        live = torch.arange(guess.shape[1]) < hidden.sum(dim=1)[:, None]
        mean = (values * visible[..., None]).sum(dim=1) / visible.sum(dim=1, keepdim=True)
        error += float((guess[live] - values[hidden]).square().sum())
        spread += float((mean[:, None].expand_as(values)[hidden] - values[hidden]).square().sum())
    return {"explained": 1 - error / spread if spread else math.nan}


def classes(draws: Draws) -> list[dict[str, float]] | None:
    """For each class its share of the whole, of what is hidden and of what is visible, and how much of it is hidden."""
    if draws.classes is None:
        return None
    valid = draws.units.valid
    whole, hidden, visible = (
        torch.einsum("bnk,bn->k", draws.classes.double(), part.double())
        for part in (valid, draws.mask.target, draws.mask.visible)
    )
    return [
        {
            "class": number,
            "share": float(whole[number] / whole.sum()),
            "of_hidden": float(hidden[number] / hidden.sum()),
            "of_visible": float(visible[number] / visible.sum()),
            "hidden": float(hidden[number] / whole[number]),
        }
        for number in range(len(whole))
        if whole[number] > 0
    ]


def inclusion(draws: Draws) -> dict[str, float] | None:
    """How far the stated probabilities are from what happens: over units of equal probability, in tenths."""
    if draws.mask.inclusion is None:
        return None
    stated, hidden, valid = draws.mask.inclusion, draws.mask.target, draws.units.valid
    tenth = (stated * 10).long().clamp(0, 9)
    error = 0.0
    for place in tenth[valid].unique():
        among = valid & (tenth == place)
        error += abs(float((stated - hidden.float())[among].sum()))
    return {"error": error / float(valid.sum())}


def time_leak(draws: Draws) -> dict[str, float] | None:
    """What a target's own place in the image shows in other slots."""
    grid = draws.units.grid
    return {"image_leak": image_leak(draws.mask, grid[0])} if grid is not None and len(grid) == 3 else None


def places(draws: Draws) -> dict[str, Any] | None:
    """What a target's own place in the world shows in other slots; see `evaluate.leaks`."""
    return None if draws.places is None else {"by": draws.places_by, **draws.places._asdict()}


def _most(name: str, value: float, limit: float, says: str, judged: bool = True) -> Check:
    return Check(name, value, limit, value <= limit if judged else None, says)


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Some samples of a tensor that has one row for each, or one for all."""
    return x if len(x) == 1 else x[rows]
