"""Results are put into the trajectory file they come from: into a copy of it, which then takes its place.

Whatever happens on the way, the file is the one or the other, whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import AttndynError
from .. import layout
from ..locks import Lock
from ..target import check_space, identity, put_in_place
from .kept import Result
from .table import Table

_CLONE = 0x40049409  # FICLONE of Linux: the copy shares its blocks with the file until one is changed


def obstacle(trajectory: Any) -> str | None:
    """Why nothing can be kept in the file of a trajectory; None if nothing is known to be in the way."""
    path = trajectory.path.resolve()
    if trajectory.status.startswith("cut off"):
        return "the file is cut off"
    if not trajectory.finished:
        return "its run has not finished"
    if not os.access(path.parent, os.W_OK):
        return f"no permission to write to the folder {path.parent}"
    if not os.access(path, os.W_OK):
        return "the file is read-only"
    if path.stat().st_nlink > 1:
        return "the file has further names (hard links), which would keep the old one"
    return None


def keep(trajectory: Any, results: Sequence[Result]) -> str | None:
    """Put results into the file of a trajectory; if that is not possible, the reason why, and the file is as it was.

    What the file kept of the same name, frames, replica and parameters is replaced. An open trajectory goes on to
    read the file as it was when it was opened, which has the same frames.
    """
    reason = obstacle(trajectory)
    if reason is not None:
        return reason
    path = trajectory.path.resolve()
    lock = Lock(path)
    try:
        lock.take()  # against a run that replaces the file, and another analysis
        return _keep(trajectory, results, path)
    except (OSError, RuntimeError, ValueError, AttndynError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        lock.release()


def _keep(trajectory: Any, results: Sequence[Result], path: Path) -> str | None:
    copy: Path | None = None
    try:
        before = identity(path)
        if before != trajectory.identity:
            return "the file has been changed since it was opened"
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".analysis", dir=path.parent)
        os.close(descriptor)
        copy = Path(name)
        _copy(path, copy)
        check_space(copy, 2 * sum(_size(result.value) for result in results) + layout.MEBIBYTE)
        with h5py.File(copy, "r+", libver=("v110", "v110")) as file:
            _write(file, [*trajectory.kept.with_new(tuple(results)).results])
        shutil.copymode(path, copy)
        if identity(path) != before:
            return "the file was changed meanwhile"
        put_in_place(copy, path, overwrite=True)
        copy, trajectory.identity = None, identity(path)
    finally:
        if copy is not None:
            with contextlib.suppress(OSError):
                copy.unlink()
    return None


def _copy(path: Path, copy: Path) -> None:
    """The bytes of a file into an empty one; where the file system can, without copying them."""
    with path.open("rb") as source, copy.open("r+b") as target:
        try:
            import fcntl

            fcntl.ioctl(target.fileno(), _CLONE, source.fileno())
            return
        except (ImportError, OSError):
            pass
    check_space(copy, path.stat().st_size)
    shutil.copyfile(path, copy)


def _size(value: Table | NDArray[Any]) -> int:
    columns = value.columns.values() if isinstance(value, Table) else [value]
    return sum(4096 + np.asarray(column).nbytes for column in columns)


def _write(file: h5py.File, results: Sequence[Result]) -> None:
    """The group of the analyses anew, with these results."""
    group = file.require_group(layout.ANALYSIS)
    for name in list(group):
        del group[name]
    records = []
    for place, result in enumerate(results):
        record = {**result.request.as_record(), "place": place}
        if isinstance(result.value, Table):
            table = result.value
            record |= {"remarks": list(table.remarks), "columns": []}
            for number, (name, values) in enumerate(table.columns.items()):
                record["columns"].append([name, _write_column(file, f"{layout.ANALYSIS}/{place}/{number}", values)])
        else:
            _write_array(file, f"{layout.ANALYSIS}/{place}/values", result.value)
        records.append(record)
    _write_json(file, layout.ANALYSIS_INDEX, records)


def _write_column(file: h5py.File, name: str, values: NDArray[Any]) -> str:
    """Write a column and say of which kind it is."""
    values = np.asarray(values)
    if values.dtype.kind == "b":
        _write_array(file, name, values.astype(np.uint8))
        return "bool"
    if values.dtype.kind in "iuf":
        _write_array(file, name, values)
        return "number"
    _write_json(file, name, [str(text) for text in values.tolist()])
    return "text"


def _write_array(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """In chunks, since HDF5 has checksums for no others."""
    chunk = layout.chunk_of(values.shape, layout.MEBIBYTE // values.itemsize) if values.size else None
    file.create_dataset(name, data=values, chunks=chunk, fletcher32=bool(values.size))


def _write_json(file: h5py.File, name: str, value: Any) -> None:
    text = json.dumps(value).encode()
    _write_array(file, name, np.frombuffer(text, np.uint8))
    file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())
    file[name].attrs["media_type"] = np.bytes_("application/json")
