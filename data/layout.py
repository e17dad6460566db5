"""Where everything stands in a trajectory file and in which pieces it is stored.

The file is H5MD 1.1 with the dimension scales of netCDF. Its axes are time T (unlimited), particle N = B * n
(the n tokens of replica 0, then those of replica 1, ...), component d, and replica B. The user's description
is `docs/trajectory-files.md`.
"""

from __future__ import annotations

import math
from pathlib import Path

CONVENTIONS = "H5MD-1.1 attndyn-1"
H5MD_VERSION = (1, 1)

# MDAnalysis makes a topology for this name only, and only of the first group under particles/
PARTICLES = "particles/trajectory"
BOX = f"{PARTICLES}/box"
POSITION = f"{PARTICLES}/position/value"  # f8 or f4 [T][N][d]
STEP = f"{PARTICLES}/position/step"  # i8 [T]
TIME = f"{PARTICLES}/position/time"  # f8 [T]
PARTICLE = f"{PARTICLES}/particle"  # i4 [N]
COMPONENT = f"{PARTICLES}/component"  # i4 [d]
REPLICA_INDEX = f"{PARTICLES}/replica_index"  # i4 [N]
TOKEN_INDEX = f"{PARTICLES}/token_index"  # i4 [N]
REPLICA = "replica"  # i4 [B]; at the root, since observables/ may hold nothing but elements
OBSERVABLES = "observables"  # <name>/value f8 [T][B] or [T][B][k]; <name>/step and /time link to the above
# of these some belong to the state and are no measurement: token weights that change, the focus and its velocity
STATE = ("token_weights", "focus", "focus_velocity")

SCENARIO = "parameters/scenario"  # u1, the exact bytes of the text, @sha256
PROVENANCE = "parameters/provenance"  # u1, JSON, with room for what a resumed run adds in place
SPACE = "parameters/space"  # u1, JSON, @sha256
WEIGHTS = "parameters/weights"  # f8 [n] or [B][n]
ARRAYS = (
    "parameters/arrays"  # <k> f8, or f4 where that is exact: what the scenario read from other files; only if it did
)
ARRAY_NAMES = "parameters/array_names"  # u1, JSON list of [file, array or null], @sha256: what each of them is
TOKEN_STRINGS = "parameters/token_strings"  # u1, JSON list, @sha256; only if the tokens have names
OUTCOME = "parameters/outcome"  # u1 [4092], JSON {"status", "statistics"}, padded with spaces
FRAMES_COMMITTED = "parameters/frames_committed"  # i8 [1]; frames beyond it may be torn
FINISHED = "parameters/finished"  # i1 [1]
SERIES = "series"  # <name>/value and time of what is sampled on another clock than the frames
MERGES = f"{SERIES}/merged_into"  # value i4 [M][n], time f8 [M]: a row for each time that tokens became one

# What was computed from the file after the run; a file without it is whole
ANALYSIS = "analysis"
ANALYSIS_INDEX = f"{ANALYSIS}/index"  # u1, JSON list of records {name, place, parameters, ...}, @sha256
# <place>/values of an observable, f8 or i8 [frames][replicas]; <place>/<k> of a table: its columns, texts as u1 JSON

HASHED = (SCENARIO, SPACE, TOKEN_STRINGS, ARRAY_NAMES)

# u1 [2][bytes], the state of the run, written in turn, see `checkpoints`; without it a run begins anew
CHECKPOINT = "parameters/checkpoint"

# Observables stand beside these in an xarray.Dataset
RESERVED_NAMES = ("positions", "weights", "time", "step", "replica", "token", "component", "token_string")

MEBIBYTE = 2**20
PAGE = 4096
SMALL_CHUNK = PAGE - 4  # with its checksum it fits a page, which even a power failure does not tear
LARGEST_CHUNK = 64 * MEBIBYTE  # of positions; HDF5 itself allows 4 GiB
MOST_FRAMES = 64  # in a chunk of positions
CLOCK_CHUNK = 256  # rows of step and time
OUTCOME_BYTES = SMALL_CHUNK
PROVENANCE_BYTES = 4 * SMALL_CHUNK  # at least; twice the text if that is longer


def partial_path(path: Path) -> Path:
    """Where the file stands until its run has ended."""
    return path.with_name(path.name + ".partial")


def new_path(path: Path) -> Path:
    """Where the file is begun; it comes to stand at `partial_path` once it can be read."""
    return path.with_name(path.name + ".partial.new")


def lock_path(path: Path) -> Path:
    """What the process that writes the file has locked."""
    return path.with_name(path.name + ".lock")


def observable(name: str) -> str:
    """Where the values of an observable stand."""
    return f"{OBSERVABLES}/{name}/value"


def frames_per_chunk(frame_bytes: int) -> int:
    """clip(round(1 MiB / frame bytes), 1, 64): large enough for speed, small enough to read one frame.

    A run that is killed, and a file that is cut off, lose at most so many frames more than they must.
    """
    return min(max(round(MEBIBYTE / frame_bytes), 1), MOST_FRAMES)


def chunk_of(shape: tuple[int, ...], values: int) -> tuple[int, ...]:
    """A chunk of at most `values` values of an array: of its last axes all, as far as that goes."""
    chunk: list[int] = []
    for length in reversed(shape):
        chunk.append(max(1, min(length, values)))
        values //= chunk[-1]
    return tuple(reversed(chunk))


def observable_chunk(row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk (frames, *row) of f8 values that fits a page; `row_shape` is (replicas,) or (replicas, k).

    The number of frames is a power of two, as that of the largest block: whole blocks fill it. Before that it may be
    written again: within a page that is safe.
    """
    row = chunk_of(row_shape, SMALL_CHUNK // 8)
    frames = SMALL_CHUNK // 8 // math.prod(row)
    return 2 ** (frames.bit_length() - 1), *row
