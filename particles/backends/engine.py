"""How a drift is computed. An engine changes the speed and the last digits of a result, never what is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from ...errors import InvalidInput

BACKENDS = ("numba", "torch", "reference")
SUMS = ("exact", "differences", "fourier", "harmonics", "auto")


class EngineOptions(TypedDict, total=False):
    """The fields of `Engine` as keyword arguments: `law.drift(x, space=space, backend="torch")`."""

    backend: str
    device: str
    threads: int | None
    sums: str
    sum_tolerance: float
    processes: int


@dataclass(frozen=True)
class Engine:
    """Where and how the sums over tokens are done.

    backend : "numba" (compiled, on this processor), "torch" (this processor or a GPU), "reference" (plain NumPy)
    device  : "cpu"; with torch also "cuda" or "cuda:1"
    threads : of the numba backend, by default one per core
    sums    : "exact" is every pair of tokens, O(n^2), and "differences" too, where a sphere's clusters move more slowly
              than 1e-16: see `differences`; "fourier" (on the circle) and "harmonics" (on the sphere in R^3) are
              expansions, O(n), with an absolute error of about `sum_tolerance`; "auto" measures which is best

    processes : of torch.distributed's group, among which the tokens are divided; for a run, not for a single drift

    Raises InvalidInput for an unknown name or a number out of range.
    """

    backend: str = "numba"
    device: str = "cpu"
    threads: int | None = None
    sums: str = "exact"
    sum_tolerance: float = 1e-10
    processes: int = 1

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InvalidInput(f"backend must be one of {', '.join(BACKENDS)}; got {self.backend!r}")
        if self.sums not in SUMS:
            raise InvalidInput(f"sums must be one of {', '.join(SUMS)}; got {self.sums!r}")
        if not (np.isfinite(self.sum_tolerance) and 1e-15 <= self.sum_tolerance <= 1e-2):
            raise InvalidInput(f"sum_tolerance must be a number from 1e-15 to 1e-2; got {self.sum_tolerance!r}")
        threads = self.threads
        if threads is not None and (not isinstance(threads, (int, np.integer)) or threads < 1):
            raise InvalidInput(f"threads must be an integer of at least 1; got {threads!r}")
        if not isinstance(self.processes, (int, np.integer)) or self.processes < 1:
            raise InvalidInput(f"processes must be an integer of at least 1; got {self.processes!r}")
        if self.processes > 1 and self.backend != "torch":
            raise InvalidInput(f'processes need backend = "torch"; got {self.backend!r}')
        kind, _, number = self.device.partition(":")
        if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
            raise InvalidInput(f"device must be cpu, cuda or cuda:NUMBER; got {self.device!r}")
        if kind != "cpu" and self.backend != "torch":
            raise InvalidInput(f'device {self.device!r} needs backend = "torch"; got {self.backend!r}')
        if self.sums != "exact" and self.backend != "numba":
            raise InvalidInput(f'sums = "{self.sums}" exist with backend = "numba"; got {self.backend!r}')
