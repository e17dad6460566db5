"""The config.json of a checkpoint: its values, checked as they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InvalidInput
from .json_files import parse_object

FILE = "config.json"
MOST_LAYERS = 1000
MOST = 2**31

ACTIVATIONS = {  # as transformers calls them: as a scenario does
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_accurate": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_python_tanh": "gelu-tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Config:
    """The values of a config.json; a key that is not there, or null, has its default.

    Every method raises InvalidInput, with the key, what it must be and what was given.
    """

    path: Path
    values: dict[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is."""
        value = self.values.get(key)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None, most: int = MOST) -> int:
        """A whole number from 1 to `most`."""
        value = self.get(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, f"a whole number from 1 to {most}")
        return value

    def layers(self, key: str) -> int:
        """How many layers there are."""
        return self.whole(key, most=MOST_LAYERS)

    def size(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        return as_size(self, key, self.get(key, default))

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def activation(self, key: str, default: str) -> str:
        """An activation, by the name that a scenario gives it."""
        value = self.get(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.wrong(key, f"one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def head_dimension(self, dimension: int, heads: int, heads_key: str) -> int:
        """Components of a head, where the heads share those of a token."""
        if dimension % heads:
            raise self.wrong(heads_key, f"a divisor of the dimension {dimension}")
        return dimension // heads

    def only(self, key: str, allowed: Any, why: str = "") -> None:
        """Refuse any value of a key but one."""
        if self.get(key, allowed) != allowed:
            raise self.wrong(key, f"{allowed!r}{why and f' ({why})'}")

    def wrong(self, key: str, allowed: str) -> InvalidInput:
        """The error of a value."""
        given = repr(self.values[key]) if key in self.values else "nothing"
        return InvalidInput(f"{self.path}: {key} must be {allowed}; got {given if len(given) < 80 else given[:77]}")


def as_size(config: Config, key: str, value: Any) -> float:
    """A positive number that was found under a key, or in its table."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300 or math.isnan(value):
        raise config.wrong(key, "a positive number")
    return float(value)


def read_config(folder: Path) -> Config:
    """The config.json of a folder. Raises InvalidInput where it is missing or no JSON object."""
    path = folder / FILE
    if not path.is_file():
        raise InvalidInput(f"{folder} holds no {FILE}: it is no checkpoint of Hugging Face")
    return Config(path, parse_object(path))
