"""Attention of some tokens over some others, and how the results over two sets of keys are merged.

    average_i = sum_j P_ij v_j,   log Z_i = log sum_j a_j exp(<q_i, k_j>),   P_ij = a_j exp(<q_i, k_j>) / Z_i

Queries and keys may be parts of one system, in which the first query has the number `first_query` and the first key
`first_key`: the masks compare these numbers. Where keys come in parts,

    rows = attend(queries, keys_0, values_0, weights_0, mask, first_query, first_key_0)
    rows = merge(rows, attend(queries, keys_1, values_1, weights_1, mask, first_query, first_key_1))     and so on

is the attention over all of them, in any order. Unnormalised attention is exp(log Z_i) average_i. Nothing here holds
an array of queries by keys: memory is that of the arguments and of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import blocks, bounded
from .precision import full_precision

# where blocks were measured to be faster on a processor than torch's own kernel: small heads, many pairs in a system
SMALL_HEAD, MANY_PAIRS = 4, 1 << 22
LARGEST_FUSED = {torch.float32: 16, torch.float64: 128}


class Rows(NamedTuple):
    """What queries receive from some keys.

    average       : (replicas, heads, queries, value_dimension), zero where a query sees nobody
    log_partition : (replicas, heads, queries), -inf where a query sees nobody
    """

    average: Tensor
    log_partition: Tensor


@full_precision()
def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    weights: Tensor | None = None,
    mask: str = "none",
    first_query: int = 0,
    first_key: int = 0,
) -> Rows:
    """What the queries receive from the keys; not differentiable.

    queries : (replicas, heads, queries, head_dimension), with beta in them
    keys    : (replicas, heads, keys, head_dimension)     values : (replicas, heads, keys, value_dimension)
    weights : (replicas, keys), nonnegative; None for 1 each
    mask    : "none", "causal" or "without-self"
    """
    replicas, heads, tokens, _ = queries.shape
    ahead = first_key - first_query
    mask = _effective(mask, ahead, tokens, keys.shape[2])
    method = choose(queries, keys, values, mask, ahead)
    if method == "torch":
        return _torch_attention(queries, keys, values, weights, mask)
    if weights is not None:
        weights = weights[:, None].expand(-1, heads, -1).flatten(0, 1)
    pairs = bounded.Pairs(queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), weights, mask, ahead)
    average, log_partition = bounded.attend(pairs, _kernels(method))
    return Rows(average.unflatten(0, (replicas, heads)), log_partition.unflatten(0, (replicas, heads)))


def merge(one: Rows, other: Rows) -> Rows:
    """What the same queries receive from the keys of both."""
    log_partition = torch.logaddexp(one.log_partition, other.log_partition)
    base = torch.where(log_partition == -torch.inf, 0.0, log_partition)
    share, rest = ((rows.log_partition - base).exp()[..., None] for rows in (one, other))
    return Rows(share * one.average + rest * other.average, log_partition)


def choose(queries: Tensor, keys: Tensor, values: Tensor, mask: str, ahead: int) -> str:
    """How it is computed: "blocks" of matrix products, "torch"'s own kernel, or "fused", ours for GPUs."""
    dimension, width = queries.shape[3], values.shape[3]
    in_torch = dimension == width and (mask == "none" or (mask == "causal" and ahead == 0))
    by_blocks = dimension <= SMALL_HEAD and queries.shape[2] * keys.shape[2] >= MANY_PAIRS
    if queries.is_cuda:
        fits = max(dimension, width) <= LARGEST_FUSED[queries.dtype]
        return "fused" if fits and _has_triton() else "blocks"
    return "torch" if in_torch and not by_blocks else "blocks"


def _kernels(method: str) -> bounded.Kernels:
    if method == "blocks":
        return blocks
    from . import fused  # imports triton

    return fused


def _has_triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _effective(mask: str, ahead: int, queries: int, keys: int) -> str:
    """The mask, or "none" where it hides no pair of these queries and keys."""
    all_before = mask == "causal" and ahead + keys <= 1
    apart = mask == "without-self" and (ahead >= queries or ahead + keys <= 0)
    return "none" if all_before or apart else mask


def _torch_attention(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None, mask: str) -> Rows:
    """By the kernel of scaled_dot_product_attention, which itself keeps the partition to itself."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    causal = mask == "causal"
    if weights is None:
        return Rows(*kernel(queries, keys, values, 0.0, causal, scale=1.0))
    log_weights = weights.log()[:, None, None, :]
    average, log_partition = kernel(queries, keys, values, 0.0, causal, attn_mask=log_weights, scale=1.0)
    tokens, last = queries.shape[2], keys.shape[2] - 1
    seen = weights.cumsum(1)[:, torch.arange(tokens).clamp(max=last)] if causal else weights.sum(1, keepdim=True)
    nobody = (seen == 0)[:, None]  # there the kernel's answers are no averages
    return Rows(average.masked_fill(nobody[..., None], 0.0), log_partition.masked_fill(nobody, -torch.inf))
