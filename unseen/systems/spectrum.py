"""How many directions features use: the spectrum under every rank that the monitors and the diagnosis report."""

import torch
from jaxtyping import Float
from torch import Tensor


def singular_values(z: Float[Tensor, "n D"], *, centred: bool) -> Float[Tensor, "k"]:
    """Singular values in float64, through the smaller Gram matrix."""
    z = z.double()
    if centred:
        z = z - z.mean(dim=0)
    gram = z.T @ z if z.shape[1] <= z.shape[0] else z @ z.T
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()


def effective_rank(z: Float[Tensor, "n D"]) -> float:
    """exp of the entropy of the spectrum of the centred features' covariance (Roy and Vetterli, 2007).

    From 1 to D, without an epsilon; 0 for constant features.
    """
    weight = singular_values(z, centred=True) ** 2
    if weight.sum() == 0:
        return 0.0
    return float(torch.special.entr(weight / weight.sum()).sum().exp())
