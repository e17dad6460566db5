"""Brownian motion along the depth: a function of the seed, the replica, the token and the interval of depth alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .philox import gaussians

Array = NDArray[np.float64]
STREAM = 2  # of the random streams spawned from a seed; 0 are tokens, 1 are matrices
MAX_LEVEL = 40  # of halvings of the path's own intervals
SLACK = 1e-9  # a ratio of steps is a power of two up to this fraction


@dataclass(frozen=True)
class Noise:
    """The noise of a run: dx_i = drift dt + sqrt(2 temperature) P_{x_i} o dB_i, in the sense of Stratonovich.

    temperature : kappa; the generator is drift . grad + kappa times the Laplace-Beltrami operator. 0: no noise
    seed  : whole number, of which the noise has a stream of its own
    step  : the intervals on which the path is drawn; shorter ones come by halving. By default the step of the run

    Raises InvalidInput for a number out of range.
    """

    temperature: float = 0.0
    seed: int = 0
    step: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature >= 0.0):
            raise InvalidInput(f"noise must be a temperature, a number of at least 0; got {self.temperature}")
        if not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise InvalidInput(f"seed must be a whole number of at least 0; got {self.seed!r}")
        if self.step is not None and not (np.isfinite(self.step) and self.step > 0.0):
            raise InvalidInput(f"noise_step must be a positive number; got {self.step}")

    def path(self, shape: tuple[int, ...], step: float) -> BrownianPath:
        """The Brownian motions of (replicas, tokens, dimension), in steps of this length. Raises InvalidInput."""
        return BrownianPath(self.seed, shape, step if self.step is None else self.step, step)

    def amplitude(self) -> float:
        """sqrt(2 kappa), which multiplies the Brownian increments."""
        return float(np.sqrt(2.0 * self.temperature))


def halvings(noise_step: float, step: float) -> int:
    """The k with step = noise_step / 2^k. Raises InvalidInput where there is none."""
    ratio = noise_step / step
    level = round(np.log2(ratio))
    if not 0 <= level <= MAX_LEVEL or abs(ratio / 2.0**level - 1.0) > SLACK:
        raise InvalidInput(
            f"noise_step must be the step {step:g} times 1, 2, 4, ... (up to 2^{MAX_LEVEL}), "
            f"for the path is refined by halving; got {noise_step:g}"
        )
    return level


class BrownianPath:
    """Independent Brownian motions W of all components of all tokens, by their increments.

    Intervals of length `noise_step` have increments N(0, noise_step). The halves of an interval of length l with
    increment D have (D +- sqrt(l) Z) / 2, the Brownian bridge, with Z ~ N(0, 1) of that interval's own: so the path is
    the same whatever the step, and the increments of two halves add up to that of the whole, to rounding.

    Each Z is a function of the seed, the replica, the interval and the place (token, component) by Philox: the path of
    a token depends neither on how many replicas or tokens there are, nor on where a run started. (It does depend on
    the token's number and on the dimension.) float64. What a step costs is one draw on average: of the intervals
    around the last step, one of every length, both halves are kept.

    shape : (replicas, tokens, dimension)

    Raises InvalidInput unless step = noise_step / 2^k.
    """

    def __init__(self, seed: int, shape: tuple[int, ...], noise_step: float, step: float) -> None:
        self._level, self._noise_step, self._shape = halvings(noise_step, step), noise_step, shape
        sequence = np.random.SeedSequence(seed, spawn_key=(STREAM,))
        self._key = sequence.generate_state(1, np.uint64)[0]
        self._whole: tuple[int, Array] | None = None
        self._halves: list[tuple[int, tuple[Array, Array]] | None] = [None] * self._level

    def increment(self, number: int) -> Array:
        """W((number + 1) step) - W(number step), (replicas, tokens, dimension); only to be read."""
        return self._increment(self._level, number)

    def _increment(self, level: int, number: int) -> Array:
        """Of interval `number` among those of length noise_step / 2^level."""
        if level > 0:
            return self._split(level - 1, number // 2)[number % 2]
        if self._whole is None or self._whole[0] != number:
            self._whole = number, self._draw(0, number, np.sqrt(self._noise_step))
        return self._whole[1]

    def _split(self, level: int, number: int) -> tuple[Array, Array]:
        """The increments of the two halves of an interval."""
        kept = self._halves[level]
        if kept is not None and kept[0] == number:
            return kept[1]
        half = 0.5 * self._increment(level, number)
        interval, place = divmod(number, 2**level)
        # intervals are numbered as the nodes of a binary tree: 1, then 2 and 3; 0 is the increment of the whole
        bridge = self._draw(2**level + place, interval, 0.5 * np.sqrt(self._noise_step / 2.0**level))
        halves = half + bridge, half - bridge
        self._halves[level] = number, halves
        return halves

    def _draw(self, node: int, interval: int, scale: float) -> Array:
        out = np.empty(self._shape)
        gaussians(self._key, np.uint64(node), np.uint64(interval), float(scale), out.reshape(len(out), -1))
        return out
