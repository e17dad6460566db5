"""Weak scaling of one system on many processes: twice the processes, twice the pairs of tokens, the same time.

Every process has one thread. The work of a drift is n^2 pairs, so one process has n / sqrt(2) tokens and two have n.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.scenarios.processes import member

from .timing import LeftOut, Measured, Row, not_installed

BETA, DIMENSION, PROCESSES = 4.0, 3, 2


def rows(tokens: int = 32768, rounds: int = 3, repeats: int = 3) -> Iterator[Row | LeftOut]:
    """The share of ideal scaling from one process to two, which take turns."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        yield LeftOut("the ring", not_installed(missing, "torch"))
        return
    fewer = round(tokens / math.sqrt(PROCESSES))
    alone: list[float] = []
    together: list[float] = []
    for _ in range(rounds):
        alone += _drifts(1, fewer, repeats)
        together += _drifts(PROCESSES, tokens, repeats)
    one, two = Measured(alone), Measured(together)
    detail = f"{one:.2f} s for one process of {fewer} tokens, {two:.2f} s for {PROCESSES}, one thread each"
    what = f"weak scaling of the ring, 1 to {PROCESSES} processes, n = {tokens}, d = {DIMENSION}, float64"
    yield Row(what, one / two, "of ideal", 0.8, detail, at_least=True)


def _drifts(processes: int, tokens: int, repeats: int) -> list[float]:
    """Seconds of some drifts on so many processes, as the first of them sees it."""
    with tempfile.TemporaryDirectory() as folder:
        words = [str(processes), str(tokens), str(repeats), f"file://{folder}/meeting"]
        started = [
            subprocess.Popen([sys.executable, "-m", __name__, str(rank), *words], stdout=subprocess.PIPE, text=True)
            for rank in range(processes)
        ]
        outputs = [process.communicate()[0] for process in started]
    return [float(word) for word in outputs[0].split()]


def _take_part(rank: int, processes: int, tokens: int, repeats: int, meeting: str) -> None:
    import torch

    with member(Engine("torch", processes=processes), rank, meeting) as engine:
        torch.set_num_threads(1)
        space = Sphere(DIMENSION)
        x = space.uniform(np.random.default_rng(0), (1, tokens))
        weights = np.full(tokens, 1.0 / tokens)
        field = prepare(Attention(beta=BETA), space, weights, x.shape, x.dtype, engine)
        state = field.load(x)  # type: ignore[attr-defined]
        out = torch.empty_like(state)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            field.velocity(0.0, state, out)
            seconds.append(time.perf_counter() - start)
    if rank == 0:
        print(*seconds[1:])


if __name__ == "__main__":
    _take_part(*map(int, sys.argv[1:5]), sys.argv[5])
