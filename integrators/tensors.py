"""Arithmetic of torch tensors: states stay on the device, and one number per step comes back, the error norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .stages import step_of, velocity

Array = NDArray[np.floating]
Tensor = torch.Tensor


class Tensors:
    """See `Arithmetic`. The field knows the device, and adds sums over tokens up where these lie in several processes.

    field : has load and host of `TensorField`, and add_up, which for tokens in one process does nothing
    """

    def __init__(self, field: Any) -> None:
        self.load, self.host = field.load, field.host
        self._add_up = getattr(field, "add_up", None)
        self._step = step_of(combine=combine, retract=retract, velocity=velocity, error_norm=self.error_norm)

    def zeros(self, like: Tensor, copies: int | None = None) -> Tensor:
        """Zeros of the type of `like` on its device."""
        return like.new_zeros(like.shape if copies is None else (copies, *like.shape))

    def finite(self, state: Tensor) -> bool:
        """Whether no component is infinite or NaN, in any process."""
        # one pass; but numbers may be finite where their sum is not
        if self._add_up is None and bool(torch.isfinite(state.sum())):
            return True
        wrong = (~torch.isfinite(state)).sum().to(torch.float64)
        return not bool(wrong if self._add_up is None else self._add_up(wrong))

    def combine(self, out: Tensor, x: Tensor, h: float, coefficients: Array, slopes: Tensor, count: int) -> None:
        """See `stages.combine`."""
        combine(out, x, h, coefficients, slopes, count)

    def retract(self, x: Tensor, radius: float) -> None:
        """See `stages.retract`."""
        retract(x, radius)

    def attempt(self, field: Any, *arguments: Any) -> float:
        """Try a step."""
        return self._step(field, *arguments)

    def fill_slopes(self, field: Any, *arguments: Any) -> None:
        """All are there."""

    def error_norm(
        self,
        x: Tensor,
        moved: Tensor,
        h: float,
        slopes: Tensor,
        error: Array,
        low: Array,
        atol: float,
        rtol: float,
    ) -> float:
        """See `stages.error_norm`."""
        largest = torch.maximum(_squares(x), _squares(moved))
        scale = atol + rtol * largest.sqrt()
        sums = [((_squares(h * _weighted(slopes, error)) + (largest - largest)) / scale**2).sum(dim=1)]
        if low.size:
            sums.append((_squares(h * _weighted(slopes, low)) / scale**2).sum(dim=1))
        count = torch.full_like(sums[0], x.shape[1])
        total = torch.stack([*sums, count])  # (estimates + 1, replicas)
        if self._add_up is not None:
            total = self._add_up(total)
        high = total[0]
        if low.size:
            high = torch.where(high > 0, high * (high / (high + 0.01 * total[1])), high)
        return float((high / total[-1]).sqrt().max())  # the maximum of torch is NaN where one is


def combine(out: Tensor, x: Tensor, h: float, coefficients: Array, slopes: Tensor, count: int) -> None:
    """out = x + h sum_{s < count} coefficients_s slopes_s, tensors (replicas, tokens, dimension)."""
    out.copy_(x)
    for s in range(count):
        if coefficients[s] != 0.0:
            out.add_(slopes[s], alpha=h * float(coefficients[s]))


def retract(x: Tensor, radius: float) -> None:
    """Bring x (replicas, tokens, dimension) back to the sphere of this radius, in place; radius 0 is R^d."""
    if radius > 0.0:
        x *= (radius / _squares(x).sqrt()).to(x.dtype)[..., None]


def _squares(x: Tensor) -> Tensor:
    """|x|^2 in float64, (replicas, tokens)."""
    return x.to(torch.float64).square().sum(dim=-1)


def _weighted(slopes: Tensor, weights: Array) -> Tensor:
    """sum_s weights_s slopes_s in float64; a weight of 0 counts, so that what is not finite is seen."""
    total = torch.zeros(slopes.shape[1:], dtype=torch.float64, device=slopes.device)
    for slope, weight in zip(slopes, weights, strict=False):
        total.add_(slope.to(torch.float64), alpha=float(weight))
    return total
