"""One writer for a file: the lock that a run holds as long as its process lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from ..errors import TrajectoryError
from .layout import lock_path

try:
    import fcntl
except ImportError:  # not a POSIX system: there HDF5's own locks must do
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Held from `take` to `release`, and by no process once the one that took it has ended, however it ended.

    HDF5's own lock is gone as soon as others may read the file while it is written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._of = lock_path(path), path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock. Raises TrajectoryError where another process has it."""
        if fcntl is None:
            return
        while True:
            file = self._path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise TrajectoryError(f"{self._of} is being written by another run; wait for it, or stop it") from None
            except OSError:  # a file system without locks: there two runs are not told apart
                file.close()
                self._path.unlink(missing_ok=True)
                return
            if self._is_there(file):
                self._file = file
                return
            file.close()  # its owner removed it between our two calls

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _is_there(self, file: IO[str]) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        own = os.fstat(file.fileno())
        return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
