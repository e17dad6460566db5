"""The file of a limit study: every run's result, the errors, their rates, and where all of it comes from.

While a study goes, each run that is done is a file of its own in the folder `<path>.runs`: it is there whole or not at
all, whenever the process is killed. The HDF5 file is written when all are done, whole, under its name.

    parameters/scenario, description, provenance, findings   texts (u1), each with its sha256
    runs/<name>/<array>                                       what each run gave
    series/<name>/parameter, error[, spread, bound]           (points,)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, NoSuchName, TrajectoryError
from . import opening
from .layout import PROVENANCE, SCENARIO
from .opening import guard
from .rates import Series
from .target import check_target, put_in_place

Result = Mapping[str, NDArray[Any]]  # of one run: name -> array

CONVENTIONS = "attndyn-limit-1"
DESCRIPTION = "parameters/description"
FINDINGS = "parameters/findings"
RUNS, SERIES = "runs", "series"
NOTE = "study.json"  # in the folder of the runs: whose they are
ARRAYS = ("parameter", "error", "spread", "bound")


@dataclass(frozen=True)
class Findings:
    """What a study found: the first series is the one it is about; remarks are sentences."""

    series: Sequence[Series]
    remarks: Sequence[str] = ()


class Bench:
    """The folder in which the runs of a study lie until all are done. Nothing in it is ever half written.

    description : what makes a study the same study: kind, scenario, engine, version
    """

    def __init__(self, path: Path, description: Mapping[str, Any]) -> None:
        self.path, self.folder = path, path.with_name(path.name + ".runs")
        self._text = json.dumps(dict(description), sort_keys=True)

    def begin(self, overwrite: bool) -> None:
        """Make the folder, or go on with the one that is there. Raises InvalidInput where that is of another study."""
        with guard(self.folder, "the folder", "cannot be used"):
            if self.ours() and not overwrite:
                return
            if overwrite and (self.folder / NOTE).is_file():
                shutil.rmtree(self.folder)
            # an empty one was made just before its process was killed
            strange = self.folder.exists() and any(place.suffix != ".new" for place in self.folder.glob("*"))
            strange = strange or self.folder.is_file()
        if strange:
            raise InvalidInput(f"{self.folder} is not of this study; give another name, or remove it")
        with guard(self.folder, "the folder", "cannot be made"):
            self.folder.mkdir(exist_ok=True)
            self._put(self.folder / NOTE, self._text.encode())

    def ours(self) -> bool:
        """Whether the folder is there, and of this study."""
        note = self.folder / NOTE
        return note.is_file() and note.read_bytes() == self._text.encode()

    def done(self, name: str) -> bool:
        """Whether a run is there."""
        return self._place(name).is_file()

    def put(self, name: str, result: Result) -> None:
        """Keep a run."""
        place = self._place(name)
        making = place.with_suffix(f".{os.getpid()}.new")
        with guard(place, "the run", "cannot be written"):
            with making.open("wb") as stream:
                np.savez(stream, **{key: np.asarray(value) for key, value in result.items()})  # type: ignore[arg-type]
                stream.flush()
                os.fsync(stream.fileno())
            making.replace(place)

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """A run that is there."""
        place = self._place(name)
        try:
            with guard(place, "the run"), np.load(place, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise TrajectoryError(f"{place}: the run cannot be read: {error}") from error

    def clear(self) -> None:
        """Remove the folder, when all is in the file."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, name: str) -> Path:
        # names are words, numbers, = and spaces; the hash keeps any two apart
        plain = "".join(letter if letter.isalnum() else "-" for letter in name)[:60]
        return self.folder / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npz"

    def _put(self, place: Path, content: bytes) -> None:
        making = place.with_suffix(f".{os.getpid()}.new")
        making.write_bytes(content)
        making.replace(place)


def write_limit(
    path: Path,
    *,
    description: Mapping[str, Any],
    scenario: str,
    provenance: Mapping[str, Any],
    runs: Mapping[str, Result],
    findings: Findings,
    overwrite: bool = False,
) -> None:
    """Write the file of a study, whole. Raises InvalidInput for a path in use, TrajectoryError where it fails."""
    check_target(path, overwrite)
    making = path.with_name(path.name + ".new")
    texts = {
        SCENARIO: scenario,
        DESCRIPTION: json.dumps(dict(description), sort_keys=True),
        PROVENANCE: json.dumps(provenance, default=str),
        FINDINGS: json.dumps({"series": [_described(one) for one in findings.series], "remarks": [*findings.remarks]}),
    }
    with guard(path, "the file", "cannot be written"):
        try:
            with h5py.File(making, "w", libver=("v110", "v110")) as file:
                file.attrs["Conventions"] = np.bytes_(CONVENTIONS)
                for name, text in texts.items():
                    file[name] = np.frombuffer(text.encode(), np.uint8)
                    file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(text.encode()).hexdigest())
                for name, result in runs.items():
                    group = file.create_group(f"{RUNS}/{name}")
                    for key, value in result.items():
                        group[key] = np.asarray(value)
                for one in findings.series:
                    group = file.create_group(f"{SERIES}/{one.name}")
                    for key in ARRAYS:
                        if getattr(one, key) is not None:
                            group[key] = getattr(one, key)
            put_in_place(making, path, overwrite)
        finally:
            making.unlink(missing_ok=True)


