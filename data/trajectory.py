"""Write a trajectory file while the run goes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import InvalidInput, TrajectoryError
from ..particles import Ensemble
from . import layout, skeleton
from .kept_arrays import ArrayName
from .opening import guard
from .target import check_space, check_target, put_in_place


class TrajectoryWriter:
    """Collects frames and appends them to an HDF5 file in whole chunks; its memory does not grow with them.

    The file stands at `<path>.partial` while the run goes and at `path` when `finish` is done. Should the
    process be killed, the blocks written before can be read from the .partial file. As a context manager it
    finishes the file by itself: as "finished" or, on an exception, as "interrupted" or "failed: ...".

    ensemble         : its space, weights, and the shape (replicas, tokens, dimension) of every frame
    scenario         : text that says what was run, kept to the byte
    observables      : names; or a mapping from names to the shape of one replica's value, () or (k,)
    provenance       : anything JSON can hold, see `provenance_of_run`
    token_strings    : one string per token
    arrays           : what the scenario read from other files, (file, array) -> values
    dtype            : float64 or float32 for the positions on disk; that of the ensemble by default
    frames_per_chunk : by default as many as fill 1 MiB, at most 64; 1 puts every frame on disk at once
    merging          : whether tokens may become one on the way; `append_merge` then says when and which

    Raises InvalidInput for a path that cannot be written or arguments that do not fit together.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ensemble: Ensemble,
        scenario: str,
        observables: Sequence[str] | Mapping[str, tuple[int, ...]] = (),
        provenance: Mapping[str, Any] | None = None,
        token_strings: Sequence[str] | None = None,
        arrays: Mapping[ArrayName, NDArray[np.floating]] | None = None,
        dtype: DTypeLike | None = None,
        frames_per_chunk: int | None = None,
        merging: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.partial = layout.partial_path(self.path)
        self._overwrite = overwrite
        self._frame_shape = ensemble.positions.shape
        stored = np.dtype(ensemble.positions.dtype if dtype is None else dtype)
        if stored not in (np.float64, np.float32):
            raise InvalidInput(f"positions are stored as float64 or float32; got {stored}")
        if frames_per_chunk is None:
            frames_per_chunk = layout.frames_per_chunk(ensemble.positions.size * stored.itemsize)
        if frames_per_chunk < 1:
            raise InvalidInput(f"frames_per_chunk must be at least 1; got {frames_per_chunk}")
        self._block = frames_per_chunk
        shapes = _checked_observables(observables)
        provenance = provenance or {}
        arrays = arrays or {}
        texts = _texts(ensemble, scenario, provenance, token_strings, list(arrays))

        check_target(self.path, overwrite)
        check_space(self.partial, sum(map(len, texts.values())) + sum(values.nbytes for values in arrays.values()))
        author = str(provenance.get("author", "unknown"))
        self._file = self._create(ensemble, stored, shapes, texts, list(arrays.values()), author, merging)

        growing = (layout.STEP, layout.TIME, layout.POSITION, *map(layout.observable, shapes))
        self._datasets = [self._file[name] for name in growing]
        self._buffers = [np.empty((self._block, *d.shape[1:]), d.dtype) for d in self._datasets]
        self._steps, self._times, positions, *values = self._buffers
        self._positions = positions.reshape(self._block, *self._frame_shape)
        self._observables = dict(zip(shapes, values, strict=True))
        self._committed = self._buffered = 0
        self._last_time = -math.inf

    def __len__(self) -> int:
        """Number of frames appended; the last ones may still be in memory."""
        return self._committed + self._buffered

    def append(
        self,
        step: int,
        time: float,
        positions: NDArray[np.floating],
        observables: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Add a frame: positions (replicas, tokens, dimension), each observable (replicas,) or (replicas, k).

        Raises InvalidInput for another shape, missing or unknown observables, or a time before the last one;
        TrajectoryError when the file cannot be written (the frames in memory are kept for another try).
        """
        if not self._file:
            raise TrajectoryError(f"{self.path}: the file is finished; no frame can be added")
        if self._buffered == self._block:  # the block could not be written the last time
            self._commit()
        row, observables = self._buffered, observables or {}
        if observables.keys() != self._observables.keys():
            raise InvalidInput(f"observables must be {list(self._observables)}; got {list(observables)}")
        if positions.shape != self._frame_shape:
            raise InvalidInput(f"positions must have the shape {self._frame_shape}; got {positions.shape}")
        if not self._last_time <= time < math.inf:
            raise InvalidInput(f"times must be finite and not decrease; got {time} after {self._last_time}")
        for name, values in observables.items():
            buffer = self._observables[name]
            if np.shape(values) != buffer.shape[1:]:
                raise InvalidInput(f"observable {name} must have the shape {buffer.shape[1:]}; got {np.shape(values)}")
            buffer[row] = values
        self._steps[row] = step
        self._times[row] = self._last_time = time
        self._positions[row] = positions
        self._buffered += 1
        if self._buffered == self._block:
            self._commit()

    def append_merge(self, time: float, merged_into: NDArray[np.integer]) -> None:
        """Note that tokens have become one at this depth: the number of the first token of each one's group, (tokens,).

        Raises InvalidInput for another shape; TrajectoryError when the file cannot be written.
        """
        tokens = self._frame_shape[1]
        if np.shape(merged_into) != (tokens,):
            raise InvalidInput(f"merged_into must have the shape ({tokens},); got {np.shape(merged_into)}")
        with guard(self.partial, "the file", "cannot be written"):
            group = self._file[layout.MERGES]
            for name, value in (("value", merged_into), ("time", time)):
                group[name].resize(len(group[name]) + 1, axis=0)
                group[name][-1] = value
            self._file.flush()

    def finish(self, status: str = "finished", statistics: Mapping[str, float] | None = None) -> None:
        """Write the frames still in memory, the status and the statistics, and give the file its final name.

        Raises TrajectoryError when that is not possible. If only the last frames could not be written, the
        file is finished without them and its status says so.
        """
        if not self._file:
            raise TrajectoryError(f"{self.path}: the file is finished already")
        outcome = _outcome(status, statistics or {})
        problem = None
        try:
            self._commit()
        except TrajectoryError as error:
            problem, outcome = error, _outcome(f"failed: {error}", statistics or {})
        try:
            with guard(self.partial, "the file", "cannot be written"):
                self._file[layout.OUTCOME][...] = np.frombuffer(outcome, np.uint8)
                self._file[layout.FINISHED][0] = 1
        finally:
            with guard(self.partial, "the file", "cannot be closed"):
                self._file.close()
        with guard(self.partial, "the file", "cannot be given its final name"):
            put_in_place(self.partial, self.path, self._overwrite)
        if problem is not None:
            raise problem

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._file:
            return
        if kind is None:
            self.finish()
            return
        status = "interrupted" if kind is KeyboardInterrupt else f"failed: {str(error) or kind.__name__}"
        with contextlib.suppress(TrajectoryError):  # the first error is the one to be told
            self.finish(status)

    def _create(
        self,
        ensemble: Ensemble,
        dtype: np.dtype,
        observables: Mapping[str, tuple[int, ...]],
        texts: Mapping[str, bytes],
        arrays: Sequence[NDArray[np.floating]],
        author: str,
        merging: bool,
    ) -> h5py.File:
        """The file with all its objects and no frame; removed again if that fails."""
        with guard(self.partial, "the file", "cannot be created"):
            if self._overwrite:
                self.partial.unlink(missing_ok=True)
            file = skeleton.create_file(self.partial)
            try:
                skeleton.build(
                    file,
                    ensemble,
                    dtype=dtype,
                    frames_per_chunk=self._block,
                    observables=observables,
                    texts=texts,
                    arrays=arrays,
                    author=author,
                    version=version("attndyn"),
                    merging=merging,
                )
                # From here on HDF5 orders its writes so that the file can be read whenever the process dies.
                # In return no object may be created or removed: only rows appended, fixed arrays rewritten.
                file.swmr_mode = True
            except BaseException:
                file.close()
                self.partial.unlink(missing_ok=True)
                raise
        return file

    def _commit(self) -> None:
        """Append the buffered block to all datasets, and only then count its frames as written.

        Can be repeated if it fails. Checkpoints and the fsyncs against power failure have their place here,
        between the block and the count.
        """
        if self._buffered == 0:
            return
        check_space(self.partial, sum(buffer.nbytes for buffer in self._buffers))
        total = self._committed + self._buffered
        with guard(self.partial, "the file", "cannot be written"):
            for dataset, buffer in zip(self._datasets, self._buffers, strict=True):
                dataset.resize(total, axis=0)
                dataset[self._committed : total] = buffer[: self._buffered]
            self._file.flush()
            self._file[layout.FRAMES_COMMITTED][0] = total
            self._file.flush()
        self._committed, self._buffered = total, 0


def _checked_observables(
    observables: Sequence[str] | Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Observables as name -> shape of one replica's value, () or (k,)."""
    if isinstance(observables, str):
        raise InvalidInput(f"observables must be a list of names; got the string {observables!r}")
    if not isinstance(observables, Mapping):
        if len(set(observables)) < len(observables):
            raise InvalidInput(f"observables must differ from each other; got {list(observables)}")
        observables = dict.fromkeys(observables, ())
    for name, shape in observables.items():
        if not name.isidentifier() or name in layout.RESERVED_NAMES:
            raise InvalidInput(
                "an observable's name must be letters, digits and _, and none of "
                f"{', '.join(layout.RESERVED_NAMES)}; got {name!r}"
            )
        if len(shape) > 1 or 0 in shape:
            raise InvalidInput(f"observable {name} must be a number or a vector; got the shape {shape}")
    return dict(observables)


def _texts(
    ensemble: Ensemble,
    scenario: str,
    provenance: Mapping[str, Any],
    token_strings: Sequence[str] | None,
    arrays: Sequence[ArrayName],
) -> dict[str, bytes]:
    """Every text of the file: dataset -> bytes."""
    origin = _json("provenance", provenance)
    texts = {
        layout.SCENARIO: scenario.encode(),
        layout.PROVENANCE: origin.ljust(max(2 * len(origin), layout.PROVENANCE_BYTES)),
        layout.SPACE: _json("space", {"kind": ensemble.space.name, **vars(ensemble.space)}),
        layout.OUTCOME: _outcome("running", {}),
    }
    if token_strings is not None:
        strings = list(token_strings)
        if len(strings) != ensemble.tokens or not all(isinstance(string, str) for string in strings):
            raise InvalidInput(f"token_strings must be {ensemble.tokens} strings; got {len(strings)} values")
        texts[layout.TOKEN_STRINGS] = _json("token_strings", strings)
    if arrays:
        texts[layout.ARRAY_NAMES] = _json("arrays", arrays)
    return texts


def _outcome(status: str, statistics: Mapping[str, float]) -> bytes:
    """Status and statistics as JSON of a fixed number of bytes, so that they can be rewritten in place."""
    for length in (1000, 100):  # a long status is cut; each of its letters may take 6 bytes
        text = _json("statistics", {"status": status[:length], "statistics": dict(statistics)})
        if len(text) <= layout.OUTCOME_BYTES:
            return text.ljust(layout.OUTCOME_BYTES)
    raise InvalidInput(f"statistics must fit into {layout.OUTCOME_BYTES} bytes; got {len(statistics)} of them")


def _json(name: str, value: Any) -> bytes:
    try:
        return json.dumps(value, default=lambda scalar: scalar.item()).encode()  # .item() for numpy's numbers
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{name} cannot be written as JSON: {error}") from None
