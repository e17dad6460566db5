"""Write a trajectory file while the run goes."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import InvalidInput, TrajectoryError
from ..logs import logger_of
from ..particles import Ensemble
from . import checkpoints, layout, skeleton
from .kept_arrays import ArrayName
from .locks import Lock
from .opening import guard
from .target import check_folder, check_space, check_target, put_in_place
from .texts import checked_observables, outcome_of, texts_of

LOG = logger_of(__name__)

EVERY = 5.0  # seconds between two notes of where a run stands


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

    going_on         : whether an unfinished file of the same name is replaced, as soon as `keep` was called

    Raises InvalidInput for a path that cannot be written or arguments that do not fit together; TrajectoryError where
    another run writes the file.
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
        going_on: bool = False,
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
        shapes = checked_observables(observables)
        provenance = provenance or {}
        arrays = arrays or {}
        texts = texts_of(ensemble, scenario, provenance, token_strings, list(arrays))

        check_folder(self.path)
        self._lock = Lock(self.path)
        self._lock.take()
        try:
            if not going_on:
                check_target(self.path, overwrite)
            self._begin(ensemble, stored, shapes, texts, list(arrays.values()), provenance, merging, going_on)
        except BaseException:
            self._lock.release()
            raise

    def _begin(
        self,
        ensemble: Ensemble,
        stored: np.dtype,
        shapes: Mapping[str, tuple[int, ...]],
        texts: Mapping[str, bytes],
        arrays: Sequence[NDArray[np.floating]],
        provenance: Mapping[str, Any],
        merging: bool,
        going_on: bool,
    ) -> None:
        """Make the file, and the buffers of a block."""
        check_space(self.partial, sum(map(len, texts.values())) + sum(values.nbytes for values in arrays))
        author = str(provenance.get("author", "unknown"))
        self._file = self._create(ensemble, stored, shapes, texts, arrays, author, merging)

        self._names = skeleton.growing_names(shapes)
        self._datasets = [self._file[name] for name in self._names]
        self._buffers = [np.empty((self._block, *d.shape[1:]), d.dtype) for d in self._datasets]
        self._steps, self._times, positions, *values = self._buffers
        self._positions = positions.reshape(self._block, *self._frame_shape)
        self._observables = dict(zip(shapes, values, strict=True))
        self._committed = self._buffered = 0
        self._last_time = -math.inf
        self._merges = self._slots = 0
        self._kept_at = time.monotonic()
        LOG.debug("%s: begun", self.partial)
        if not going_on:
            self._stand_in_place()

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
        self._merges += 1

    def due(self) -> bool:
        """Whether EVERY seconds have gone since it was noted where the run stands."""
        return time.monotonic() - self._kept_at >= EVERY

    def keep(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Note where the run stands: from there it can go on when it is killed.

        record : numbers and texts     arrays : of its state; with them go the frames that are in memory

        Raises TrajectoryError when the file cannot be written.
        """
        tail = {name: buffer[: self._buffered] for name, buffer in zip(self._names, self._buffers, strict=True)}
        check_space(self.partial, 2 * self._file[layout.CHECKPOINT].shape[1])
        with guard(self.partial, "the file", "cannot be written"):
            self._synchronise()  # what the slot counts as written is
            checkpoints.write(
                self._file, checkpoints.Slot(self._slots, self._committed, self._merges, tail, record, arrays)
            )
            self._synchronise()
        self._slots += 1
        LOG.debug(
            "%s: checkpoint %d, with %d frames to depth %.6g", self.partial, self._slots, len(self), self._last_time
        )
        self._kept_at = time.monotonic()
        self._stand_in_place()

    def finish(self, status: str = "finished", statistics: Mapping[str, float] | None = None) -> None:
        """Write the frames still in memory, the status and the statistics, and give the file its final name.

        Raises TrajectoryError when that is not possible. If only the last frames could not be written, the
        file is finished without them and its status says so.
        """
        if not self._file:
            raise TrajectoryError(f"{self.path}: the file is finished already")
        try:
            self._finish(status, statistics or {})
        finally:
            self._lock.release()

    def _finish(self, status: str, statistics: Mapping[str, float]) -> None:
        outcome = outcome_of(status, statistics)
        problem = None
        try:
            self._commit()
        except TrajectoryError as error:
            problem, outcome = error, outcome_of(f"failed: {error}", statistics)
        try:
            with guard(self.partial, "the file", "cannot be written"):
                self._file[layout.OUTCOME][...] = np.frombuffer(outcome, np.uint8)
                self._file[layout.FINISHED][0] = 1
        finally:
            with guard(self.partial, "the file", "cannot be closed"):
                self._file.close()
        with guard(self.partial, "the file", "cannot be given its final name"):
            put_in_place(self.partial, self.path, self._overwrite)
        LOG.debug("%s: closed with %d frames, %s", self.path, self._committed, status)
        if problem is not None:
            raise problem

    def abandon(self) -> None:
        """Close the file as it is, and leave what was written where it stands."""
        if self._file:
            self._file.close()
        layout.new_path(self.path).unlink(missing_ok=True)
        self._lock.release()

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
        new = layout.new_path(self.path)
        with guard(self.partial, "the file", "cannot be created"):
            new.unlink(missing_ok=True)
            file = skeleton.create_file(new)
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
                new.unlink(missing_ok=True)
                raise
        return file

    def _commit(self) -> None:
        """Append the buffered block to all datasets, and only then count its frames as written.

        Can be repeated if it fails.
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
        LOG.debug("%s: %d frames are on the disk, to depth %.6g", self.partial, total, self._last_time)

    def _stand_in_place(self) -> None:
        """Give a file that can be read by now the name of an unfinished run."""
        new = layout.new_path(self.path)
        if new.exists():
            new.replace(self.partial)

    def _synchronise(self) -> None:
        """Wait until all that was written is on the disk."""
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())
