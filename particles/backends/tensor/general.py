"""Laws of any parts on tensors: blocks of rows, whose scores, weights and sums can be differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...normalisations import Softmax
from ...space import Space
from ..engine import Engine
from ..sinkhorn import potentials, symmetric_scores
from . import pieces
from .field import TensorField
from .precision import full_precision

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
BLOCK = 1 << 22  # numbers that exist for a block of rows at a time


class GeneralTensorField:
    """See `Field` and `TensorField`: the same methods, for laws with any score, prior, normalisation, mask and gate."""

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
    ) -> None:
        law.check_tokens(shape[1])
        p = law.projections(shape[2])
        self._symmetric = all(symmetric_scores(law, p, head) for head in range(law.heads))
        self._law, self._space = law, space
        maps: dict[str, Any] = {"query": p.score_scale, "key": 1.0}
        if p.query is not None and p.key is not None:
            maps = {"query": np.concatenate(p.query), "key": np.concatenate(p.key)}
            maps["query_bias"] = None if p.query_bias is None else np.concatenate(p.query_bias)
        plain = replace(
            law, beta=1.0, score="dot", normalisation="softmax", mask="none", prior=None, rotary=None, gate=None,
            multipliers=None, shift=0.0, **maps,
        )  # fmt: skip
        self._tensors = TensorField(plain, space, weights, shape, dtype, engine)
        self.device, self.dtype = self._tensors.device, self._tensors.dtype
        self.load, self.host = self._tensors.load, self._tensors.host
        self._weights = self.load(np.broadcast_to(weights, shape[:2]))
        self._gate = None if law.gate is None else self.load(law.gate.matrix)
        bias = None if law.gate is None else law.gate.bias
        self._gate_bias = None if bias is None else self.load(bias)
        self._most_iterations = 0

    @torch.no_grad()
    def velocity(self, t: float, positions: Tensor | Array, out: Tensor | Array) -> None:
        """See `Field.velocity`."""
        self._tensors.write(self.drift(self._tensors.loaded(positions)), out)

    @torch.no_grad()
    @full_precision()
    def attention(self, t: float, positions: Tensor | Array, out: Tensor | Array) -> None:
        """See `Field.attention`."""
        self._tensors.write(self._attention(self._tensors.loaded(positions)), out)

    @full_precision()
    def drift(self, positions: Tensor) -> Tensor:
        """The drift (replicas, tokens, dimension), a differentiable function of the positions."""
        space: Any = self._space  # its methods take tensors as well
        points = space.retract(positions)
        return space.project(points, self._attention(points))

    @full_precision()
    def attended(self, positions: Tensor) -> Tensor:
        """`attention` (replicas, tokens, dimension) as a differentiable function of positions of that shape."""
        return self._attention(positions)

    @torch.no_grad()
    @full_precision()
    def statistics(self, positions: Tensor | Array) -> tuple[Any, Any]:
        """See `Field.statistics`; tensors for a tensor and arrays for an array."""
        query, key, _ = self._features(self._tensors.loaded(positions))
        potential = self._potentials(query, key)
        normalisation = self._law.normalisation if self._law.normalisation.stochastic else Softmax()
        found = []
        for rows, columns in self._units(query, key):
            scores, measure = self._pairs(query, key, potential, rows, columns)
            weights = pieces.weights(normalisation, scores, measure, key.shape[2])
            logs = torch.where(weights > 0, weights, 1.0).log()
            found.append((pieces.log_sums(scores, measure), -(weights * logs).sum(-1)))
        pair = tuple(torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
        return pair if isinstance(positions, Tensor) else (self.host(pair[0]), self.host(pair[1]))  # type: ignore[return-value]

    def record(self) -> dict[str, Any]:
        """The most iterations that sinkhorn took for a drift."""
        return {"sinkhorn_iterations": self._most_iterations} if self._law.normalisation.name == "sinkhorn" else {}

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = self._features(x)
        potential = self._potentials(query, key)
        parts = []
        for rows, columns in self._units(query, key):

            def part(
                query: Tensor, key: Tensor, value: Tensor, potential: Tensor, rows=rows, columns=columns
            ) -> Tensor:
                scores, measure = self._pairs(query, key, potential, rows, columns)
                weights = pieces.weights(self._law.normalisation, scores, measure, key.shape[2])
                return weights @ value[:, :, columns]

            parts.append(_kept_small(part, query, key, value, potential))
        return self._joined(x, torch.cat(parts, dim=2))

    def _joined(self, x: Tensor, heads: Tensor) -> Tensor:
        """The attention from what the heads give, (replicas, heads, tokens, value_dimension), with the gate."""
        if self._law.gate is None or self._gate is None:
            return self._tensors.joined(heads.transpose(1, 2).flatten(2))
        on, opened = self._law.gate.on, torch.sigmoid(_affine(x, self._gate, self._gate_bias))
        if on == "heads":
            heads = heads * opened.mT[..., None]
        joined = heads.transpose(1, 2).flatten(2)
        f = self._tensors.joined(joined * opened if on == "values" else joined)
        return f * opened if on == "output" else f

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (replicas, heads, tokens, components), turned as the law has it."""
        query, key, value = self._tensors.projected(x)
        if self._law.rotary is not None:
            query, key = pieces.rotated(query, self._law.rotary), pieces.rotated(key, self._law.rotary)
        if self._law.score.name == "cosine":
            query, key = pieces.directions(query), pieces.directions(key)
        return query, key, value

    def _pairs(
        self, query: Tensor, key: Tensor, potential: Tensor, rows: slice, columns: slice
    ) -> tuple[Tensor, Tensor]:
        """Scores with prior and potential (replicas, heads, rows, columns), and a_j m_ij xi_ij, or for one head."""
        law = self._law
        scores = pieces.scores(law.score, query[:, :, rows], key[:, :, columns], law.score_beta)
        ranges = (rows.start, rows.stop, columns.start, columns.stop)
        if law.prior is not None:
            logs = np.stack([law.prior.logs(*ranges, head, law.heads) for head in range(law.heads)])
            scores = scores + torch.as_tensor(logs, dtype=query.dtype, device=self.device)
        if potential.numel():
            scores = scores + potential[:, :, None, columns]
        measure = self._weights[:, None, None, columns].to(query.dtype)
        if law.mask.name != "none":
            measure = measure * torch.as_tensor(law.mask.factors(*ranges), dtype=query.dtype, device=self.device)
        if law.multipliers is not None:
            xi = [[law.multipliers.factors(r, h, *ranges) for h in range(law.heads)] for r in range(len(query))]
            measure = measure * torch.as_tensor(np.array(xi), dtype=query.dtype, device=self.device)
        return scores, measure.expand(-1, -1, rows.stop - rows.start, -1)

    def _potentials(self, query: Tensor, key: Tensor) -> Tensor:
        """What sinkhorn adds to the scores of every token, (replicas, heads, tokens); empty for other laws."""
        normalisation = self._law.normalisation
        if normalisation.name != "sinkhorn":
            return query.new_zeros(0)
        double = query.double(), key.double()

        def log_sums(query: Tensor, key: Tensor, additional: Tensor) -> Tensor:
            parts = []
            for rows, columns in self._units(query, key):

                def part(query: Tensor, key: Tensor, additional: Tensor, rows=rows, columns=columns) -> Tensor:
                    return pieces.log_sums(*self._pairs(query, key, additional, rows, columns))

                parts.append(_kept_small(part, query, key, additional))
            return torch.cat(parts, dim=2)

        found, iterations = potentials(
            normalisation,
            lambda v: log_sums(*double, v),
            lambda u: log_sums(*double[::-1], u),
            query.new_zeros(query.shape[:3], dtype=torch.float64),
            self._symmetric,
        )
        self._most_iterations = max(self._most_iterations, iterations)
        return found.to(query.dtype)

    def _units(self, query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice]]:
        """Some rows, and the tokens beyond which they see nobody."""
        replicas, heads, tokens, components = query.shape
        per_row = replicas * heads * tokens * (components if self._law.score.distant else 1)
        step = max(1, BLOCK // per_row)
        for first in range(0, tokens, step):
            last = min(first + step, tokens)
            yield slice(first, last), slice(*self._law.mask.span(first, last, tokens))


def _kept_small(part: Any, *tensors: Tensor) -> Tensor:
    """part(*tensors); what backward needs is computed again rather than kept, except under transforms of torch.func."""
    tracked = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    transformed = torch._C._functorch.maybe_current_level() is not None
    if tracked and not transformed:
        return checkpoint(part, *tensors, use_reentrant=False)
    return part(*tensors)


def _affine(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    y = x @ matrix.T
    return y if bias is None else y + bias
