"""`rows.attend` with derivatives, in both modes and under vmap, in memory of the tokens and of a block.

    ds_ij = <dq_i, k_j> + <q_i, dk_j>,   dlog Z_i = sum_j P_ij ds_ij
    daverage_i = sum_j P_ij (dv_j + (ds_ij - dlog Z_i) v_j)

and backwards, with the gradients g_i of the averages and h_i of log Z_i,

    g_ij = P_ij (<g_i, v_j> - <g_i, average_i> + h_i),   of s_ij, hence of q_i: sum_j g_ij k_j, of k_j: sum_i g_ij q_i,
    of v_j: sum_i P_ij g_i

The P_ij are computed again from log Z_i, for a block of queries at a time. All of it is differentiable once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from . import rows
from .precision import full_precision
from .rows import Rows

BLOCK = 1 << 21  # pairs whose P_ij exist at a time


def attend(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None, mask: str = "none") -> Rows:
    """As `rows.attend`, differentiable in queries, keys and values."""
    return Rows(*_Attend.apply(queries, keys, values, weights, mask))


class _Attend(torch.autograd.Function):
    """See `attend`; the arguments in the same order."""

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None, mask: str) -> Any:
        # no views: what forward mode attaches to them must have their layout
        attended = rows.attend(queries, keys, values, weights, mask)
        return tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in attended)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.mask = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.save_for_forward(*tensors, *output)

    @staticmethod
    @full_precision()
    def backward(ctx: Any, grad_average: Tensor, grad_log: Tensor) -> Any:
        queries, keys, values, weights, average, log_partition = ctx.saved_tensors
        level = grad_log - (grad_average * average).sum(-1)
        of_queries = []
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        for i, p in _blocks(queries, keys, weights, ctx.mask, log_partition):
            of_scores = p * (grad_average[..., i, :] @ values.mT + level[..., i, None])
            of_queries.append(of_scores @ keys)
            of_keys = of_keys + of_scores.mT @ queries[..., i, :]
            of_values = of_values + p.mT @ grad_average[..., i, :]
        return torch.cat(of_queries, dim=-2), of_keys, of_values, None, None

    @staticmethod
    @full_precision()
    def jvp(ctx: Any, of_queries: Any, of_keys: Any, of_values: Any, *_: None) -> Any:
        queries, keys, values, weights, _, log_partition = ctx.saved_tensors
        averages, logs = [], []
        for i, p in _blocks(queries, keys, weights, ctx.mask, log_partition):
            weighted = p * _scores_moved(queries[..., i, :], keys, of_queries, of_keys, i)
            mean = weighted.sum(-1, keepdim=True)
            moved = (weighted - p * mean) @ values
            averages.append(moved if of_values is None else moved + p @ of_values)
            logs.append(mean[..., 0])
        return torch.cat(averages, dim=-2), torch.cat(logs, dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: Any, queries: Any, keys: Any, values: Any, weights: Any, mask: str) -> Any:
        def folded(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            """The mapped axis joined with that of the replicas."""
            if tensor is None:
                return None
            tensor = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            return tensor.flatten(0, 1)

        tensors = map(folded, (queries, keys, values, weights), in_dims[:4])
        outputs = _Attend.apply(*tensors, mask)
        return tuple(output.unflatten(0, (info.batch_size, -1)) for output in outputs), (0, 0)


def _scores_moved(queries: Tensor, keys: Tensor, of_queries: Tensor | None, of_keys: Tensor | None, i: slice) -> Any:
    """ds_ij of a block of queries."""
    moved = 0.0 if of_queries is None else of_queries[..., i, :] @ keys.mT
    return moved if of_keys is None else moved + queries @ of_keys.mT


def _blocks(
    queries: Tensor, keys: Tensor, weights: Tensor | None, mask: str, log_partition: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the queries and their P_ij (replicas, heads, queries, keys)."""
    tokens, others = queries.shape[-2], keys.shape[-2]
    wide = max(1, BLOCK // max(1, keys[..., 0].numel()))
    log_weights = None if weights is None else weights.log()[..., None, None, :]
    base = torch.where(log_partition == -torch.inf, 0.0, log_partition)[..., None]
    for start in range(0, tokens, wide):
        i = slice(start, min(start + wide, tokens))
        scores = queries[..., i, :] @ keys.mT
        if log_weights is not None:
            scores = scores + log_weights
        if mask != "none":
            seen = _visible(mask, i, others, queries.device)
            scores = torch.where(seen, scores, -torch.inf)
        yield i, (scores - base[..., i, :]).exp()


def _visible(mask: str, i: slice, others: int, device: torch.device) -> Tensor:
    number = torch.arange(i.start, i.stop, device=device)[:, None]
    other = torch.arange(others, device=device)
    return other <= number if mask == "causal" else other != number
