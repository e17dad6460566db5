"""The Jacobian of every law by torch: forward mode and reverse mode of the differentiable field of the law."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import MissingExtra
from ..backends import Engine
from ..block import Law, in_force
from ..block_field import BlockField, prepare
from ..ensemble import Ensemble
from ..space import Sphere
from .jacobian import as_directions

try:
    import torch
except ImportError as error:
    raise MissingExtra('derivatives by torch need PyTorch: pip install "attndyn[torch]"') from error

Array = NDArray[np.float64]


class TensorJacobian:
    """See `Jacobian`."""

    def __init__(self, law: Law, ensemble: Ensemble, of: str, depth: float, engine: Engine) -> None:
        self._function, self._x = function_at(law, ensemble, of, depth, engine)
        self._space = ensemble.space if of == "drift" and isinstance(ensemble.space, Sphere) else None
        leaf = self._x.clone().requires_grad_()
        value = self._function(leaf)
        self._leaf, self._value = leaf, value
        self.value = value.detach().cpu().numpy()

    def times(self, tangents: ArrayLike) -> Array:
        """See `Jacobian`."""
        directions = self._tangents(tangents)
        found = [torch.func.jvp(self._function, (self._x,), (v,))[1] for v in directions]
        return torch.stack(found).detach().cpu().numpy().reshape(np.shape(tangents))

    def transpose_times(self, gradients: ArrayLike) -> Array:
        """See `Jacobian`."""
        tensors = torch.as_tensor(np.array(as_directions(gradients, tuple(self._x.shape))), device=self._x.device)
        found = [torch.autograd.grad(self._value, self._leaf, g, retain_graph=True)[0] for g in tensors]
        back = torch.stack(found)
        if self._space is not None:
            space: Any = self._space
            back = space.project(self._x, back)
        return back.cpu().numpy().reshape(np.shape(gradients))

    def _tangents(self, tangents: ArrayLike) -> Any:
        v = torch.as_tensor(np.array(as_directions(tangents, tuple(self._x.shape))), device=self._x.device)
        space: Any = self._space
        return v if space is None else space.project(self._x, v)


def function_at(law: Law, ensemble: Ensemble, of: str, depth: float, engine: Engine) -> tuple[Any, Any]:
    """The drift or attention at a depth as a function of a tensor, in float64, and the positions where it computes."""
    piece, space = in_force(law, depth, ensemble.space)
    weights: Any = ensemble.weights
    field: Any = prepare(piece, space, weights, ensemble.positions.shape, np.float64, engine)
    x = torch.as_tensor(np.array(ensemble.positions, np.float64), device=field.device)
    function = field.drift if of == "drift" else field.attended
    return (partial(function, t=depth) if isinstance(field, BlockField) else function), x


def gradient_of_product(law: Law, ensemble: Ensemble, of: str, engine: Engine, image: Array, direction: Array) -> Array:
    """The gradient with respect to the positions of <image, J direction>, replica by replica, of their shape."""
    function, x = function_at(law, ensemble, of, 0.0, engine)
    leaf = x.requires_grad_()
    u, v = (torch.as_tensor(np.array(each), device=leaf.device) for each in (image, direction))
    (back,) = torch.autograd.grad(function(leaf), leaf, u, create_graph=True)
    (gradient,) = torch.autograd.grad((back * v).sum(), leaf)
    return gradient.cpu().numpy()
