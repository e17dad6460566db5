"""Where the arrays that a scenario names come from: files beside it, or the trajectory that was made with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..particles.arrays import read_array
from .mistakes import one_line

LONGEST_NAME = 200  # characters of a name, where it is told
ArrayName = tuple[str, str | None]  # a file and the name of an array in it, as the scenario gives them


class Source(Protocol):
    """Gives what a scenario names. All raise InvalidInput for what is not there.

    retracted : whether its tokens lie in their space to the last digit, which another retraction would change
    """

    retracted: ClassVar[bool]

    def array(self, file: str, name: str | None) -> NDArray[np.float64]: ...

    def strings(self, file: str, name: str | None) -> list[str]: ...

    def tokens(self, file: str, name: str | None) -> NDArray[np.floating]: ...


@dataclass(frozen=True)
class Folder:
    """See `Source`: the files of a folder, to which the paths in a scenario are relative.

    outside : whether a path may lead out of the folder; a scenario of somebody else's should not read where it likes
    """

    path: Path
    outside: bool = False
    retracted: ClassVar[bool] = False

    def array(self, file: str, name: str | None) -> NDArray[np.float64]:
        return read_array(self._place(file), name)

    def strings(self, file: str, name: str | None) -> list[str]:
        return read_strings(self._place(file), name)

    def tokens(self, file: str, name: str | None) -> NDArray[np.floating]:
        return self.array(file, name)

    def _place(self, file: str) -> Path:
        place = self.path / file
        try:
            inside = place.resolve().is_relative_to(self.path.resolve())
            place.is_file()
        except (OSError, ValueError) as error:  # too long, or no name at all
            raise InvalidInput(f"{file[:LONGEST_NAME]} is no name of a file: {one_line(str(error))[:40]}") from None
        if not self.outside and not inside:
            raise InvalidInput(
                f"{file} lies outside the folder of the scenario; --outside, or load(..., outside=True), allows that"
            )
        return place


@dataclass(frozen=True)
class Kept:
    """See `Source`: what a trajectory keeps, so that no other file is opened.

    first : its first frame (replicas, tokens, dimension)
    """

    arrays: Mapping[ArrayName, NDArray[np.float64]]
    texts: list[str] | None
    first: Callable[[], NDArray[np.floating]]
    retracted: ClassVar[bool] = True

    def array(self, file: str, name: str | None) -> NDArray[np.float64]:
        try:
            return self.arrays[file, name]
        except KeyError:
            where = file if name is None else f"{name} in {file}"
            raise InvalidInput(f"the trajectory does not keep the array {where}, which its scenario names") from None

    def strings(self, file: str, name: str | None) -> list[str]:
        if self.texts is None:
            raise InvalidInput(f"the trajectory does not keep the strings of {file}, which its scenario names")
        return self.texts

    def tokens(self, file: str, name: str | None) -> NDArray[np.floating]:
        return self.first()


def arrays_named(tables: Any) -> Iterator[ArrayName]:
    """The arrays that the tables of a scenario, as `model_dump` gives them, take from files."""
    if isinstance(tables, dict):
        if isinstance(tables.get("file"), str):
            yield tables["file"], tables.get("array")
        tables = [*tables.values()]
    if isinstance(tables, list):
        for table in tables:
            yield from arrays_named(table)


def read_strings(path: Path, array: str | None) -> list[str]:
    """Texts from a .txt file, one a line, or from an array of a .npy or .npz file. Never pickle.

    Raises InvalidInput for a file that is missing, of another kind, or holds no texts.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        if path.suffix.lower() == ".txt":
            return path.read_text(encoding="utf-8").splitlines()
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded as archive:
                if array not in archive.files:
                    raise InvalidInput(f"array must be one of {', '.join(archive.files)} in {path}; got {array!r}")
                loaded = archive[array]
    except InvalidInput:
        raise
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise InvalidInput(f"{path} cannot be read as texts: {str(error).splitlines()[0]}") from error
    if loaded.ndim != 1 or loaded.dtype.kind not in "US":
        raise InvalidInput(f"{path} must hold one list of texts; got {loaded.dtype} of shape {loaded.shape}")
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in loaded]
