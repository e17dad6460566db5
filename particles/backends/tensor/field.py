"""A law prepared for tensors: `Field` on this processor or a GPU, and the same drift as a differentiable function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ....errors import InvalidInput, MissingExtra
from ...space import Space
from ..engine import Engine

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise MissingExtra('backend = "torch" needs PyTorch: pip install "attndyn[torch]"') from error

from . import differentiable
from .precision import full_precision
from .rows import Rows

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]


class TensorField:
    """See `Field`; positions, drifts and what is written to are tensors on the device of the engine, or arrays.

    The same input gives the same bits again on the same device with the same number of torch's threads and the same
    version of torch. Other threads, another device or another version may change the last bits, and so may, in
    float32 and float64 alike, the number of replicas that are computed together.
    """

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
        attend: Callable[..., Rows] = differentiable.attend,
    ) -> None:
        """`attend` may be another than that of `differentiable`; weights may be those of more tokens than `shape`."""
        self.device = _device(engine.device)
        self.dtype = {"float64": torch.float64, "float32": torch.float32}[np.dtype(dtype).name]
        self._law: Attention = law
        self._space: Any = space  # its methods take tensors as well
        self._attend_to = attend
        weights = np.broadcast_to(weights, (shape[0], weights.shape[-1]))
        # equal weights change log Z alone
        equal = bool((weights == weights[:, :1]).all())
        self._weights = None if equal else self.load(weights)
        self._log_weight = float(np.log(weights[0, 0])) if equal else 0.0
        p = law.projections(shape[2])
        self._query, self._key, self._value = (
            (self._flat(matrix), self._flat(bias), scale)
            for matrix, bias, scale in (
                (p.query, p.query_bias, law.beta * p.score_scale),
                (p.key, p.key_bias, 1.0),
                (p.value, p.value_bias, p.value_scale),
            )
        )
        self._output = None if p.output is None else self.load(p.output)
        self._output_bias = None if p.output_bias is None else self.load(p.output_bias)

    def load(self, array: Array) -> Tensor:
        """A copy of an array as a tensor on the device, in the number type of the field."""
        return torch.tensor(np.asarray(array), dtype=self.dtype, device=self.device)

    def host(self, tensor: Tensor) -> Array:
        """The numbers of a tensor as an array."""
        return tensor.detach().cpu().numpy()

    @torch.no_grad()
    def velocity(self, t: float, positions: Tensor | Array, out: Tensor | Array) -> None:
        """See `Field.velocity`."""
        self.write(self.drift(self.loaded(positions)), out)

    @torch.no_grad()
    @full_precision()
    def attention(self, t: float, positions: Tensor | Array, out: Tensor | Array) -> None:
        """See `Field.attention`."""
        self.write(self._attention(self.loaded(positions)), out)

    @full_precision()
    def drift(self, positions: Tensor) -> Tensor:
        """The drift (replicas, tokens, dimension) of positions of that shape, a differentiable function of them."""
        points = self._space.retract(positions)
        return self._space.project(points, self._attention(points))

    @full_precision()
    def attended(self, positions: Tensor) -> Tensor:
        """`attention` (replicas, tokens, dimension) as a differentiable function of positions of that shape."""
        return self._attention(positions)

    @torch.no_grad()
    @full_precision()
    def statistics(self, positions: Tensor | Array) -> tuple[Any, Any]:
        """See `Field.statistics`; tensors for a tensor and arrays for an array.

        The entropy of a row is log Z_i - sum_j P_ij (s_ij + log a_j).
        sum_j P_ij s_ij is <q_i, sum_j P_ij k_j>, so that the row's average key and average log a_j are all it needs.
        """
        queries, keys, _ = self.projected(self.loaded(positions))
        log_weights = keys.new_full(keys[..., :1].shape, self._log_weight)
        if self._weights is not None:
            logs = torch.where(self._weights > 0, self._weights, 1.0).log()
            log_weights = logs[:, None, :, None].expand_as(log_weights)
        rows = self._attend(queries, keys, torch.cat([keys, log_weights], dim=-1))
        mean = (queries * rows.average[..., :-1]).sum(-1) + rows.average[..., -1]
        entropy = torch.where(rows.log_partition == -torch.inf, 0.0, rows.log_partition - mean)
        pair = rows.log_partition, entropy
        return pair if isinstance(positions, Tensor) else (self.host(pair[0]), self.host(pair[1]))

    def loaded(self, positions: Tensor | Array) -> Tensor:
        """Positions as a tensor on the device, in the number type of the field."""
        return torch.as_tensor(positions, dtype=self.dtype, device=self.device)

    def write(self, drift: Tensor, out: Tensor | Array) -> None:
        """Write a drift into a tensor or an array."""
        if isinstance(out, Tensor):
            out.copy_(drift)
        else:
            out[...] = self.host(drift)

    def _attention(self, x: Tensor) -> Tensor:
        law = self._law
        average, log_partition = self._attend(*self.projected(x))
        if law.normalisation.name == "none":
            average = average * (log_partition - law.shift).exp()[..., None]
        return self.joined(average.transpose(1, 2).flatten(2))

    def joined(self, heads: Tensor) -> Tensor:
        """The attention (replicas, tokens, dimension) from the values of all heads side by side."""
        if self._output is None:
            return heads if self._output_bias is None else heads + self._output_bias
        return torch.nn.functional.linear(heads, self._output, self._output_bias)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Rows:
        rows = self._attend_to(queries, keys, values, self._weights, self._law.mask.name)
        return rows._replace(log_partition=rows.log_partition + self._log_weight)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries times beta, keys and values, each (replicas, heads, tokens, head or value dimension)."""
        query, key, value = (self._map(x, *map_) for map_ in (self._query, self._key, self._value))
        return query, key, value

    def _map(self, x: Tensor, matrix: Tensor | None, bias: Tensor | None, scale: float) -> Tensor:
        y = x if matrix is None else torch.nn.functional.linear(x, matrix, bias)
        y = y + bias if matrix is None and bias is not None else y
        y = y if scale == 1.0 else scale * y
        return y.unflatten(-1, (self._law.heads, -1)).transpose(1, 2)

    def _flat(self, matrix: Array | None) -> Tensor | None:
        """The heads of a matrix or bias one below the other."""
        return None if matrix is None else self.load(matrix.reshape(-1, *matrix.shape[2:]))


def _device(name: str) -> torch.device:
    if name != "cpu":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = int(name.partition(":")[2] or 0)
        if count == 0:
            raise InvalidInput(f"device {name!r} needs an NVIDIA GPU and a PyTorch with CUDA; there is none")
        if number >= count:
            raise InvalidInput(f"device must be cpu or cuda:0 to cuda:{count - 1}; got {name!r}")
    return torch.device(name)