def is_limit(path: str | Path) -> bool:
    """Whether there is a file of a limit study at `path`; False for anything else, damaged files included."""
    try:
        with opening.open_file(Path(path)) as file:
            return opening.conventions(file) == CONVENTIONS.encode()
    except (InvalidInput, TrajectoryError, OSError, RuntimeError, KeyError, ValueError, TypeError):
        return False


def open_limit(path: str | Path) -> Limit:
    """Open the file of a limit study. Raises InvalidInput without a file, TrajectoryError where it is none."""
    return Limit(path)


class Limit:
    """The file of a limit study that is open for reading.

    kind, name  : of the study and of its scenario
    series      : the errors and their rates; the first is what the study is about
    remarks     : what else was found, in sentences
    scenario_text, description, provenance : what was done, and with what

    Raises InvalidInput when there is no file, TrajectoryError when it is no limit study or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = opening.open_file(self.path)
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        file, path = self._file, self.path
        with guard(path, "Conventions"):
            if opening.conventions(file) != CONVENTIONS.encode():
                raise TrajectoryError(f"{path} is not the file of a limit study")
        with guard(path, SCENARIO):
            self.scenario_text: str = opening.read_text(file, SCENARIO, hashed=True)
        with guard(path, DESCRIPTION):
            self.description: dict[str, Any] = opening.read_json(file, DESCRIPTION, dict, hashed=True)
            self.kind, self.name = str(self.description["kind"]), str(self.description["name"])
        with guard(path, PROVENANCE):
            self.provenance: dict[str, Any] = opening.read_json(file, PROVENANCE, dict, hashed=True)
        with guard(path, FINDINGS):
            findings = opening.read_json(file, FINDINGS, dict, hashed=True)
            self.remarks = [str(remark) for remark in findings["remarks"]]
            self.series = [self._series(fields) for fields in findings["series"]]
            if not self.series:
                raise ValueError("it has no series")

    def _series(self, fields: Mapping[str, Any]) -> Series:
        place = f"{SERIES}/{fields['name']}"
        arrays = {
            key: opening.read_array(self._file, f"{place}/{key}", "f", (1,))
            for key in ARRAYS
            if opening.has(self._file, f"{place}/{key}")
        }
        expected = fields["expected"]
        return Series(
            name=str(fields["name"]),
            parameter_name=str(fields["parameter_name"]),
            law=str(fields["law"]),
            fitted=np.asarray(fields["fitted"], bool),
            expected=None if expected is None else float(expected),
            bound_name=str(fields["bound_name"]),
            **arrays,
        )

    @property
    def runs(self) -> list[str]:
        """The names of the runs."""
        with guard(self.path, RUNS):
            return list(opening.group(self._file, RUNS))

    def run(self, name: str) -> dict[str, NDArray[Any]]:
        """What a run gave: name -> array. Raises KeyError for a run that there is not."""
        if name not in self.runs:
            raise NoSuchName(f"no run {name!r}; there are {', '.join(self.runs)}")
        with guard(self.path, f"{RUNS}/{name}"):
            place = f"{RUNS}/{name}"
            ranks = tuple(range(6))
            return {
                key: opening.read_array(self._file, f"{place}/{key}", "fiub", ranks)
                for key in opening.group(self._file, place)
            }

    def summary(self) -> dict[str, Any]:
        """As JSON has it: that of the first series, and of all where there are several."""
        first, *others = [one.summary() for one in self.series]
        more = {"series": [first, *others]} if others else {}
        return {"kind": self.kind, "scenario": self.name, **first, **more, "remarks": self.remarks}

    def close(self) -> None:
        """Close the file; what was read before stays."""
        self._file.close()

    def __enter__(self) -> Limit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        from .notebook import limit_html

        return limit_html(self)

    def __repr__(self) -> str:
        return f"<Limit {str(self.path)!r}: {self.kind} of {self.name}, {len(self.runs)} runs>"


def _described(one: Series) -> dict[str, Any]:
    """What of a series is no array of numbers."""
    return {
        "name": one.name,
        "parameter_name": one.parameter_name,
        "law": one.law,
        "fitted": np.asarray(one.fitted).tolist(),
        "expected": one.expected,
        "bound_name": one.bound_name,
    }
