"""What an expansion needs of a law: scores that are kappa cos(angle), and what is done with a row's average.

With Q^T K = c R, R orthogonal, and tokens x = r u on the sphere, s_ij = beta c r^2 <R^T u_i, u_j> = kappa <q_i, u_j>,
where q_i is again a unit vector. Where kappa is negative, q_i is turned round instead: kappa >= 0 from here on. The
expansions give, for every token, the sums

    g_i = sum_j a_j exp(kappa (<q_i, u_j> - 1)) u_j            z_i = sum_j a_j exp(kappa (<q_i, u_j> - 1))

and the attention is f_i = (M g_i + b z_i) / z_i + b' (softmax) or M g_i + b z_i + b' (unnormalised).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import InvalidInput
from ...space import Space, Sphere

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
ROUNDING = 2.0**-52
_ORTHOGONAL = 64 * ROUNDING  # how far Q^T K / c may be from a rotation


class Scores(NamedTuple):
    """A law on a sphere whose scores depend on an angle alone.

    dimension : 2 or 3                       radius   : of the sphere
    kappa     : the largest score            turn     : (dimension, dimension), q = turn u
    aligned   : whether turn is I or -I      matrix   : (dimension, dimension), M above, for unit vectors
    along     : (dimension,), b above        bias     : (dimension,), b' above
    softmax   : whether rows are normalised
    isotropic : whether the tangential part of f needs that of g alone, the part of g along q being of no account
    """

    dimension: int
    radius: float
    kappa: float
    turn: Array
    aligned: bool
    matrix: Array
    along: Array
    bias: Array
    softmax: bool
    isotropic: bool

    @property
    def size(self) -> float:
        """The norm of M: how much longer an error of g is in f."""
        return float(np.linalg.norm(self.matrix, 2))


def scores(law: Attention, space: Space) -> Scores:
    """The law's scores as one angle's cosine. Raises InvalidInput where they are not, and says what is in the way."""
    reason = obstacle(law, space)
    if reason is not None:
        raise InvalidInput(
            f'sums = "fourier" and "harmonics" need one head on the circle or the sphere in R^3, without mask and '
            f'query or key bias, with Q^T K a multiple of a rotation; {reason}. sums = "exact" has every law'
        )
    assert isinstance(space, Sphere)
    p, radius, d = law.projections(space.dimension), space.radius, space.dimension
    rotation = _rotation(p.query, p.key, p.score_scale, d)
    assert rotation is not None
    length, turn = rotation
    kappa = law.beta * length * radius**2
    if kappa < 0:
        kappa, turn = -kappa, -turn
    multiple = np.abs(turn - turn[0, 0] * np.eye(d)).max() <= _ORTHOGONAL
    value = p.value_scale * np.eye(d) if p.value is None else p.value[0]
    value_bias = np.zeros(len(value)) if p.value_bias is None else p.value_bias[0]
    output = np.eye(d) if p.output is None else p.output
    matrix, along = radius * (output @ value), output @ value_bias
    bias = np.zeros(d) if p.output_bias is None else p.output_bias
    softmax = law.normalisation.name == "softmax"
    if softmax:
        along, bias = np.zeros(d), bias + along
    else:
        with np.errstate(over="ignore"):
            scale = np.exp(kappa - law.shift)
        matrix, along = scale * matrix, scale * along
    scalar = bool((matrix == matrix[0, 0] * np.eye(d)).all())
    return Scores(d, radius, kappa, turn, multiple, matrix, along, bias, softmax, multiple and scalar)


def obstacle(law: Attention, space: Space) -> str | None:
    """Why the law has no expansion, or None if it has one."""
    if not isinstance(space, Sphere) or space.dimension not in (2, 3):
        return f"the space is {space.name} of dimension {space.dimension}"
    if law.heads != 1:
        return f"the law has {law.heads} heads"
    if law.mask.name != "none":
        return f'the law has mask = "{law.mask.name}"'
    if not law.plain:
        return "the law has a score, normalisation, prior, rotary positions, a gate or multipliers of another kind"
    p = law.projections(space.dimension)
    if p.query_bias is not None or p.key_bias is not None:
        return "the law has a query or key bias"
    if _rotation(p.query, p.key, p.score_scale, space.dimension) is None:
        return "Q^T K is no multiple of a rotation"
    return None


def _rotation(query: Array | None, key: Array | None, scale: float, dimension: int) -> tuple[float, Array] | None:
    """c >= 0 or of the sign of a multiple of I, and R^T, with Q^T K = c R; None where R is not orthogonal."""
    if query is None or key is None:
        return scale, np.eye(dimension)
    product = key[0].T @ query[0]
    length = np.linalg.norm(product) / np.sqrt(dimension)
    if length == 0.0:
        return 0.0, np.eye(dimension)
    turn = product / length
    if np.abs(turn @ turn.T - np.eye(dimension)).max() > _ORTHOGONAL:
        return None
    return length, turn
