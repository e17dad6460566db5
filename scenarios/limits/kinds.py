"""The kinds of limit studies. A new one is a module with a `KIND`, its keys in `keys.py`, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...errors import InvalidInput
from ...particles.backends import Engine
from ..schema import Scenario
from .keys import KEYS

Result = dict[str, NDArray[Any]]
Results = Mapping[str, Result]

MODULES = {name: name.replace("-", "_") for name in KEYS}


@dataclass(frozen=True)
class Kind:
    """One kind of study.

    name     : as the section [limit] has it
    wrong    : pairs of a key and a sentence, for a scenario that the study is not for
    tasks    : the names of the runs; each can be computed alone, in any order and process. The shortest first
    run      : what a run gives, name -> array, from a scenario whose section [limit] is of this kind
    conclude : what follows from all runs
    """

    name: str
    wrong: Callable[[Scenario], Iterator[tuple[str, str]]]
    tasks: Callable[[Scenario], Sequence[str]]
    run: Callable[[Scenario, str, Engine], Result]
    conclude: Callable[[Scenario, Results], Findings]


def kind_of(name: str) -> Kind:
    """The kind of this name. Raises InvalidInput for an unknown one."""
    if name not in MODULES:
        raise InvalidInput(f"kind must be one of {', '.join(MODULES)}; got {name!r}")
    found: Kind = import_module(f".{MODULES[name]}", __package__).KIND
    return found


def numbered(what: str, values: Sequence[Any]) -> list[str]:
    """Names of runs: "L = 8", "L = 16", ..."""
    return [f"{what} = {value:.10g}" for value in values]


def scalar(result: Result, name: str) -> float:
    """A number of a run."""
    return float(np.asarray(result[name]).item())
