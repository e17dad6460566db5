"""The limit of many tokens on the circle: their density, by the Fourier coefficients of its equation.

    d mu / dt = -d/dtheta (v mu) + kappa d^2 mu / dtheta^2
    v(theta) = V g / Z or V exp(-shift) g,      g = -sum_k (I_{k-1} - I_{k+1}) Im(e^(ik theta) mu_k),
                                                Z = I_0 + 2 sum_k I_k Re(e^(ik theta) mu_k)

with the Bessel functions I_k at beta Q K r^2. The product v mu is taken on a grid of 3/2 as many points as the
coefficients need. Where the coefficients of highest degree are no longer small, their number is doubled, and halved
where it is far more than enough. Source: arXiv:2312.10794 for the equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ComputationFailed, InvalidInput
from ..particles.attention import Attention
from ..particles.circle_density import CircleDensity
from .gaussian_closure import checked_times

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
FIRST_DEGREES = 32
TAIL = 0.75  # of the degrees: what is above is looked at
IDLE = 1e-2  # of the resolution: where coefficients are below it from TAIL / 2 on, half of them are enough


@dataclass(frozen=True)
class DensityFlow:
    """Densities over depth.

    times : (frames,)      densities : as many
    """

    times: Array
    densities: tuple[CircleDensity, ...]

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, frame: int) -> CircleDensity:
        """The density of one frame."""
        return self.densities[frame]


def density_flow(
    law: Attention,
    density: CircleDensity,
    t_end: float,
    *,
    save_at: ArrayLike | None = None,
    noise: float = 0.0,
    radius: float = 1.0,
    resolution: float = 1e-10,
    most_degrees: int = 2048,
    rtol: float = 1e-10,
    atol: float = 1e-13,
) -> DensityFlow:
    """The density of infinitely many tokens on the circle, from depth 0 to t_end.

    save_at    : increasing depths in [0, t_end], by default both ends
    noise      : temperature kappa of the Brownian motion of tokens; on a circle of another radius kappa / r^2
    resolution : coefficients of the highest quarter of the degrees are kept below this, by doubling their number
    rtol, atol : of every coefficient, by DOP853

    Raises InvalidInput for a law that is not softmax or unnormalised attention of one head with scalar matrices and no
    mask, or arguments out of range, and ComputationFailed where the density needs more than `most_degrees`.
    """
    from scipy.integrate import DOP853

    times = checked_times(t_end, save_at)
    if not (isinstance(noise, (int, float)) and np.isfinite(noise) and noise >= 0.0):
        raise InvalidInput(f"noise must be a number of at least 0; got {noise!r}")
    if not (isinstance(resolution, (int, float)) and 1e-13 <= resolution <= 1e-2):
        raise InvalidInput(f"resolution must be between 1e-13 and 1e-2; got {resolution!r}")
    kappa, strength = _kernel(law, radius)
    diffusion = noise / radius**2
    y = np.array(density.coefficients[1:])
    y = _padded(y, max(FIRST_DEGREES, len(y)))
    t, found, due = 0.0, [], 0
    while due < len(times):
        y = _resolved(y, resolution, most_degrees, t)
        velocity = Velocity(law, kappa, strength, len(y))
        speed = _equation(velocity, diffusion)
        while due < len(times) and times[due] <= t:
            found.append(CircleDensity(np.concatenate([[1.0], y])))
            due += 1
        if due == len(times):
            break
        solver, degrees = DOP853(speed, t, y, times[-1], rtol=rtol, atol=atol), len(y)
        while solver.status == "running" and degrees == len(y):
            solver.step()
            if solver.status == "failed" or not np.isfinite(solver.y).all():
                raise ComputationFailed(f"the density cannot be followed beyond depth {t:.6g}")
            if _tail(solver.y) > resolution:
                y = _padded(y, 2 * degrees)  # the step is taken again
                break
            between = solver.dense_output()
            while due < len(times) and times[due] <= solver.t:
                found.append(CircleDensity(np.concatenate([[1.0], between(times[due])])))
                due += 1
            t, y = float(solver.t), solver.y.copy()
            if degrees > FIRST_DEGREES and _tail(y, 0.5 * TAIL) < IDLE * resolution:
                y = y[: degrees // 2]
    return DensityFlow(times, tuple(found))


class Velocity:
    """The velocity d theta / dt of tokens in the field of a density, on a grid of angles 2 pi j / points.

    kernel : (degrees + 1,), I_k exp(-|kappa|) at kappa = beta Q K r^2
    """

    def __init__(self, law: Attention, kappa: float, strength: float, degrees: int) -> None:
        from scipy.special import ive

        self.degrees = degrees
        self.points = _fast(3 * (degrees + 1))
        k = np.arange(degrees + 1)
        self.kernel = ive(k, kappa)
        self._across = ive(k - 1, kappa) - ive(k + 1, kappa)
        self._strength = strength
        self._softmax = law.normalisation.name == "softmax"

    def __call__(self, y: Complex) -> Array:
        """v (points,) of the coefficients mu_1, ..., mu_degrees."""
        half = np.zeros(self.points // 2 + 1, np.complex128)
        half[1 : self.degrees + 1] = 0.5j * self._across[1:] * y  # the sum over both signs of k is -Im
        g = np.fft.irfft(half, self.points) * self.points
        if not self._softmax:
            return self._strength * g
        half[0] = self.kernel[0]
        half[1 : self.degrees + 1] = self.kernel[1:] * y
        return self._strength * g / (np.fft.irfft(half, self.points) * self.points)


def _equation(velocity: Velocity, diffusion: float) -> Callable[[float, Complex], Complex]:
    """d mu_k / dt = -ik (v mu)_k - diffusion k^2 mu_k, k = 1, ..., degrees."""
    points, degrees = velocity.points, velocity.degrees
    k = np.arange(1, degrees + 1)
    half = np.zeros(points // 2 + 1, np.complex128)
    half[0] = 1.0

    def speed(_t: float, y: Complex) -> Complex:
        half[1 : degrees + 1] = y
        # 2 pi mu on the grid, whose product with v has the coefficients (v mu)_k without a factor
        flux = np.fft.rfft(velocity(y) * np.fft.irfft(half, points))[1 : degrees + 1]
        return -1j * k * flux - (diffusion * k**2) * y if diffusion else -1j * k * flux

    return speed


def _kernel(law: Any, radius: float) -> tuple[float, float]:
    """beta Q K r^2, and the factor V, without normalisation V exp(|beta Q K r^2| - shift)."""
    if not (isinstance(radius, (int, float, np.number)) and np.isfinite(radius) and radius > 0):
        raise InvalidInput(f"radius must be a positive number; got {radius!r}")
    if not isinstance(law, Attention):
        raise InvalidInput(f"the density's equation is that of an Attention; got {type(law).__name__}")
    extra = ("prior", "rotary", "gate", "multipliers")
    if not law.plain or law.mask.name != "none" or law.heads != 1:
        raise InvalidInput(
            "the density's equation is for one head of softmax or unnormalised attention of dot products without mask; "
            f"got {law.heads} heads, {law.normalisation.name} of {law.score.name}, mask {law.mask.name}"
            + "".join(f", {part}" for part in extra if getattr(law, part) is not None)
        )
    if any(getattr(law, f"{name}_bias") is not None for name in ("query", "key", "value", "output")):
        raise InvalidInput("the density's equation is for laws without biases")
    root = np.sqrt(2.0) if law.score.name == "scaled-dot" else 1.0
    query, key, value, output = (_scalar(name, getattr(law, name)) for name in ("query", "key", "value", "output"))
    kappa = law.beta * query * key * radius**2 / root
    grows = 0.0 if law.normalisation.name == "softmax" else abs(kappa) - law.shift
    return kappa, value * output * float(np.exp(grows))


def _scalar(name: str, matrix: Any) -> float:
    """c of a number c or of c times the identity; 1 for None."""
    if matrix is None or np.isscalar(matrix):
        return 1.0 if matrix is None else float(np.asarray(matrix).item())
    if matrix.shape != (2, 2) or not np.array_equal(matrix, matrix[0, 0] * np.eye(2)):
        raise InvalidInput(f"the density's equation needs {name} to be a number, or that times the identity")
    return float(matrix[0, 0])


def _resolved(y: Complex, resolution: float, most: int, t: float) -> Complex:
    """The coefficients with as many degrees as the tail needs. Raises ComputationFailed for more than `most`."""
    while _tail(y) > resolution and len(y) <= most:
        y = _padded(y, 2 * len(y))
    if len(y) > most:
        raise ComputationFailed(
            f"at depth {t:.6g} tokens are so concentrated that their density needs more than {most} Fourier "
            "coefficients: end earlier, or allow more (most_degrees)"
        )
    return y


def _tail(y: Complex, share: float = TAIL) -> float:
    return float(np.abs(y[int(share * len(y)) :]).max())


def _padded(y: Complex, degrees: int) -> Complex:
    return np.concatenate([y, np.zeros(degrees - len(y), np.complex128)])


def _fast(points: int) -> int:
    from scipy.fft import next_fast_len

    return 2 * next_fast_len((points + 1) // 2, real=True)
