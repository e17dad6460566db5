"""Explicit Runge-Kutta methods as data. A new method is one tableau and one row of TABLEAUX.

A step of size h from x with slopes k_s:

    k_s = F(x + h sum_{r<s} a_sr k_r)                       s = 0 .. stages - 1
    x'  = x + h sum_s b_s k_s,     k_stages = F(x')         (the first slope of the next step)
    error = h sum_{s <= stages} e_s k_s
    x(t + theta h) = x + h sum_s b_s(theta) k_s,            b_s(theta) = sum_p dense_sp theta^(p+1)

The interpolant may need further stages after k_stages (`extra`), computed only when something is saved inside a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from . import dop853

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tableau:
    """One method; see the module. Raises ValueError when its coefficients contradict one another.

    a     : (stages, stages), strictly lower triangular       b : (stages,)
    error : (stages + 1,), or None for a method of fixed step
    low   : (stages + 1,), a second error estimate of lower order that stretches the first (dop853), or None
    dense : (stages + 1 + extra stages, degree)               extra : (extra stages, stages + extra stages)
    """

    order: int
    a: Array
    b: Array
    dense: Array
    error: Array | None = None
    error_order: int = 0
    low: Array | None = None
    extra: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if np.any(np.triu(self.a)):
            raise ValueError("a explicit tableau is strictly lower triangular")
        c = self.a.sum(axis=1)
        # the quadrature conditions sum_s b_s c_s^(q-1) = 1/q
        for q in range(1, self.order + 1):
            if abs(self.b @ c ** (q - 1) - 1.0 / q) > 1e-13:
                raise ValueError(f"the weights b miss the order condition of degree {q}")
        if self.error is not None and abs(self.error.sum()) > 1e-13:
            raise ValueError("the error weights must sum to zero")
        end = self.dense.sum(axis=1)
        if np.abs(end[: self.stages] - self.b).max() > 1e-13 or np.abs(end[self.stages :]).max() > 1e-13:
            raise ValueError("the interpolant must end where the step ends")

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def slopes(self) -> int:
        """How many slopes a step can hold: the stages, the one at its end and those of the interpolant."""
        return self.stages + 1 + len(self.extra)

    def weights(self, theta: float) -> Array:
        """b_s(theta) for every slope, (slopes,)."""
        return self.dense @ theta ** np.arange(1, self.dense.shape[1] + 1)


def lower(*rows: ArrayLike, width: int | None = None) -> Array:
    """A square (or `width` wide) matrix whose first rows are filled from the left."""
    matrix = np.zeros((len(rows), width or len(rows)))
    for number, row in enumerate(rows):
        values = np.asarray(row, np.float64)
        matrix[number, : len(values)] = values
    return matrix


def hermite(b: ArrayLike) -> Array:
    """The cubic through both ends of a step with the slopes there, as `dense` of a method with weights b."""
    weights = np.append(np.asarray(b, np.float64), 0.0)
    dense = np.outer(weights, [0.0, 3.0, -2.0])
    dense[0] += [1.0, -2.0, 1.0]
    dense[-1] += [0.0, -1.0, 1.0]
    return dense


def _plain(order: int, a: Array, b: ArrayLike) -> Tableau:
    return Tableau(order, a, np.asarray(b, np.float64), hermite(b))


def _bogacki_shampine() -> Tableau:
    """P. Bogacki, L. F. Shampine, Appl. Math. Lett. 2 (1989) 321; its interpolant is the cubic of Hermite."""
    b = np.array([2 / 9, 1 / 3, 4 / 9])
    a = lower([], [1 / 2], [0, 3 / 4])
    return Tableau(3, a, b, hermite(b), error=np.array([5 / 72, -1 / 12, -1 / 9, 1 / 8]), error_order=2)


def _dormand_prince() -> Tableau:
    """J. R. Dormand, P. J. Prince, J. Comput. Appl. Math. 6 (1980) 19; interpolant of L. F. Shampine (1986)."""
    a = lower(
        [],
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    )
    b = np.array([35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84])
    error = np.array([-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40])
    dense = np.array(
        [
            [1, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432],
            [0, 0, 0, 0],
            [0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799],
            [0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072],
            [0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632],
            [0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844],
            [0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423],
        ]
    )
    return Tableau(5, a, b, dense, error=error, error_order=4)


def _tsitouras() -> Tableau:
    """Ch. Tsitouras, Comput. Math. Appl. 62 (2011) 770, with its free interpolant of order 4."""
    a = lower(
        [],
        [0.161],
        [-0.008480655492356989, 0.335480655492357],
        [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383],
    )
    b = np.array(
        [
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ]
    )
    error = np.array(
        [
            -0.00178001105222577714,
            -0.0008164344596567469,
            0.007880878010261995,
            -0.1447110071732629,
            0.5823571654525552,
            -0.45808210592918697,
            1 / 66,
        ]
    )
    theta_squared = [0.0, 0.0, 1.0]

    def quartic(factor: float, *polynomials: list[float]) -> Array:
        product = np.array([factor])
        for each in polynomials:
            product = polynomial.polymul(product, each)
        return product[1:]

    dense = np.array(
        [
            quartic(
                -1.0530884977290216,
                [0, 1],
                [-1.3299890189751412, 1],
                [0.7139816917074209, -1.4364028541716351, 1],
            ),
            quartic(0.1017, theta_squared, [1.2949852507374631, -2.1966568338249754, 1]),
            quartic(2.490627285651252793, theta_squared, [1.57803468208092486, -2.38535645472061657, 1]),
            quartic(-16.54810288924490272, theta_squared, [-1.21712927295533244, 1], [-0.61620406037800089, 1]),
            quartic(47.37952196281928122, theta_squared, [-1.203071208372362603, 1], [-0.658047292653547382, 1]),
            quartic(-34.87065786149660974, theta_squared, [-1.2, 1], [-0.666666666666666667, 1]),
            quartic(2.5, theta_squared, [-1, 1], [-0.6, 1]),
        ]
    )
    return Tableau(5, a, b, dense, error=error, error_order=4)


def _dop853() -> Tableau:
    """Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, II.10; interpolant of order 7."""
    b = np.array(dop853.B)
    slopes = len(b) + 1 + len(dop853.A_EXTRA)
    unit = np.eye(slopes)
    step, end = np.append(b, np.zeros(slopes - len(b))), unit[len(b)]
    # x + theta (F0 + (1 - theta) (F1 + theta (F2 + (1 - theta) (...)))), each F a combination of the slopes
    factors = [step, unit[0] - step, 2 * step - end - unit[0], *lower(*dop853.DENSE, width=slopes)]
    dense = np.zeros((slopes, 7))
    basis = np.array([0.0, 1.0])
    for number, factor in enumerate(factors):
        dense[:, : len(basis) - 1] += np.outer(factor, basis[1:])
        basis = polynomial.polymul(basis, [1.0, -1.0] if number % 2 == 0 else [0.0, 1.0])
    return Tableau(
        8,
        lower(*dop853.A),
        b,
        dense,
        error=np.array(dop853.ERROR5),
        error_order=7,
        low=np.array(dop853.ERROR3),
        extra=lower(*dop853.A_EXTRA, width=slopes),
    )


EULER = _plain(1, np.zeros((1, 1)), [1.0])
HEUN = _plain(2, lower([], [1.0]), [1 / 2, 1 / 2])
RK4 = _plain(4, lower([], [1 / 2], [0, 1 / 2], [0, 0, 1]), [1 / 6, 1 / 3, 1 / 3, 1 / 6])

TABLEAUX = {
    "euler": EULER,
    "heun": HEUN,
    "rk4": RK4,
    "bs32": _bogacki_shampine(),
    "tsit5": _tsitouras(),
    "dp54": _dormand_prince(),
    "dop853": _dop853(),
}
