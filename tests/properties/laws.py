"""The laws, as functions that raise AssertionError: the tests run them over all members, and over the broken ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from unseen.contract import (
    Clip,
    Corruption,
    Mask,
    MaskedBatch,
    MaskedModel,
    MaskPolicy,
    Target,
    Unit,
    Units,
    check,
    promises,
)
from unseen.evaluate.leaks import leak_share, slot_counts
from unseen.masks.choose import counts
from unseen.systems.objective import Objective, predict, unit_weights

from .discover import key_of, sequence

Forward = Callable[[MaskedModel, MaskedBatch], dict[str, Tensor]]


# --- policies


def grid_units(batch: int, rows: int, columns: int, valid: Tensor | None = None, slots: int | None = None) -> Units:
    """Units of an image, with `slots` of a clip (four a second), with 0 slots a row of pieces of words.

    Places in units, importance 1, 2 and 5. Those of images and clips show the corners of squares of a slope in the
    world, which slides half a unit sideways from slot to slot.
    """
    sides = [torch.arange(side) + 0.5 for side in (rows, columns)]
    centre = torch.cartesian_prod(*sides) if not slots else torch.cartesian_prod(torch.arange(slots) / 4, *sides)
    n_units = len(centre)
    existing = torch.ones(batch, n_units, dtype=torch.bool) if valid is None else valid
    importance = torch.tensor([1.0, 1, 2, 1, 1, 5, 1]).repeat(n_units)[None, :n_units]
    grid = (rows, columns) if not slots else (slots, rows, columns)
    corner = centre[:, None, -2:] + 0.9 * (torch.cartesian_prod(*[torch.arange(2.0)] * 2) - 0.5)
    slide = (2 * centre[:, :1] if slots else 0.0) + corner[..., 1]
    place = torch.stack([30 - corner[..., 0], slide - columns / 2, -corner[..., 0]], dim=-1)
    units = Units(centre[None], existing, importance, grid, None, place[None])
    return sequence(units) if slots == 0 else units


def hides_whole_words(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    """No word is split; never more than round(n * ratio) pieces, but one word at least; no further word would fit."""
    mask = disjoint_and_existing(policy, units, key)
    wanted = counts(units.valid, policy.ratio)[1]
    for row, group in enumerate(units.group.expand(units.valid.shape)):
        words = [((group == word) & units.valid[row]) for word in group[units.valid[row]].unique()]
        size = [int(word.sum()) for word in words]
        hidden = [bool((mask.target[row] & word).any()) for word in words]
        n_hidden = int(mask.target[row].sum())
        if len(words) < 2:
            continue
        assert all((mask.target[row] & word).sum() in (0, word.sum()) for word in words), "a word is split"
        assert n_hidden >= 1 and int(mask.visible[row].sum()) == sum(size) - n_hidden
        assert n_hidden <= int(wanted[row]) or n_hidden == min(size), f"{n_hidden} of {int(wanted[row])} are hidden"
        left = int(wanted[row]) - n_hidden
        assert all(seen or length > left for seen, length in zip(hidden, size, strict=True)), "a word would still fit"


def some_valid(batch: int, n_units: int, seed: int = 0) -> Tensor:
    """A ragged pattern: every row misses other units, and another number of them."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.linspace(0.4, 0.95, batch)[:, None]
    return torch.rand(batch, n_units, generator=generator) < share


def disjoint_and_existing(policy: MaskPolicy, units: Units, key: Tensor) -> Mask:
    mask = policy(units, key, {})
    assert mask.visible.shape == mask.target.shape == units.valid.shape
    assert mask.visible.dtype == mask.target.dtype == torch.bool
    assert not (mask.visible & mask.target).any(), "a unit is both visible and a target"
    assert not ((mask.visible | mask.target) & ~units.valid).any(), "a unit that does not exist is chosen"
    return mask


