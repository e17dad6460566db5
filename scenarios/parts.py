"""The parts of an attention law in a scenario file: a word, or a table { law = "the word", with its numbers }.

The tables are made from the parts themselves: a part that is added to a registry of `attndyn.particles` is hereby known
to scenario files, with its fields as keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_type_hints

from pydantic import Discriminator, Field, GetCoreSchemaHandler, Tag, create_model
from pydantic_core import CoreSchema

from ..errors import InvalidInput
from ..particles import masks, normalisations, priors, scores
from .values import ArrayFile, OneOf, Rows, Section, Vector

Array = Annotated[
    Annotated[Rows, Tag("list")] | Annotated[ArrayFile, Tag("an array file")],
    Discriminator(
        lambda value: "list" if isinstance(value, list) else "an array file",
        custom_error_type="form",
        custom_error_message="a list of rows or { file = ..., array = ... }",
    ),
]


class PartTable(Section):
    """The table of any part."""

    law: str

    @property
    def numbers(self) -> dict[str, Any]:
        """What it gives beside its name."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"law"}}


class Part:
    """Annotation of a key that names a part: a word of `words`, or a table of one of the classes of a registry."""

    def __init__(self, registry: dict[str, type], *more: str) -> None:
        self._registry, self._words = registry, (*registry, *more)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        tables: Any = Union[tuple(_table(part) for part in self._registry.values())]  # noqa: UP007
        table: Any = Annotated[tables, Field(discriminator="law")]
        forms: Any = Annotated[Annotated[str, OneOf(self._words)], Tag("word")] | Annotated[table, Tag("table")]
        form = Discriminator(
            lambda value: "word" if isinstance(value, str) else "table",
        )
        return handler.generate_schema(Annotated[forms, form])


def _table(part: type) -> type[PartTable]:
    """The model of the table of one part: its name, and the fields it is made with."""
    hints = get_type_hints(part)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        if field.init:
            form = _FORMS.get((part, field.name), hints[field.name])
            default = ... if field.default is dataclasses.MISSING else field.default
            fields[field.name] = (form, Field(default, description=_MEANINGS[field.name]))
    if part is scores.Metric:  # the metric itself, or a factor of it
        fields = {name: (Array | None, Field(None, description=_MEANINGS[name])) for name in ("matrix", "factor")}
    name = part.name  # type: ignore[attr-defined]
    title = (part.__doc__ or "").splitlines()[0]
    label = f"{part.__module__.rpartition('.')[2].capitalize()}{part.__name__}"
    return create_model(label, __base__=PartTable, __doc__=title, **({"law": (Literal[name], ...)} | fields))


_FORMS: dict[tuple[type, str], Any] = {
    (masks.Given, "matrix"): Array,
    (priors.Matrix, "pi"): Array,
    (priors.Alibi, "slopes"): Vector | None,
}

_MEANINGS = {
    "freedom": "Degrees of freedom of Student's t: the lower, the heavier the tail.",
    "matrix": "One row and one column for every token (mask) or component (metric).",
    "factor": "L of the metric L^T L, with as many columns as a token has components.",
    "shift": "The weights are multiplied by exp(-shift).",
    "bias": "Added to every score.",
    "tolerance": "By how much the sums of columns may be off.",
    "iterations": "The run fails after this many.",
    "alpha": "1 is softmax, 2 sparsemax; above 1 and at most 2.",
    "mean_field": "Of densities: a token is as good as two of half its weight.",
    "count": "How many of the largest scores are kept.",
    "width": "How many places away a token is seen.",
    "causal": "Whether those behind a token are hidden from it.",
    "size": "Tokens of a block.",
    "share": "The probability with which a token is seen.",
    "seed": "Of the draw.",
    "pi": "Positive numbers, (tokens, tokens).",
    "slopes": "One for every head.",
}

SCORE = Part(scores.SCORES)
NORMALISATION = Part(normalisations.NORMALISATIONS, "sparsemax")
MASK = Part(masks.MASKS)
PRIOR = Part(priors.PRIORS, "none")

REGISTRIES: dict[str, tuple[dict[str, type], Callable[[Any], Any]]] = {
    "score": (scores.SCORES, scores.as_score),
    "normalisation": (normalisations.NORMALISATIONS, normalisations.as_normalisation),
    "mask": (masks.MASKS, masks.as_mask),
    "prior": (priors.PRIORS, priors.as_prior),
}


def make(key: str, value: str | PartTable, read: Callable[[Any], Any]) -> Any:
    """The part that a key of the section names; `read` gives the numbers of a list or an array file.

    Raises InvalidInput for numbers that do not fit.
    """
    registry, from_word = REGISTRIES[key]
    part = registry.get(word(value))
    if isinstance(value, str):
        needed = [field.name for field in dataclasses.fields(part) if _is_needed(field)] if part else []
        if needed:
            table = ", ".join([f'law = "{value}"', *(f"{name} = ..." for name in needed)])
            raise InvalidInput(f"{value} has numbers of its own: {{ {table} }}")
        return from_word(value)
    numbers = {name: read(given) if _is_array(given) else given for name, given in value.numbers.items()}
    assert part is not None  # the models know the same registry
    if part is scores.Metric:
        if len(numbers) != 1:
            raise InvalidInput("metric needs either its matrix or a factor of it")
        return scores.Metric.of_matrix(numbers["matrix"]) if "matrix" in numbers else scores.Metric(numbers["factor"])
    return part(**numbers)


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING


def word(value: str | PartTable) -> str:
    """The word of a part, which a table has as its law."""
    return value if isinstance(value, str) else value.law


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, ArrayFile))
