"""Whole steps and whole runs: a Tsit5 step of a small system, and how long a user waits for a scenario."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Sphere

from .timing import Measured, Row, side_by_side

COMMANDS = 7  # of each command


def rows() -> Iterator[Row]:
    """Every measurement of steps and runs."""
    yield small_step()
    yield from start_up()


def small_step() -> Row:
    """One Tsit5 step of 32 tokens, d = 3, with step control, projection and the loop around it."""
    law, ensemble = Attention(beta=4.0), Ensemble.uniform(Sphere(3), 32, seed=1)
    steps = []

    def run() -> None:
        statistics = integrate(law, ensemble, t_end=200.0, rtol=1e-9).statistics
        steps.append(statistics.accepted + statistics.rejected)

    (seconds,) = side_by_side([run])
    return Row("one Tsit5 step of 32 tokens, d = 3", seconds / steps[-1] * 1e6, "microseconds", 30.0)


def start_up() -> Iterator[Row]:
    """`attndyn --help`, and `attndyn run sphere-clusters` with and without compiled kernels on disk."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        run = ["run", "sphere-clusters", "--quiet", "--overwrite", "--out", str(Path(folder) / "out.h5")]

        def seconds(*arguments: str) -> float:
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "attndyn.cli", *arguments],
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            return time.perf_counter() - start

        yield Row("attndyn run sphere-clusters, the very first start", seconds(*run), "s", 20.0)
        yield Row("attndyn run sphere-clusters, later", Measured([seconds(*run) for _ in range(COMMANDS)]), "s", 2.0)
        yield Row("attndyn --help", Measured([seconds("--help") for _ in range(COMMANDS)]), "s", 0.5)