def exact_counts(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    """Counts follow the number of valid units alone: round(n * ratio), at least one visible and one hidden of two.

    A policy with a `context` shows that share and leaves guard; one of `whole_tubes` rounds to whole tubes; one that is
    not `drawn` counts what lies before and after a time, which has tests of its own.
    """
    if promises(policy).whole_words:
        return hides_whole_words(policy, units, key)
    mask = disjoint_and_existing(policy, units, key)
    slots = units.grid[0] if promises(policy).whole_tubes and len(units.grid) == 3 else 1
    stride, context = getattr(policy, "stride", None), getattr(policy, "context", None)
    ratio = getattr(policy, "ratio", None) if stride is None else 1 - 1 / stride**2
    seen: dict[int, tuple[int, int]] = {}
    for valid, visible, target in zip(units.valid, mask.visible, mask.target, strict=True):
        n, counted = int(valid.sum()), (int(visible.sum()), int(target.sum()))
        if promises(policy).drawn:
            assert seen.setdefault(n, counted) == counted, f"{n} valid units give {counted} and {seen[n]}"
        if n >= 2:
            assert counted[0] >= 1 and counted[1] >= 1, f"{n} valid units give {counted}"
        if ratio is not None and n:
            hidden = rounded(n, ratio, slots)
            shown = n - hidden if context is None else min(n - hidden, n - rounded(n, 1 - context, slots))
            assert counted == (shown, hidden), f"{n} valid units at ratio {ratio} give {counted}"


def rounded(n: int, ratio: float, slots: int) -> int:
    return min(max(slots * round(n * (ratio / slots)), 1), n - 1)


def pure_function_of_the_key(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    state = torch.random.get_rng_state()
    first, second, other = policy(units, key, {}), policy(units, key, {}), policy(units, key + 1, {})
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator moved"
    assert torch.equal(first.target, second.target) and torch.equal(first.visible, second.visible), (
        "same key, other mask"
    )
    if promises(policy).drawn:
        assert not torch.equal(first.target, other.target), "other keys, same mask"


def rows_are_independent(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    together = policy(units, key, {})
    for row in range(len(key)):
        alone = policy(units._replace(valid=units.valid[row : row + 1]), key[row : row + 1], {})
        assert torch.equal(alone.target[0], together.target[row]), "batch mates change a mask"
        assert torch.equal(alone.visible[0], together.visible[row]), "batch mates change a mask"
        if together.inclusion is not None:
            assert torch.equal(alone.inclusion[0], together.inclusion[row]), "batch mates change a probability"


def padding_keeps_the_counts(
    policy: MaskPolicy, rows: int, columns: int, key: Tensor, slots: int | None = None
) -> None:
    """Rows of units that do not exist, added below, leave the counts alone."""
    plain = policy(grid_units(len(key), rows, columns, slots=slots), key, {})
    valid = torch.zeros(len(key), slots or 1, rows + 3, columns, dtype=torch.bool)
    valid[:, :, :rows] = True
    padded = disjoint_and_existing(policy, grid_units(len(key), rows + 3, columns, valid.flatten(1), slots), key)
    assert torch.equal(plain.target.sum(dim=1), padded.target.sum(dim=1))
    assert torch.equal(plain.visible.sum(dim=1), padded.visible.sum(dim=1))


def covers_evenly(policy: MaskPolicy, units: Units, tolerance: float = 0.1) -> None:
    """Each unit is hidden about as often as any other, and visible too (five standard errors of 3000 are 0.045)."""
    mask = policy(units, key_of(len(units.valid)), {})
    for name, chosen in (("hidden", mask.target), ("visible", mask.visible)):
        often = chosen.double().mean(dim=0)
        low, high = float(often.min()), float(often.max())
        assert high - low < tolerance, f"units are {name} between {low:.2f} and {high:.2f} of the time"


def inclusion_is_what_happens(policy: MaskPolicy, units: Units, tolerance: float = 0.05) -> None:
    """Where a policy says how probably it hides each unit, that is how often it does; all rows of `units` are alike."""
    if policy(units._replace(valid=units.valid[:1]), key_of(1), {}).inclusion is None:
        return
    mask = policy(units, key_of(len(units.valid)), {})
    assert mask.inclusion.shape == units.valid.shape
    off = (mask.inclusion[0] - mask.target.float().mean(dim=0)).abs().max()
    assert off < tolerance, f"a unit is hidden {float(off):.2f} more or less often than its inclusion probability"


def tubes_are_whole(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    """A policy of whole tubes treats a place alike in all slots, so that no hidden place is seen in another frame."""
    if promises(policy).whole_tubes:
        mask = policy(units, key, {})
        for chosen in (mask.visible, mask.target):
            by_slot = chosen.unflatten(1, (units.grid[0], -1))
            assert torch.equal(by_slot.all(dim=1), by_slot.any(dim=1)), "a hidden place is seen in another slot"


def slots_are_alike(policy: MaskPolicy, units: Units, key: Tensor) -> None:
    """A policy that follows the world has the same exact counts in every slot, where all units exist."""
    if promises(policy).follows_the_world:
        mask, n = policy(units, key, {}), units.valid.shape[1] // units.grid[0]
        counted = slot_counts(mask, units)
        assert (counted == counted[:1, :1]).all(), "slots have different counts"
        visible, target = counted[0, 0].tolist()
        assert (visible, target) == (round(n * policy.visible), round(n * policy.target)), f"{visible}, {target} of {n}"


def places_stay_hidden(policy: MaskPolicy, n_slots: int = 6, rows: int = 16, columns: int = 24) -> None:
    """A policy that follows the world shows at most 1 % of what it hides in another slot, where the world slides by."""
    if promises(policy).follows_the_world:
        units = grid_units(16, rows, columns, slots=n_slots)
        units = units._replace(importance=torch.ones(1, units.valid.shape[1]))
        slot, row, column = (
            axis[:, None, None] for axis in (units.centre[0] * torch.tensor([4, 1, 1])).T.floor().long()
        )
        halves = torch.tensor([0.25, 0.75])[:, None]  # of each unit, its left and its right: where, in each slot
        there = (column + halves + (slot - torch.arange(n_slots)) / 2).floor().long()
        seen = (torch.arange(n_slots) * rows + row) * columns + there
        seen = torch.where((there >= 0) & (there < columns), seen, -1).expand(16, -1, -1, -1)
        sampled = units._replace(place=torch.zeros(1, seen.shape[1], 2, 3))  # all known
        mask = policy(units, key_of(16), {})
        leak = float(leak_share(mask, sampled, seen).mean())
        assert leak <= 0.01, f"{leak:.3f} of what is hidden is seen in another slot"


# --- corruptions


def exact_shares(corruption: Corruption, values: Tensor, mask: Mask, key: Tensor) -> None:
    """How many targets are read follows their number alone; all else stays as the policy left it."""
    changed, new = corruption(values, mask, key)
    assert changed.shape == values.shape and changed.dtype == values.dtype
    assert torch.equal(new.target, mask.target), "a corruption moves targets"
    read = new.visible & new.target
    assert torch.equal(new.visible, mask.visible | read), "a unit that is no target changes its visibility"
    assert torch.equal(changed[mask.visible], values[mask.visible]), "the content of a visible unit changes"
    seen: dict[int, int] = {}
    for row in range(len(key)):
        n, counted = int(mask.target[row].sum()), int(read[row].sum())
        assert seen.setdefault(n, counted) == counted, f"of {n} targets {counted} and {seen[n]} are read"


def corrupts_by_the_key(corruption: Corruption, values: Tensor, mask: Mask, key: Tensor) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (
        corruption(values, mask, key),
        corruption(values, mask, key),
        corruption(values, mask, key + 1),
    )
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator moved"
    assert same_reading(first, second).all(), "same key, other content"
    assert not same_reading(first, other).all() or not (first[1].visible & mask.target).any() or constant(first, mask)


def corrupts_rows_alone(corruption: Corruption, values: Tensor, mask: Mask, key: Tensor) -> None:
    together = corruption(values, mask, key)
    for row in range(len(key)):
        part = slice(row, row + 1)
        alone = corruption(values[part], Mask(mask.visible[part], mask.target[part]), key[part])
        given = together[0][part], Mask(together[1].visible[part], together[1].target[part])
        assert same_reading(alone, given).all(), "batch mates change what is read"


def hidden_content_is_kept_as_declared(corruption: Corruption, values: Tensor, mask: Mask, key: Tensor) -> None:
    """Other content in the targets: what the model reads stays, but for the share that the corruption says it keeps."""
    target = mask.target.view(*mask.target.shape, *[1] * (values.ndim - 2))
    other = torch.where(target, values + 7, values)
    moved = ~same_reading(corruption(values, mask, key), corruption(other, mask, key))
    declared = getattr(corruption, "kept", 0.0)
    allowed = (mask.target.sum(dim=1) * declared).round()
    assert (moved.sum(dim=1) <= allowed).all(), f"{moved.sum(dim=1).tolist()} targets are told of {allowed.tolist()}"


def same_reading(one: tuple[Tensor, Mask], other: tuple[Tensor, Mask]) -> Tensor:
    """[B, N]: the units of which the model reads the same, or nothing, both times."""
    equal = (one[0] == other[0]).flatten(2).all(dim=2) if one[0].ndim > 2 else one[0] == other[0]
    return (one[1].visible == other[1].visible) & (equal | ~one[1].visible)


def constant(reading: tuple[Tensor, Mask], mask: Mask) -> bool:
    """Whether all that is read of the targets is one and the same value: nothing random is left."""
    read = reading[0][reading[1].visible & mask.target]
    return bool((read == read.flatten()[0]).all())


# --- units


def content_name(unit: Unit, clip: Clip) -> str:
    """Which entry of a clip the unit cuts: what `join` gives back."""
    joined = unit.join(*unit.cut(clip))
    for name, value in clip.items():
        if isinstance(value, Tensor) and value.dtype == joined.dtype and torch.equal(value, joined):
            return name
    raise AssertionError("join(cut(x)) differs from x")


def cuts_without_loss(unit: Unit, clip: Clip) -> None:
    content_name(unit, clip)


def centres_are_where_the_pixels_are(unit: Unit, height: int, width: int) -> None:
    """Cut an image of coordinates: each unit's mean coordinate is its centre; a region moves and stretches it.

    The last two coordinates of a centre are (y, x), whatever stands before them; so of videos that stand still.
    """
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    image = torch.stack([y[:, None].expand(-1, width), x.expand(height, -1)])[None]
    clip = Clip(image=image, video=image[:, None].expand(-1, 4, -1, -1, -1))
    values, units = unit.cut(clip)
    mean = values.flatten(2, -2).mean(dim=2)
    torch.testing.assert_close(units.centre[..., -2:], mean)
    region = torch.tensor([[10.0, 20.0, 10.0 + 2 * height, 20.0 + 3 * width]])
    moved = unit.cut(Clip(**clip, region_px=region))[1].centre
    torch.testing.assert_close(moved[..., -2:], mean * torch.tensor([2.0, 3.0]) + torch.tensor([10.0, 20.0]))


def describes_its_units(unit: Unit, clip: Clip) -> None:
    values, units = unit.cut(clip)
    batch, n_units = values.shape[:2]
    assert units.valid.shape == (batch, n_units) and units.valid.dtype == torch.bool
    assert units.importance.shape in {(batch, n_units), (1, n_units)} and (units.importance >= 0).all()
    assert ((units.importance > 0) & units.valid).sum(dim=1).min() >= 2
    assert units.group is None or units.group.shape in {(batch, n_units), (1, n_units)}
    assert units.centre.shape[0] in {batch, 1} and units.centre.shape[1] == n_units
    assert units.centre.shape[2] == len(unit.spacing) and torch.isfinite(units.centre).all()
    assert units.grid is None or torch.tensor(units.grid).prod() == n_units


def centres_are_free_of_content(unit: Unit, clip: Clip) -> None:
    first = unit.cut(clip)[1]
    other = torch.where(clip["token"] < 5, clip["token"], 5 + clip["token"] * 3 % 80)
    changed = {"image": clip["image"].flip(2), "video": clip["video"].flip(3), "token": other}
    second = unit.cut(Clip(**{**clip, **changed}))[1]
    for name in ("centre", "valid", "importance"):
        assert torch.equal(getattr(first, name), getattr(second, name)), f"{name} depends on content"


# --- targets


def zero_at_the_truth(target: Target, values: Tensor, units: Units, clip: Clip) -> None:
    truth = target.make(values, units, clip)
    assert truth.shape[:2] == values.shape[:2] and torch.isfinite(truth).all()
    assert not truth.requires_grad
    loss = target.loss(certain(target, truth), truth)
    assert loss.shape == truth.shape[:2], f"the loss is {tuple(loss.shape)}, not one number per unit"
    assert (loss == 0).all(), "the truth has a loss"
    assert (target.loss(certain(target, truth + 1), truth) > 0).all(), "an error has none"


def certain(target: Target, truth: Tensor) -> Tensor:
    """The prediction that says just this: the numbers themselves, or for class ids all weight on one class."""
    if truth.is_floating_point():
        return truth
    (classes,) = target.prediction(truth)
    return 1e4 * torch.nn.functional.one_hot(truth % classes, classes).float()


def scores_each_unit_alone(target: Target, values: Tensor, units: Units, clip: Clip) -> None:
    """The loss of one unit has a gradient at its own prediction and at no other's."""
    truth = target.make(values, units, clip)
    shape = target.prediction(truth) or truth.shape[2:]
    prediction = torch.full((*truth.shape[:2], *shape), 0.37, requires_grad=True)
    target.loss(prediction, truth)[1, 2].backward()
    assert prediction.grad is not None
    gradient = prediction.grad.flatten(2).abs().sum(dim=2)
    assert gradient[1, 2] > 0, "the unit itself has no gradient"
    gradient[1, 2] = 0
    assert (gradient == 0).all(), "the loss of a unit depends on the prediction of another"


def weighs_sanely(target: Target, values: Tensor, units: Units, clip: Clip) -> None:
    weight = target.weight(values, units, clip)
    assert weight.shape == values.shape[:2] and weight.dtype == torch.float32
    assert torch.isfinite(weight).all() and (weight >= 0).all()
    half = units._replace(valid=units.valid & (torch.arange(units.valid.shape[1]) % 2 == 0))
    assert (target.weight(values, half, clip)[:, 1::2] == 0).all(), "a unit that does not exist counts"


def samples_are_separate(target: Target, unit: Unit, clip: Clip) -> None:
    """The target of a sample is made of that sample alone."""
    values, units = unit.cut(clip)
    together = target.make(values, units, clip)
    one = Clip(**{name: value[1:2] for name, value in clip.items()})
    alone = target.make(*unit.cut(one), one)
    torch.testing.assert_close(alone[0], together[1], rtol=1e-5, atol=1e-6)


# --- model, target, policy and unit together


def checked(objective: Objective, clip: Clip, key: Tensor) -> MaskedBatch:
    return check(objective.batch(clip, key), objective.read_and_scored)


@torch.no_grad()
def hidden_input_cannot_matter(
    objective: Objective, model: MaskedModel, batch: MaskedBatch, forward: Forward = predict
) -> None:
    """With every hidden input replaced by NaN (or by no id at all), prediction and loss stay bit-identical."""
    hidden = ~batch.visible_mask.view(*batch.visible_mask.shape, *[1] * (batch.input.ndim - 2))
    poison = torch.nan if batch.input.is_floating_point() else -(2**40)
    poisoned = batch._replace(input=batch.input.clone().masked_fill_(hidden, poison))  # in the same layout
    before, after = forward(model, batch), forward(model, poisoned)
    losses = objective.losses(before, batch), objective.losses(after, poisoned)
    assert before.keys() == after.keys() == batch.target.keys()
    for name in before:
        n_units = int(batch.target_mask[name].sum(dim=1).max())
        shape = objective.target(name).prediction(batch.target[name])
        assert before[name].shape == (len(batch.input), n_units, *(before[name].shape[2:] if shape is None else shape))
        assert torch.isfinite(before[name]).all(), f"{name}: the prediction is not finite"
        assert torch.equal(before[name], after[name]), f"{name}: a hidden input reached the prediction"
        assert torch.equal(losses[0][name], losses[1][name]), f"{name}: a hidden input reached the loss"


def hidden_gradient_is_zero(model: MaskedModel, batch: MaskedBatch, forward: Forward = predict) -> None:
    """The derivative of the prediction by a hidden value is exactly zero, by visible ones it is not; ids have none."""
    if not batch.input.is_floating_point():
        return
    values = batch.input.clone().requires_grad_()
    prediction = forward(model, batch._replace(input=values))
    mix = sum((value * torch.linspace(-1, 2, value.numel()).view_as(value)).sum() for value in prediction.values())
    (gradient,) = torch.autograd.grad(mix, values)
    assert (gradient[~batch.visible_mask] == 0).all(), "a hidden value has a gradient"
    assert gradient[batch.visible_mask].abs().sum() > 0, "the prediction ignores the visible units too"


@torch.no_grad()
def hidden_content_cannot_matter(
    objective: Objective, model: MaskedModel, clip: Clip, key: Tensor, forward: Forward = predict
) -> None:
    """Other content in the hidden units of the raw clip: all that the model is given, and says, stays bit-identical."""
    values, units = objective.unit.cut(clip)
    batch = checked(objective, clip, key)
    hidden = ~batch.visible_mask.view(*batch.visible_mask.shape, *[1] * (values.ndim - 2))
    other = objective.unit.join(torch.where(hidden, 77, values), units)
    changed = checked(objective, Clip(**{**clip, content_name(objective.unit, clip): other}), key)
    assert torch.equal(batch.visible_mask, changed.visible_mask), "the mask depends on content"
    assert torch.equal(batch.metadata["centre"], changed.metadata["centre"]), "centres depend on hidden content"
    for one, other in zip(handed_over(forward, batch), handed_over(forward, changed), strict=True):
        same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
        assert same, "the model is given something that depends on hidden content"
    before, after = forward(model, batch), forward(model, changed)
    assert all(torch.equal(before[name], after[name]) for name in before), "hidden content reached the prediction"


class Listener(MaskedModel):
    """Keeps what it is given and predicts nothing."""

    def forward(self, *given):
        self.given = given
        return {}


def handed_over(forward: Forward, batch: MaskedBatch) -> list:
    """Every leaf of what a model is given of a batch."""
    listener = Listener()
    forward(listener, batch)
    leaves, trees = [], list(listener.given)
    while trees:
        tree = trees.pop()
        if isinstance(tree, dict):
            trees += [part for pair in sorted(tree.items()) for part in pair]
        else:
            leaves.append(tree)
    return leaves


@torch.no_grad()
def batch_mates_cannot_matter(objective: Objective, model: MaskedModel, clip: Clip, key: Tensor) -> None:
    """A sample gives the same alone as beside samples with more and fewer units, and padding counts nothing."""
    together = checked(objective, clip, key)
    all_predictions = predict(model, together)
    all_losses, all_weights = objective.losses(all_predictions, together), unit_weights(together)
    for row in range(len(key)):
        alone = single(together, row)
        prediction = predict(model, alone)
        losses, weights = objective.losses(prediction, alone), unit_weights(alone)
        for name in prediction:
            n_units = prediction[name].shape[1]
            assert n_units == int(together.target_mask[name][row].sum())
            pairs = (prediction, all_predictions), (losses, all_losses), (weights, all_weights)
            for one, several in pairs:
                torch.testing.assert_close(one[name][0], several[name][row, :n_units], rtol=1e-5, atol=1e-5)
            assert torch.isfinite(all_losses[name][row, n_units:]).all(), f"{name}: padding has no finite loss"
            assert (all_weights[name][row, n_units:] == 0).all(), f"{name}: padding counts"


def single(batch: MaskedBatch, row: int) -> MaskedBatch:
    """One sample of a batch, as a batch."""

    def pick(value):
        if isinstance(value, dict):
            return {name: pick(part) for name, part in value.items()}
        return value[row : row + 1] if isinstance(value, Tensor) and len(value) == len(batch.visible_mask) else value

    return MaskedBatch(*(pick(part) for part in batch))
