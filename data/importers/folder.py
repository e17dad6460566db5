"""The folder that an import writes: whole under its name, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import InvalidInput


def check_out(out: Path, checkpoint: Path, overwrite: bool, files: set[str]) -> None:
    """Raise InvalidInput unless a folder may be made at `out`, or one that holds such files alone be replaced."""
    if out.resolve() == checkpoint.resolve() or checkpoint.resolve().is_relative_to(out.resolve()):
        raise InvalidInput(f"{out} is, or holds, the checkpoint itself; name another folder")
    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"{out} cannot be written: there is no folder {out.absolute().parent}")
    if not os.access(out.absolute().parent, os.W_OK):
        raise InvalidInput(f"{out} cannot be written: no permission to write to {out.absolute().parent}")
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise InvalidInput(f"{out} exists already; give another name, or --overwrite to replace it")
    if out.is_symlink() or not out.is_dir():
        raise InvalidInput(f"{out} is no folder; give another name")
    others = sorted(path.name for path in out.iterdir() if path.name not in files)
    if others:
        raise InvalidInput(f"{out} holds {others[0]}, which no import wrote; move it away, or give another name")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which takes its name and its place where nothing fails, and else is removed."""
    beside = out.absolute().parent
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=beside))
    try:
        new = made / "new"
        new.mkdir()  # with the permissions of any folder, which a temporary one has not
        yield new
        if out.exists():
            out.rename(made / "old")
        try:
            new.rename(out)
        except OSError:
            if (made / "old").exists():
                (made / "old").rename(out)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
