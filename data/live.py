"""Files that a run is writing, or left behind when it was killed: opened without waiting for what will not come.

Where the checksum of an object does not hold, HDF5 takes it for one that is just being written, and reads it again, up
to a hundred times, waiting twice as long each time: for ever, where the file is damaged. Here it gives up soon.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import h5py

ATTEMPTS = 24  # of which all waits together are 2^24 ns, a sixtieth of a second


def open_live(path: Path, chunk_cache: int) -> h5py.File:
    """The HDF5 file at `path` for reading beside its writer, with a cache of so many bytes for each dataset."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    metadata, slots, _, preemption = access.get_cache()
    access.set_cache(metadata, slots, chunk_cache, preemption)
    _give_up_after(access, ATTEMPTS)
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return h5py.File(h5py.h5f.open(bytes(path), flags, fapl=access))


def _give_up_after(access: h5py.h5p.PropFAID, attempts: int) -> None:
    """Set what h5py has no method for, in the HDF5 library that it has loaded.

    Where the system does not find it there (Windows), HDF5 keeps to its hundred.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(h5py.h5p.__file__)
        library.H5Pset_metadata_read_attempts(ctypes.c_int64(access.id), ctypes.c_uint(attempts))
