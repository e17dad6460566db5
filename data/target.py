"""The place where a trajectory is written: may it be used, is there room, and the move to its final name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import InvalidInput, TrajectoryError
from .layout import MEBIBYTE, partial_path

RESERVE = 2 * MEBIBYTE  # stays free beside what is written, for HDF5's own indices


def check_folder(path: Path) -> None:
    """Raise InvalidInput, with one sentence, unless a file may be made where `path` is."""
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInput(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(f"{path} cannot be written: no permission to write to the folder {path.parent}")


def check_target(path: Path, overwrite: bool) -> None:
    """Raise InvalidInput, with one sentence, unless a file can be made at `path`."""
    check_folder(path)
    if overwrite:
        return
    if path.exists():
        raise InvalidInput(f"{path} exists already; give another name, or --overwrite to replace it")
    if partial_path(path).exists():
        raise InvalidInput(
            f"{partial_path(path)} holds an unfinished run; attndyn resume {path} goes on with it; "
            "or give another name, or --overwrite to replace it"
        )


def check_space(path: Path, size: int) -> None:
    """Raise TrajectoryError unless `size` more bytes fit beside `path`.

    Asked before each write: HDF5 crashes when it closes a file whose disk is full, so it must never see one.
    """
    need, free = size + RESERVE, shutil.disk_usage(path.parent).free
    if free < need:
        raise TrajectoryError(f"{path}: the disk is full: {need / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")


def put_in_place(partial: Path, path: Path, overwrite: bool) -> None:
    """Rename a closed file to its final name, so that a power failure leaves the one or the other, whole."""
    _synchronise(partial)
    if path.exists() and not overwrite:
        raise TrajectoryError(f"{path} came to exist during the run, which is kept at {partial}")
    partial.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _synchronise(path.parent)


def identity(path: Path) -> tuple[int, int, int]:
    """What changes when another program writes a file or puts another one in its place."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _synchronise(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
