"""The sums of `bounded` by matrix products, a block of keys by queries at a time.

A block has a row for every key and a column for every query, so that both products have their short side, the
dimension, where the matrix library likes it. The reference of a query is subtracted within the product, as one more
component. The sizes of a block depend on the system alone: a replica's numbers are those it would have by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .bounded import Pairs

# bytes in a block: on a processor it should stay in the cache, on a GPU it should keep all of it busy
BLOCK = {"cpu": 1 << 21, "cuda": 1 << 27}
MOST_KEYS = {"cpu": 1 << 10, "cuda": 1 << 13}


def sums(pairs: Pairs, reference: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
    """See `bounded.Kernels.sums`."""
    queries = torch.cat([pairs.queries, -reference[..., None]], dim=2).mT.contiguous()
    keys = torch.cat([pairs.keys, torch.ones_like(pairs.keys[..., :1])], dim=2)
    values = torch.cat([pairs.values, torch.ones_like(pairs.values[..., :1])], dim=2)
    if pairs.weights is not None:
        values = values * pairs.weights[..., None]
    values = values.mT.contiguous()
    total = queries.new_zeros(queries.shape[0], values.shape[1], queries.shape[2])
    for s, i, j, block in _scores(pairs, keys, queries):
        if cut:
            block.clamp_(max=0.0)
        _hide(block.exp_(), pairs, i, j, 0.0)
        total[s, :, i] += torch.bmm(values[s, :, j], block)
    return total[:, :-1].mT, total[:, -1]


def highest(pairs: Pairs) -> Tensor:
    """See `bounded.Kernels.highest`."""
    top = pairs.queries.new_full(pairs.queries.shape[:2], -torch.inf)
    for s, i, j, block in _scores(pairs, pairs.keys, pairs.queries.mT):
        if pairs.weights is not None:
            block.masked_fill_(pairs.weights[s, j, None] == 0, -torch.inf)
        _hide(block, pairs, i, j, -torch.inf)
        top[s, i] = torch.maximum(top[s, i], block.amax(dim=1))
    return top


def _scores(pairs: Pairs, keys: Tensor, queries: Tensor) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """The products of keys (systems, keys, components) and queries (systems, components, queries) by blocks.

    Gives slices of the systems, of the queries and of the keys, and the block (systems, keys, queries), which may be
    written to. Blocks of which nothing is seen are left out.
    """
    systems, many, few = keys.shape[0], keys.shape[1], queries.shape[2]
    together, high, wide = _block_shape(systems, many, few, keys)
    room = keys.new_empty(together * high * wide)
    for s in range(0, systems, together):
        one = slice(s, min(s + together, systems))
        for i in range(0, few, wide):
            two = slice(i, min(i + wide, few))
            last = min(many, two.stop - pairs.ahead) if pairs.mask == "causal" else many
            for j in range(0, last, high):
                three = slice(j, min(j + high, many))
                shape = (one.stop - s, three.stop - j, two.stop - i)
                block = room[: shape[0] * shape[1] * shape[2]].view(shape)
                yield one, two, three, torch.bmm(keys[one, three], queries[one, :, two], out=block)


def _block_shape(systems: int, keys: int, queries: int, like: Tensor) -> tuple[int, int, int]:
    """How many systems, keys and queries a block has."""
    most = BLOCK[like.device.type] // like.element_size()
    high = min(keys, MOST_KEYS[like.device.type])
    wide = min(queries, max(1, most // MOST_KEYS[like.device.type]))
    return min(systems, max(1, most // (high * wide))), high, wide


def _hide(block: Tensor, pairs: Pairs, i: slice, j: slice, value: float) -> None:
    """Put `value` where a query, a column, does not see a key, a row."""
    ahead = pairs.ahead + j.start - i.start
    rows, columns = block.shape[1:]
    if pairs.mask == "without-self":
        block.diagonal(ahead, 1, 2).fill_(value)
    elif pairs.mask == "causal" and ahead + rows > 1:
        hidden = torch.ones((rows, columns), dtype=torch.bool, device=block.device).tril_(ahead - 1)
        block.masked_fill_(hidden, value)
