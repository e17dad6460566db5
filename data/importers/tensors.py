"""The tensors of a checkpoint in safetensors files: read here, never by pickle.

Such a file is the length of its header (8 bytes), the header (JSON: name, type, shape and place of each tensor), and
the numbers. A header may be anybody's: every claim is held against the file's length before a number is read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .json_files import parse_object

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000  # that of the format's own library
LARGEST_RANK = 8
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # bfloat16 is the upper half of a float32
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # of checkpoints of 2018


@dataclass(frozen=True)
class Stored:
    """Where a tensor stands: a file, its type there, its shape, and its first byte."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    begin: int


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint by name.

    stored : where each is
    files  : the files, in order
    prefix : what its names begin with in the files
    """

    stored: Mapping[str, Stored]
    files: tuple[Path, ...]
    prefix: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def below(self, prefixes: Sequence[str], needed: Iterable[str]) -> Tensors:
        """The tensors under that one of some prefixes which has most of the needed ones, by their names without it."""
        needed = list(needed)
        prefix = max(prefixes, key=lambda each: sum(each + name in self.stored for name in needed))
        inside = {name[len(prefix) :]: found for name, found in self.stored.items() if name.startswith(prefix)}
        return replace(self, stored=inside, prefix=prefix)

    def check(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Raise InvalidInput unless tensors of these names and shapes are there, of numbers that can be read."""
        shapes = list(dict.fromkeys(shapes))
        missing = [name for name, _ in shapes if name not in self.stored]
        if missing:
            more = f"; {len(missing)} of {len(shapes)} tensors are missing" if len(missing) > 1 else ""
            raise InvalidInput(f"{self.files[0].parent}: the tensor {self.prefix}{missing[0]} is missing{more}")
        for name, shape in shapes:
            found = self.stored[name]
            if found.shape != shape:
                raise InvalidInput(
                    f"{found.path}: the tensor {self.prefix}{name} must have the shape {shape} by config.json; "
                    f"got {found.shape}"
                )
            if found.kind not in TYPES:
                raise InvalidInput(
                    f"{found.path}: the tensor {self.prefix}{name} must be of one of the types {', '.join(TYPES)}; "
                    f"got {found.kind}"
                )

    def precision(self, name: str) -> np.dtype:
        """The type as which a tensor is kept: float64 or float32, which holds the shorter ones exactly."""
        return np.dtype("<f8" if self.stored[name].kind == "F64" else "<f4")

    def read(self, name: str, rows: NDArray[np.integer] | slice | None = None) -> NDArray[np.floating]:
        """A tensor, or some of its rows, float64 or float32. Raises InvalidInput where it is not finite."""
        found = self.stored[name]
        mapped = np.memmap(found.path, TYPES[found.kind], "r", offset=found.begin, shape=found.shape)
        numbers = np.array(mapped if rows is None else mapped[rows])
        if found.kind == "BF16":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        numbers = numbers.astype(self.precision(name), copy=False)
        if not np.isfinite(numbers).all():
            raise InvalidInput(f"{found.path}: the tensor {self.prefix}{name} holds values that are NaN or infinite")
        return numbers

    def checksum(self) -> str:
        """The sha256 of the files, one after another: of one file what sha256sum says."""
        digest = hashlib.sha256()
        for path in self.files:
            with open(path, "rb") as file:
                while piece := file.read(1 << 22):
                    digest.update(piece)
        return digest.hexdigest()


def open_tensors(folder: Path) -> Tensors:
    """The tensors in a folder: of model.safetensors, or of the files that model.safetensors.index.json names.

    Raises InvalidInput where there are none, or where a header is broken or claims what the file does not hold.
    """
    if (folder / SINGLE).is_file():
        return _tensors([folder / SINGLE])
    index = folder / INDEX
    if not index.is_file():
        raise InvalidInput(f"{folder} holds neither {SINGLE} nor {INDEX}")
    places = parse_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise InvalidInput(f"{index} must have a weight_map from tensors to files")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InvalidInput(f"{index} must name safetensors files beside it; got {name!r}")
        if not (folder / name).is_file():
            raise InvalidInput(f"{index} names the file {name}, which is missing")
    tensors = _tensors([folder / name for name in names])
    for tensor, name in places.items():
        found = tensors.stored.get(_today(tensor))
        if found is None or found.path.name != name:
            raise InvalidInput(f"{index} says that {tensor} is in {name}, which does not hold it")
    return tensors


def _tensors(files: list[Path]) -> Tensors:
    stored = {_today(name): found for path in files for name, found in _header(path).items()}
    return Tensors(stored, tuple(files))


def _today(name: str) -> str:
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _header(path: Path) -> dict[str, Stored]:
    """What a file says of its tensors, held against its length."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise InvalidInput(
                f"{path} is no safetensors file, or was cut off: of its {size} bytes the header would take {length}"
            )
        entries = parse_object(path, file.read(length), "header")
    first, room = 8 + length, size - 8 - length
    return {name: _stored(path, name, entry, first, room) for name, entry in entries.items() if name != "__metadata__"}


def _stored(path: Path, name: str, entry: Any, first: int, room: int) -> Stored:
    """One tensor of a header, whose numbers begin at the byte `first` of the file and take `room`."""
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(kind, str) and _wholes(shape, LARGEST_RANK) and _wholes(offsets, 2) and len(offsets) == 2):
        raise InvalidInput(f"{path}: the header's entry of {name[:200]!r} has no dtype, shape and data_offsets")
    begin, end = offsets
    if not begin <= end <= room:
        raise InvalidInput(f"{path}: the tensor {name[:200]} would end at byte {end} of {room}: the file was cut off")
    if kind in TYPES and math.prod(shape) * np.dtype(TYPES[kind]).itemsize != end - begin:
        raise InvalidInput(f"{path}: the tensor {name[:200]} claims the shape {tuple(shape)} in {end - begin} bytes")
    return Stored(path, kind, tuple(shape), first + begin)


def _wholes(values: Any, most: int) -> bool:
    return isinstance(values, list) and len(values) <= most and all(type(n) is int and 0 <= n < 1 << 62 for n in values)
