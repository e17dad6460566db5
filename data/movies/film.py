"""A trajectory as a movie: the pictures of a scene, one after the other into a file."""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from ...errors import AttndynError, InvalidInput
from ...interrupts import noted
from ..figures.page import styled
from ..reading import Trajectory, open_trajectory
from .clock import clock_of
from .colours import COLOURS
from .encoders import ENCODERS, Progress, check_encoder, default_suffix
from .scene import Scene, subject_of

SIZES = (160, 4320)
MOST_PICTURES = 100_000


def movie(
    trajectory: Trajectory | str | Path,
    out: str | Path | None = None,
    *,
    seconds: float = 10.0,
    fps: int = 25,
    logarithmic: bool | None = None,
    depths: Sequence[float] | None = None,
    kind: str | None = None,
    replica: int = 0,
    turn: float | None = None,
    colour: str = "cluster",
    size: int = 720,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Film one replica of a trajectory, an open one or that in a file, and return the path of the movie.

    out          : a .mp4, which needs ffmpeg on the PATH, a .gif or a .webp; by default beside the trajectory, a .mp4
                   where there is ffmpeg, else a .gif
    seconds, fps : how long it lasts, and its pictures per second
    logarithmic  : whether equal times are equal ratios of depths; by default where frames were saved so
    depths       : the first and the last depth of the part that is shown; by default all
    kind         : "circle" and "line" (the past goes inwards, and to the left), "sphere" (behind it all is paler),
                   "plane", "components" (the first three principal components of the whole part)
    turn         : degrees that the camera of "sphere" and "components" turns
    colour       : "cluster" (the clusters of the depth where they tell most), "depth" or "start" (the place there)
    size         : the height in pixels, even
    progress     : called with the numbers of pictures written and of all, from 0 on

    Between saved frames tokens go straight, on a sphere along great circles. At most 600 tokens are drawn, a random
    choice of them. The same trajectory gives the same bytes with the same versions of what writes them.

    Raises InvalidInput for what cannot be filmed or written so, AttndynError where writing fails; nothing is left then.
    """
    with open_trajectory(trajectory) if isinstance(trajectory, str | Path) else nullcontext(trajectory) as opened:
        path = Path(out) if out is not None else opened.path.with_suffix(default_suffix())
        _check_numbers(seconds, fps, size, replica, opened.positions.shape[1], turn)
        check_encoder(path, fps)
        _check_place(path, overwrite)
        times = np.asarray(opened.times, np.float64)
        if len(times) == 0:
            raise InvalidInput("the trajectory has no frames to film")
        if colour not in COLOURS:
            raise InvalidInput(f"colour must be one of {', '.join(COLOURS)}; got {colour!r}")
        clock = clock_of(times, depths, logarithmic)
        subject = subject_of(opened, kind, int(replica), turn, colour)
        pictures = max(1, round(seconds * fps))
        with styled(), warnings.catch_warnings(), _written_whole(path, overwrite) as partial, noted() as called:
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for it

            def tell(done: int, of: int) -> None:
                if called.is_set():  # between pictures: what draws them swallows an interrupt now and then
                    raise KeyboardInterrupt
                if progress is not None:
                    progress(done, of)

            tell(0, pictures)
            ENCODERS[path.suffix.lower()](partial, Scene(opened, subject, clock, pictures, size), fps, tell)
    return path


def _check_numbers(seconds: float, fps: int, size: int, replica: int, replicas: int, turn: float | None) -> None:
    if not (isinstance(seconds, numbers.Real) and 0.0 < seconds < np.inf):
        raise InvalidInput(f"seconds must be a positive number; got {seconds!r}")
    if not _whole(fps) or not 1 <= fps <= 120:
        raise InvalidInput(f"fps must be a whole number in [1, 120]; got {fps!r}")
    if seconds * fps > MOST_PICTURES:
        raise InvalidInput(f"seconds times fps must be at most {MOST_PICTURES}; got {seconds:g} s at {fps} per second")
    if not _whole(size) or size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise InvalidInput(f"size must be an even number in [{SIZES[0]}, {SIZES[1]}]; got {size!r}")
    if not _whole(replica) or not 0 <= replica < replicas:
        raise InvalidInput(f"replica must be an integer in [0, {replicas - 1}]; got {replica!r}")
    if turn is not None and not (isinstance(turn, numbers.Real) and np.isfinite(turn)):
        raise InvalidInput(f"turn must be a number of degrees; got {turn!r}")


def _whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_place(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInput(f"{path} cannot be written: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise InvalidInput(f"{path} exists already; give another name, or --overwrite to replace it")


@contextmanager
def _written_whole(path: Path, overwrite: bool) -> Iterator[Path]:
    """A path beside the final one, to which what was written is moved at the end; whatever fails, nothing is left."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if path.exists() and not overwrite:
            raise InvalidInput(f"{path} came to exist meanwhile; give another name, or --overwrite to replace it")
        partial.replace(path)
    except OSError as error:
        raise AttndynError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
