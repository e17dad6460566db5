"""Sums of exponentials below a bound that is known beforehand, or once more below the largest exponent.

From every exponent the Cauchy-Schwarz bound |q_i| max_j |k_j| is subtracted, so that no running maximum is needed; on
a sphere with Q = K = I it is the largest exponent itself. Rows whose bound is so loose that their sum nearly
underflows are computed again, below their largest exponent.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# below these sums, terms that were lost to underflow could be seen
LEAST_SUM = {torch.float64: 1e-280, torch.float32: 1e-28}


class Pairs(NamedTuple):
    """Queries and keys that meet, every replica and head a system of its own.

    queries : (systems, queries, head_dimension)     keys    : (systems, keys, head_dimension)
    values  : (systems, keys, value_dimension)       weights : (systems, keys), or None for 1 each
    ahead   : the number of the first key less that of the first query
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    weights: Tensor | None
    mask: str
    ahead: int


class Kernels(Protocol):
    """The modules `blocks` and `fused`."""

    def sums(self, pairs: Pairs, reference: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
        """sum_j a_j w_ij v_j (systems, queries, value_dimension) and sum_j a_j w_ij (systems, queries).

        w_ij = exp(<q_i, k_j> - reference_i), at most 1 with `cut`: what lies above, a key of no weight, is cut.
        """

    def highest(self, pairs: Pairs) -> Tensor:
        """The largest exponent of a key with weight that a query sees, (systems, queries); -inf where there is none."""


def attend(pairs: Pairs, kernels: Kernels) -> tuple[Tensor, Tensor]:
    """The average value (systems, queries, value_dimension) and the log partition (systems, queries)."""
    lengths = torch.linalg.vector_norm(pairs.queries, dim=2)
    reference = lengths * torch.linalg.vector_norm(pairs.keys, dim=2).amax(dim=1, keepdim=True)
    numerator, partition = kernels.sums(pairs, reference, cut=False)
    loose = partition < LEAST_SUM[partition.dtype]
    if loose.any():
        highest = kernels.highest(pairs)
        highest = torch.where(highest == -torch.inf, 0.0, highest)  # a row that sees nobody
        again, partition_again = kernels.sums(pairs, highest, cut=True)
        numerator = torch.where(loose[..., None], again, numerator)
        partition = torch.where(loose, partition_again, partition)
        reference = torch.where(loose, highest, reference)
    average = numerator / torch.where(partition == 0, 1.0, partition)[..., None]
    return average, reference + partition.log()
