"""What is computed from a file after the run: how long it takes and how much memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attndyn.data import TrajectoryWriter
from attndyn.particles import Ensemble, Sphere
from attndyn.scenarios.schema import Scenario

from .timing import Row

FRAMES, TOKENS = 500, 10_000
ANALYZE = "import sys, attndyn; attndyn.analyze(sys.argv[1], keep=False)"


def rows() -> Iterator[Row]:
    """Every measurement of analyses."""
    yield from defaults()


def defaults(frames: int = FRAMES, tokens: int = TOKENS) -> Iterator[Row]:
    """The default observables of a file, in a process of its own, whose memory is known; its kernels are compiled."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.h5", Path(folder) / "large.h5"
        write(small, 4, tokens)
        write(large, frames, tokens)
        subprocess.run([sys.executable, "-c", ANALYZE, str(small)], check=True)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-c", ANALYZE, str(large)], check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    what = f"default observables of {frames} frames of {tokens} tokens, d = 3"
    yield Row(what, seconds, "s", 60.0, f"{worked:.0f} s of processor time")
    yield Row(f"{what}: memory", after.ru_maxrss * 1024 / 1e9, "GB resident", 1.0)


def write(path: Path, frames: int, tokens: int) -> None:
    """A file of tokens on the sphere that draw together in 20 clusters; no run could be waited for."""
    scenario = Scenario.parse(f"[tokens]\ncount = {tokens}\n[attention]\nbeta = 4.0\n")
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((20, 3))
    clusters, noise = generator.integers(20, size=tokens), generator.standard_normal((tokens, 3))
    ensemble = Ensemble.uniform(Sphere(3), tokens=tokens)
    with TrajectoryWriter(path, ensemble=ensemble, scenario=scenario.text) as writer:
        for frame in range(frames):
            positions = centres[clusters] + 3.0 * np.exp(-5.0 * frame / max(frames - 1, 1)) * noise
            writer.append(frame, float(frame), Sphere(3).retract(positions)[None])
