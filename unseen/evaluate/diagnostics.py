"""Is the representation collapsing? Alarms inside one run; never a ranking of different objectives.

All ranks are bounded by n and by D: take n at least 16 times the dimensions. An evaluation takes units of all its
frames, drawn by a key. Garrido et al. (RankMe, ICML 2023) compare runs of one method only.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.evaluate.folds import shuffled
from unseen.systems.spectrum import effective_rank, singular_values


def rank_me(z: Float[Tensor, "n D"], *, centred: bool) -> float:
    """RankMe (Garrido et al., ICML 2023): exp of the entropy of p = s / sum(s) + 1e-7. A common offset kills it."""
    s = singular_values(z, centred=centred)
    p = s / s.sum().clamp(min=1e-300) + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def participation_ratio(z: Float[Tensor, "n D"]) -> float:
    """(sum of the covariance's eigenvalues)^2 / sum of their squares; 0 for constant features."""
    eigenvalue = singular_values(z, centred=True) ** 2
    return float(eigenvalue.sum() ** 2 / (eigenvalue**2).sum().clamp(min=1e-300))


def collapsed_dimensions(z: Float[Tensor, "n D"]) -> dict[str, float]:
    """Standard deviation per dimension of the L2-normalised features; a healthy one is about 1 / sqrt(D).

    A dimension counts as collapsed below a hundredth of that.
    """
    unit = torch.nn.functional.normalize(z.double(), dim=1)
    std, healthy = unit.std(dim=0, correction=0), z.shape[1] ** -0.5
    return {"median_std": float(std.median()), "healthy_std": healthy, "collapsed": float((std < healthy / 100).sum())}


def sampled(units: Float[Tensor, "F N D"], seed: int, per_dimension: int = 16) -> Float[Tensor, "n D"]:
    """At most `per_dimension` * D of all units, the same ones for every maker of as many."""
    flat = units.flatten(0, 1)
    chosen = shuffled(len(flat), seed, "diagnostics")[: per_dimension * flat.shape[1]]
    return flat[torch.from_numpy(chosen)].float()


def diagnose(z: Float[Tensor, "n D"]) -> dict[str, float]:
    """Every number of this file for one set of features."""
    return {
        "n": float(len(z)),
        "dimensions": float(z.shape[1]),
        "rank_me": rank_me(z, centred=False),
        "rank_me_centred": rank_me(z, centred=True),
        "effective_rank": effective_rank(z),
        "participation_ratio": participation_ratio(z),
        **collapsed_dimensions(z),
    }
