"""Is every byte of a file what was written? All of it is read, and the checksums tell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import h5py

from . import checkpoints, layout, opening

SLAB = 16 * layout.MEBIBYTE


def verified(path: str | Path) -> list[str]:
    """What is damaged in a file of attndyn's, an entry for each object; empty where all is as it was written.

    Values are under fletcher32 checksums of HDF5, texts under sha256 besides, the objects themselves under checksums
    of HDF5. Raises InvalidInput where there is no file, TrajectoryError where it cannot be opened at all.
    """
    path = Path(path)
    damaged: list[str] = []
    with opening.open_file(path) as file:
        for name in _names(file, path, damaged):
            try:
                _read_all(file, name)
            except opening.TROUBLES as error:
                damaged.append(f"{name}: {str(error) or type(error).__name__}")
    return damaged


def _names(file: h5py.File, path: Path, damaged: list[str]) -> Iterator[str]:
    """The datasets of a file by hard links alone, each once."""
    seen, groups = set(), [""]
    while groups:
        group = groups.pop()
        try:
            found = file[group] if group else file
            entries = [(name, found.get(name, getlink=True)) for name in found]
        except opening.TROUBLES as error:
            damaged.append(f"{group or '/'}: {error}")
            continue
        for name, link in entries:
            if not isinstance(link, h5py.HardLink):
                continue
            where = f"{group}/{name}".lstrip("/")
            try:
                item = found[name]
                identity = h5py.h5o.get_info(item.id).addr
            except opening.TROUBLES as error:
                damaged.append(f"{where}: {error}")
                continue
            if identity in seen:
                continue
            seen.add(identity)
            if isinstance(item, h5py.Group):
                groups.append(where)
            elif isinstance(item, h5py.Dataset):
                yield where


def _read_all(file: h5py.File, name: str) -> None:
    """Read a dataset slab by slab. Raises where a checksum does not hold."""
    if name == layout.CHECKPOINT:
        checkpoints.check(file)
        return
    if name in layout.HASHED:
        opening.read_text(file, name, hashed=True)
        return
    stored = opening.dataset(file, name, "fiub", (0, 1, 2, 3))
    if stored.ndim == 0:
        stored[()]
        return
    opening.check_stored(stored)
    row = max(1, math.prod(stored.shape[1:]) * stored.dtype.itemsize)
    step = max(1, SLAB // row, (stored.chunks or (1,))[0])
    for start in range(0, len(stored), step):
        stored[start : start + step]
