"""How fast an error goes to its limit: a straight line through logarithms, with its confidence interval.

    power         error ~ C parameter^rate
    exponential   error ~ C exp(rate parameter)

by least squares over the points that are in the asymptotic range, as the caller says, each with the weight of its
standard error where that is known; the interval is that of Student's t at 95 %, with two degrees of freedom less than
there are points, and not narrower than the standard errors say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput

Array = NDArray[np.float64]
LAWS = ("power", "exponential")
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Series:
    """An error, or another quantity, for each value of a parameter, with what is known of how it goes to its limit.

    name      : of the quantity
    parameter : (points,), with its own name
    error     : (points,)
    law       : how the error depends on the parameter, of `LAWS`, or "" where no rate is asked for
    fitted    : (points,), those the rate is taken from
    expected  : the rate of the theory
    spread    : (points,), the standard error of each, where it is known
    bound     : (points,), what the error must not exceed, and the name of the bound
    """

    name: str
    parameter_name: str
    parameter: ArrayLike
    error: ArrayLike
    law: str = ""
    fitted: ArrayLike | None = None
    expected: float | None = None
    spread: ArrayLike | None = None
    bound: ArrayLike | None = None
    bound_name: str = ""

    def __post_init__(self) -> None:
        if self.law and self.law not in LAWS:
            raise InvalidInput(f"law must be one of {', '.join(LAWS)}; got {self.law!r}")
        length = len(np.asarray(self.parameter))
        for name in ("parameter", "error", "spread", "bound"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.asarray(value, np.float64))
                if getattr(self, name).shape != (length,):
                    raise InvalidInput(f"{name} must have the shape ({length},); got {getattr(self, name).shape}")
        if length == 0:
            raise InvalidInput(f"the series {self.name} has no points")
        chosen = np.ones(length, bool) if self.fitted is None else np.asarray(self.fitted, bool)
        if chosen.shape != (length,):
            raise InvalidInput(f"fitted must have the shape ({length},); got {chosen.shape}")
        object.__setattr__(self, "fitted", chosen)

    def rate(self) -> Rate:
        """The rate, taken from the fitted points that are positive and finite; NaN with fewer than two of them."""
        parameter, error = np.asarray(self.parameter), np.asarray(self.error)
        with np.errstate(invalid="ignore", divide="ignore"):
            x = np.log(parameter) if self.law == "power" else parameter
            y = np.log(error)
        good = np.asarray(self.fitted) & np.isfinite(x) & np.isfinite(y)
        if not self.law or good.sum() < 2:
            return Rate(np.nan, (np.nan, np.nan), np.nan, int(good.sum()))
        deviation = None if self.spread is None else np.asarray(self.spread)[good] / error[good]
        known = deviation is not None and bool((np.isfinite(deviation) & (deviation > 0.0)).all())
        return line(x[good], y[good], deviation if known else None)

    def summary(self) -> dict[str, Any]:
        """As JSON has it; null for what is not known."""
        rate = self.rate()
        return {
            "name": self.name,
            "parameter_name": self.parameter_name,
            "parameter": numbers(self.parameter),
            "error": numbers(self.error),
            "law": self.law,
            "rate": number(rate.value),
            "rate_interval": [number(end) for end in rate.interval],
            "expected": None if self.expected is None else number(self.expected),
        } | ({} if self.bound is None else {"bound": numbers(self.bound), "bound_name": self.bound_name})


@dataclass(frozen=True)
class Rate:
    """The slope of a line through logarithms: its value, 95 % interval, the intercept, and from how many points."""

    value: float
    interval: tuple[float, float]
    intercept: float
    points: int


def line(x: Array, y: Array, deviation: Array | None = None) -> Rate:
    """The line y = intercept + slope x by least squares; with two points the interval is not known (NaN).

    x, y : (points,), at least two      deviation : (points,), standard errors of y
    """
    from scipy.stats import t

    weight = np.full(len(x), 1.0 / len(x)) if deviation is None else deviation**-2.0 / np.sum(deviation**-2.0)
    middle = weight @ x
    inertia = weight @ (x - middle) ** 2
    slope = float(weight @ ((x - middle) * y) / inertia)
    intercept = float(weight @ y - slope * middle)
    if len(x) == 2:
        return Rate(slope, (np.nan, np.nan), intercept, 2)
    variance = float(weight @ (y - intercept - slope * x) ** 2 / inertia / (len(x) - 2))
    if deviation is not None:
        variance = max(variance, float(1.0 / np.sum(deviation**-2.0) / inertia))
    half = float(t.ppf(0.5 * (1.0 + CONFIDENCE), len(x) - 2) * np.sqrt(variance))
    return Rate(slope, (slope - half, slope + half), intercept, len(x))


def root_mean_squares(errors: Sequence[Array]) -> tuple[Array, Array]:
    """The root mean square of each size over its replicas, and their standard errors.

    That of log of a root mean square over R replicas is (q / 4R)^(1/2), q the squared relative deviation of a squared
    error, which is taken as one for all sizes: some have few replicas, or one.
    """
    squares = [each**2 for each in errors]
    means, counts = np.array([each.mean() for each in squares]), np.array([len(each) for each in squares])
    roots = np.sqrt(means)
    if counts.max() < 2 or not (means > 0.0).all():
        return roots, np.full(len(roots), np.nan)
    q = sum(((each / mean - 1.0) ** 2).sum() for each, mean in zip(squares, means, strict=True)) / (counts - 1).sum()
    return roots, roots * np.sqrt(q / (4.0 * counts))


def upper_half(parameter: ArrayLike, least: int = 3) -> NDArray[np.bool_]:
    """The larger half of the values of a parameter, or of those with the `least` largest: the asymptotic range."""
    values = np.asarray(parameter, np.float64)
    count = max(least, -(-len(values) // 2))
    return values >= np.sort(values)[::-1][min(count, len(values)) - 1]


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def numbers(values: ArrayLike) -> list[float | None]:
    """Numbers for JSON."""
    return [number(value) for value in np.asarray(values, np.float64).tolist()]
