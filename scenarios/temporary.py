"""Files for callers who name none: they last as long as what was opened is in use."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Opened = TypeVar("Opened")


def opened_while_used(name: str, write: Callable[[Path], object], opened: Callable[[Path], Opened]) -> Opened:
    """Write a file of this name in a folder of its own and open it; both go when what was opened is collected."""
    folder = tempfile.mkdtemp(prefix="attndyn-")
    try:
        path = Path(folder) / name
        write(path)
        found = opened(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found
