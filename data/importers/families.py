"""The families of transformers that are read. A new one is a module and a row of FAMILIES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...errors import InvalidInput
from . import albert, bert, gpt2, llama
from .config import Config
from .model import Model


class Family(NamedTuple):
    """What reads a configuration, and what the names of the tensors may begin with, where the model is part of one."""

    read: Callable[[Config], Model]
    prefixes: Sequence[str]


FAMILIES: dict[str, Family] = {  # by the model_type of config.json
    "bert": Family(bert.read, bert.PREFIXES),
    "albert": Family(albert.read, albert.PREFIXES),
    "gpt2": Family(gpt2.read, gpt2.PREFIXES),
    "llama": Family(llama.read, llama.PREFIXES),
}


def family_of(config: Config) -> Family:
    """The family of a configuration. Raises InvalidInput for another one, and for weights of few bits."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise InvalidInput(f"{config.path}: model_type must be one of {', '.join(FAMILIES)}; got {kind!r:.80}")
    if config.get("quantization_config") is not None:
        raise InvalidInput(f"{config.path}: the weights are quantised (quantization_config); plain ones are read")
    return FAMILIES[kind]
