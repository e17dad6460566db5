"""The memory of long runs: a million frames of a small system, a hundred thousand tokens, and the reading of both.

    python -m benchmarks.soak [--frames N] [--tokens N] [--figure FILE] [--folder FOLDER]

Every command is a process of its own, whose resident memory is looked at a few times a second: what is measured is what
the operating system has given it, memory of HDF5 and of the compiled kernels included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .tables import line
from .timing import Row

FRAMES, TOKENS = 1_000_000, 100_000
MANY = 1000  # frames from which the growth is told of each
INTERVAL = 0.2  # seconds between two looks
SETTLED = 0.2  # of a run: when kernels, buffers and the caches of HDF5 are there

# tokens that repel each other go on moving; every frame is a step
SMALL = """
title = "Frames without end"
[tokens]
count = 16
[attention]
beta = 4.0
value = -1.0
[depth]
time = {time}
method = "rk4"
step = 0.01
[save]
every = 0.01
observables = ["order"]
"""
LARGE = """
title = "Many tokens"
[tokens]
count = {tokens}
[attention]
beta = 4.0
[depth]
time = 10.0
sums = "auto"
[save]
every = 0.1
observables = ["energy", "order"]
"""


@dataclass(frozen=True)
class Watched:
    """One command, looked at while it ran.

    seconds, written, memory : (looks,), the time, the bytes of the file that it wrote, the resident memory in MB
    total : how long it took
    """

    name: str
    seconds: NDArray[np.float64]
    written: NDArray[np.float64]
    memory: NDArray[np.float64]
    total: float

    @property
    def progress(self) -> NDArray[np.float64]:
        """(looks,), from 0 to 1: of what it wrote, or of its time where it wrote nothing."""
        of = self.written if self.written.any() else self.seconds
        return of / max(of[-1], 1e-300)

    def settled(self) -> NDArray[np.bool_]:
        """(looks,), whether all that is needed once is there; the end, when the file is closed, is no part of it."""
        return (self.progress >= SETTLED) & (self.progress <= 0.99)

    def growth(self) -> float:
        """MB by which the memory grows over a whole run, as a line through it when it has settled."""
        there = self.settled()
        return float(np.polyfit(self.progress[there], self.memory[there], 1)[0]) if there.sum() > 2 else float("nan")

    def rows(self, frames: int) -> Iterator[Row]:
        """Its memory, when it has settled, at most and at the end, and its growth."""
        there = self.settled()
        settled = self.memory[there][0] if there.any() else self.memory[0]
        detail = f"{settled:.0f} MB settled, {self.memory[-1]:.0f} MB at the end, {self.total:.0f} s"
        yield Row(f"{self.name}, at most", float(self.memory.max()), "MB", detail=detail)
        if self.written.any():
            each = f"{self.growth() * 1e6 / frames:.0f} bytes a frame" if frames > MANY else ""
            yield Row(f"{self.name}, growth", self.growth(), "MB over the run", detail=each)


def watch(name: str, arguments: Sequence[str], written: Path | None = None) -> Watched:
    """Run a command of attndyn and look at its memory until it ends. Raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", "attndyn.cli", *arguments]
    began, looks, page, size = time.perf_counter(), [], os.sysconf("SC_PAGE_SIZE") / 1e6, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        statm = Path(f"/proc/{process.pid}/statm")
        while process.poll() is None:
            resident = int(statm.read_text().split()[1]) * page
            with contextlib.suppress(FileNotFoundError):  # not yet begun, or finished and moved
                size = written.stat().st_size if written is not None else 0
            if resident > 0:  # not in the last moment
                looks.append((time.perf_counter() - began, size, resident))
            time.sleep(INTERVAL)
        message = process.stderr.read() if process.stderr else b""
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=message)
    seconds, sizes, memory = np.array(looks, np.float64).T
    return Watched(name, seconds, sizes, memory, time.perf_counter() - began)


def soak(folder: Path, word: str, text: str) -> Iterator[Watched]:
    """A run of a scenario, and what reads its file."""
    scenario, file, picture = folder / f"{word}.toml", folder / f"{word}.h5", str(folder / "picture.png")
    scenario.write_text(text, encoding="utf-8")
    partial = file.with_name(f"{file.name}.partial")
    yield watch(f"run, {word}", ["run", str(scenario), "--out", str(file), "--quiet", "--overwrite"], partial)
    yield watch(f"info, {word}", ["info", str(file)])
    yield watch(f"info --verify, {word}", ["info", str(file), "--verify"])
    yield watch(f"plot, {word}", ["plot", str(file), "--out", picture, "--overwrite"])
    yield watch(f"analyze, {word}", ["analyze", str(file), "radius", "--quiet", "--no-keep"])


def rows(frames: int = FRAMES, tokens: int = TOKENS, figure: Path | None = None) -> Iterator[Row]:
    """The memory of every command; with `figure`, their curves as a picture."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for word, (text, count) in scenarios(frames, tokens).items():
            for watched in soak(Path(folder), word, text):
                seen.append(watched)
                yield from watched.rows(count)
            yield Row(f"the file of {word}", (Path(folder) / f"{word}.h5").stat().st_size / 1e6, "MB")
    if figure is not None:
        draw(seen, figure)


def scenarios(frames: int = FRAMES, tokens: int = TOKENS) -> dict[str, tuple[str, int]]:
    """What is run, its name -> the scenario and its frames."""
    many, large = SMALL.format(time=(frames - 1) * 0.01), LARGE.format(tokens=tokens)
    return {f"{frames} frames": (many, frames), f"{tokens} tokens": (large, 101)}


def draw(seen: Sequence[Watched], path: Path) -> None:
    """The resident memory of every command over its progress: runs on the left, what reads their files on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4), sharey=True, layout="constrained")
    for watched in seen:
        panel = axes[0 if watched.name.startswith("run") else 1]
        panel.plot(watched.progress, watched.memory, label=watched.name, linewidth=1.2)
    for panel, words in zip(axes, ("of the frames", "of the time"), strict=True):
        panel.set(xlabel=f"part {words}", xlim=(0, 1), ylim=(0, None))
    axes[0].legend(frameon=False, fontsize="small")
    axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[0].set(ylabel="resident memory, MB")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Measure, and print every row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    for row in rows(options.frames, options.tokens, options.figure):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
