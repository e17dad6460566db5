"""Reading one array of numbers from a file of the user's: .npy, .npz, .csv or .h5. Never pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

SUFFIXES = (".npy", ".npz", ".csv", ".h5", ".hdf5")


def read_array(path: str | Path, array: str | None = None) -> NDArray[np.float64]:
    """Read the numbers of one array as float64.

    `array` names it in a .npz or .h5 file and may be left out where there is only one. A .csv file is rows of
    comma-separated numbers; a first line that is no numbers is taken as a heading. Raises InvalidInput for a
    file that is missing, a folder, of another kind, holds no numbers, or holds values that are not finite.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; a file with an array is needed ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    try:
        values = _read(path, array)
    except InvalidInput:
        raise
    except Exception as error:  # numpy and h5py raise many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason:
            reason = "it holds Python objects, and only numbers are read"
        raise InvalidInput(f"{path} cannot be read as an array: {reason}") from error
    if values.dtype.kind not in "fiu" or values.ndim == 0 or values.size == 0:
        raise InvalidInput(f"{path} must hold an array of numbers; got {values.dtype} of shape {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InvalidInput(f"{path} holds values that are NaN or infinite")
    return values


def in_single(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The array in float32 where that holds the same numbers, as the weights of most models are; else as it is."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single, values) else values


def _read(path: Path, array: str | None) -> NDArray:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix == ".npz":
        # opened here: NumPy leaves a file open that is no archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive[_choose(path, list(archive.files), array)]
    if suffix == ".csv":
        return _read_csv(path)
    if suffix in (".h5", ".hdf5"):
        import h5py  # not at the top: a run that reads no .h5 array needs no h5py here

        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            return file[_choose(path, names, array and array.strip("/"))][()]
    raise InvalidInput(f"{path} must be one of {', '.join(SUFFIXES)}; got {path.suffix or 'no suffix'}")


def _read_csv(path: Path) -> NDArray[np.float64]:
    with open(path, encoding="utf-8") as file:
        first = file.readline()
    try:
        [float(cell) for cell in first.split(",")]
        heading = 0
    except ValueError:
        heading = 1
    return np.loadtxt(path, delimiter=",", skiprows=heading, ndmin=2)


def _choose(path: Path, names: list[str], array: str | None) -> str:
    if array is None and len(names) == 1:
        return names[0]
    if array not in names:
        raise InvalidInput(f"array must be one of {', '.join(sorted(names)) or '(none)'} in {path}; got {array!r}")
    return array
