"""Changing the tables of a scenario by dotted keys, and what a command line says of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInput, ScenarioError
from .toml import parse_value

# what a key replaces, so that a change does not contradict the file it changes
REPLACES = {
    "save.every": ("save.times",),
    "save.times": ("save.every",),
    "depth.layers": ("depth.time", "depth.method", "depth.rtol", "depth.atol", "depth.max_steps"),
    "depth.time": ("depth.layers", "depth.residual", "depth.scaling", "depth.weights"),
    "depth.weights": ("depth.schedule",),
    "depth.schedule.every": ("depth.schedule.depths",),
    "depth.schedule.depths": ("depth.schedule.every",),
}


def merge(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tables with the value of every dotted key changed, or removed where it is None.

    Raises ScenarioError for a key with an empty part.
    """
    merged = copy.deepcopy(dict(tables))
    kept = _kept(merged.get("depth"), changes)
    for key in changes:
        for replaced in set(REPLACES.get(key, ())) - changes.keys() - kept:
            _change(merged, replaced, None)
    for key, value in changes.items():
        _change(merged, key, _plain(value))
    return merged


def assignments(option: str, texts: Sequence[str] | None) -> dict[str, Any]:
    """The keys and values of texts of the form section.key=value. Raises InvalidInput, naming the option."""
    values: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"{option}: must have the form section.key=value; got {text!r}")
        values[key.strip()] = parse_value(value.strip())
    return values


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers of a text, separated by commas. Raises InvalidInput, naming the option."""
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(f"{option}: must be numbers separated by commas; got {text!r}") from None


def frames_of(option: str, text: str | None) -> slice:
    """The slice that a text like 0:100:10 stands for. Raises InvalidInput, naming the option."""
    parts = [] if text is None else text.split(":")
    try:
        if text is not None and not 2 <= len(parts) <= 3:
            raise ValueError
        return slice(*(int(part) if part.strip() else None for part in parts)) if parts else slice(None)
    except ValueError:
        raise InvalidInput(f"{option}: must have the form first:last:step, as 0:100:10; got {text!r}") from None


def replica_of(option: str, text: str | None) -> int | str | None:
    """The number of a replica, or "all". Raises InvalidInput, naming the option."""
    try:
        return text if text in (None, "all") else int(text)
    except ValueError:
        raise InvalidInput(f'{option}: must be a number or "all"; got {text!r}') from None


def _kept(depth: Any, changes: Mapping[str, Any]) -> set[str]:
    """The keys that are not replaced: those of a schedule, which goes with layers and with time."""
    weights = changes.get("depth.weights", depth.get("weights") if isinstance(depth, dict) else None)
    return {"depth.weights", "depth.schedule"} if weights == "schedule" else set()


def _change(tables: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    if not all([*path, last]):
        raise ScenarioError(f"{key!r}: a key has the form section.key, for example attention.beta")
    table = tables
    for part in path:
        if not isinstance(table.get(part), dict):
            if value is None:
                return
            table[part] = {}
        table = table[part]
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and tuples, as TOML has them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
