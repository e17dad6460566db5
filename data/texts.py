"""The texts of a trajectory file as bytes, and what names of observables may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInput
from ..particles import Ensemble
from . import layout
from .kept_arrays import ArrayName


def checked_observables(
    observables: Sequence[str] | Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Observables as name -> shape of one replica's value, () or (k,)."""
    if isinstance(observables, str):
        raise InvalidInput(f"observables must be a list of names; got the string {observables!r}")
    if not isinstance(observables, Mapping):
        if len(set(observables)) < len(observables):
            raise InvalidInput(f"observables must differ from each other; got {list(observables)}")
        observables = dict.fromkeys(observables, ())
    for name, shape in observables.items():
        if not name.isidentifier() or name in layout.RESERVED_NAMES:
            raise InvalidInput(
                "an observable's name must be letters, digits and _, and none of "
                f"{', '.join(layout.RESERVED_NAMES)}; got {name!r}"
            )
        if len(shape) > 1 or 0 in shape:
            raise InvalidInput(f"observable {name} must be a number or a vector; got the shape {shape}")
    return dict(observables)


def texts_of(
    ensemble: Ensemble,
    scenario: str,
    provenance: Mapping[str, Any],
    token_strings: Sequence[str] | None,
    arrays: Sequence[ArrayName],
) -> dict[str, bytes]:
    """Every text of the file: dataset -> bytes."""
    origin = json_of("provenance", provenance)
    texts = {
        layout.SCENARIO: scenario.encode(),
        layout.PROVENANCE: origin.ljust(max(2 * len(origin), layout.PROVENANCE_BYTES)),
        layout.SPACE: json_of("space", {"kind": ensemble.space.name, **vars(ensemble.space)}),
        layout.OUTCOME: outcome_of("running", {}),
    }
    if token_strings is not None:
        strings = list(token_strings)
        if len(strings) != ensemble.tokens or not all(isinstance(string, str) for string in strings):
            raise InvalidInput(f"token_strings must be {ensemble.tokens} strings; got {len(strings)} values")
        texts[layout.TOKEN_STRINGS] = json_of("token_strings", strings)
    if arrays:
        texts[layout.ARRAY_NAMES] = json_of("arrays", arrays)
    return texts


def outcome_of(status: str, statistics: Mapping[str, float]) -> bytes:
    """Status and statistics as JSON of a fixed number of bytes, so that they can be rewritten in place."""
    for length in (1000, 100):  # a long status is cut; each of its letters may take 6 bytes
        text = json_of("statistics", {"status": status[:length], "statistics": dict(statistics)})
        if len(text) <= layout.OUTCOME_BYTES:
            return text.ljust(layout.OUTCOME_BYTES)
    raise InvalidInput(f"statistics must fit into {layout.OUTCOME_BYTES} bytes; got {len(statistics)} of them")


def json_of(name: str, value: Any) -> bytes:
    """A value as JSON. Raises InvalidInput, which begins with the name, where JSON cannot hold it."""
    try:
        return json.dumps(value, default=lambda scalar: scalar.item()).encode()  # .item() for numpy's numbers
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{name} cannot be written as JSON: {error}") from None
