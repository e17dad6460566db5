"""One system on many processes: every one moves its own tokens, and keys and values go round in a ring.

Process r of P holds the tokens first_r .. first_{r+1}, their positions, slopes and queries. For a drift, the keys and
values of its tokens travel from process to process; each process adds what its queries receive from those that are
just there, while the next are on their way. Work and memory of a process are those of tokens / P. The result is that of
one process, up to the order of sums.

The process group is torch.distributed's, which must have been started (`scenarios/processes.py` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from ....errors import ComputationFailed, InvalidInput
from ...space import Space
from ..engine import Engine
from . import rows
from .field import TensorField
from .rows import Rows

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]


@contextmanager
def together() -> Iterator[None]:
    """What all processes do at once. Raises ComputationFailed where one of them is not there any more."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0]
        raise ComputationFailed(f"a process of the run was lost: {reason}") from error


@dataclass(frozen=True)
class Ring:
    """The processes, and which tokens are whose: as equal in number as can be, in their order."""

    rank: int
    size: int
    tokens: int

    def share(self, rank: int) -> slice:
        """The tokens of a process."""
        rank %= self.size
        return slice(self.tokens * rank // self.size, self.tokens * (rank + 1) // self.size)

    @property
    def own(self) -> slice:
        """The tokens of this process."""
        return self.share(self.rank)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        total = values.clone()
        with together():
            dist.all_reduce(total)
        return total

    def gather(self, part: Tensor) -> Tensor:
        """The tokens of all processes, (replicas, tokens, ...), from the tokens of each."""
        most = -(-self.tokens // self.size)
        padded = part.new_zeros((part.shape[0], most, *part.shape[2:]))
        padded[:, : part.shape[1]] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with together():
            dist.all_gather(parts, padded)
        sizes = [self.share(rank).stop - self.share(rank).start for rank in range(self.size)]
        return torch.cat([whole[:, :size] for whole, size in zip(parts, sizes, strict=True)], dim=1)

    def round(self, mine: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The tokens of this process, then those of each other process as they arrive: (whose, tensor).

        mine : (replicas, tokens of this process, components). While the caller works on one part, the next arrives.
        """
        held = mine.contiguous()
        for turn in range(self.size):
            transfers, arriving = [], None
            if turn + 1 < self.size:
                coming = self.share(self.rank - turn - 1)
                arriving = held.new_empty((held.shape[0], coming.stop - coming.start, held.shape[2]))
                onwards = dist.P2POp(dist.isend, held, (self.rank + 1) % self.size)
                inwards = dist.P2POp(dist.irecv, arriving, (self.rank - 1) % self.size)
                with together():
                    transfers = dist.batch_isend_irecv([onwards, inwards])
            yield self.share(self.rank - turn), held
            with together():
                for transfer in transfers:
                    transfer.wait()
            if arriving is not None:
                held = arriving


class RingField:
    """See `Field`; its states are tensors of this process's tokens alone, (replicas, tokens / processes, dimension)."""

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
    ) -> None:
        if not dist.is_initialized() or dist.get_world_size() != engine.processes:
            raise InvalidInput(f"processes = {engine.processes} needs as many processes in torch.distributed's group")
        if shape[1] < engine.processes:
            raise InvalidInput(f"processes must be at most the number of tokens, {shape[1]}; got {engine.processes}")
        self._ring = ring = Ring(dist.get_rank(), engine.processes, shape[1])
        own = (shape[0], ring.own.stop - ring.own.start, shape[2])
        weights = np.broadcast_to(weights, shape[:2])
        self._field = TensorField(law, space, weights, own, dtype, engine, self._attend)
        self.velocity, self.attention = self._field.velocity, self._field.attention

    def load(self, array: Array) -> Tensor:
        """The tokens of this process, from the positions of all (replicas, tokens, dimension)."""
        return self._field.load(array[:, self._ring.own])

    def host(self, tensor: Tensor) -> Array:
        """The positions of all tokens, in every process, (replicas, tokens, dimension)."""
        return self._field.host(self._ring.gather(tensor.detach()))

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return self._ring.add_up(values)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """Not from a field of many processes: its positions are those of some tokens alone."""
        raise InvalidInput("statistics of the attention are computed in one process")

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None, mask: str) -> Rows:
        """See `rows.attend`: what this process's queries receive from the keys of all, whose weights it has."""
        heads, own = keys.shape[1], self._ring.own
        sizes = [heads * keys.shape[3], heads * values.shape[3]]
        mine = torch.cat([part.transpose(1, 2).flatten(2) for part in (keys, values)], dim=2)
        received = None
        for share, packed in self._ring.round(mine):
            parts = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in packed.split(sizes, dim=2))
            key, value = (part.contiguous() for part in parts)
            weight = None if weights is None else weights[:, share].contiguous()
            part = rows.attend(queries, key, value, weight, mask, own.start, share.start)
            received = part if received is None else rows.merge(received, part)
        assert received is not None
        return received
