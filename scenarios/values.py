"""The forms in which a scenario file may give a value: a name, numbers, a matrix, an array in a file."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_type_hints

from numpy.typing import ArrayLike
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from ..particles import initial, weights


class Section(BaseModel):
    """A table of a scenario file: unknown keys, NaN and values of another type are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OneOf:
    """Annotation of a text that must be one of these names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(self.names)


def _one_length(rows: list[list[float]]) -> list[list[float]]:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"all rows must have the same number of entries; got {sorted(lengths)}")
    return rows


Rows = Annotated[list[list[float]], Field(min_length=1), AfterValidator(_one_length)]


class ArrayFile(Section):
    """One array of a .npy, .npz, .csv or .h5 file."""

    file: str = Field(description="Path of the file, relative to the scenario file.")
    array: str | None = Field(default=None, description="Name of the array in a .npz or .h5 file that holds several.")


class RandomMatrix(Section):
    """A matrix drawn from a family."""

    law: Annotated[str, OneOf(weights.FAMILIES)] = Field(
        description="The family; gaussian entries are N(0, 1/columns), symmetric is the Gaussian orthogonal ensemble."
    )
    scale: float = Field(default=1.0, description="A factor of the whole matrix.")
    seed: int | None = Field(default=None, ge=0, description="The seed of this matrix; by default that of the tokens.")


def _kind_of_matrix(value: Any) -> str | None:
    if value == "identity":
        return "name"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return _kind_of_array(value) or _kind_of_table(value)


def _kind_of_table(value: Any) -> str | None:
    return "drawn" if isinstance(value, (dict, RandomMatrix)) else None


def _kind_of_array(value: Any) -> str | None:
    if isinstance(value, list):
        return "list"
    if isinstance(value, ArrayFile) or (isinstance(value, dict) and "law" not in value):
        return "an array file"
    return None


Matrix = Annotated[
    Annotated[Literal["identity"], Tag("name")]
    | Annotated[float, Tag("number")]
    | Annotated[Rows, Tag("list")]
    | Annotated[RandomMatrix, Tag("drawn")]
    | Annotated[ArrayFile, Tag("an array file")],
    Discriminator(
        _kind_of_matrix,
        custom_error_type="form",
        custom_error_message='"identity", a number, a list of rows, { law = ... } or { file = ... }',
    ),
]

Vector = Annotated[
    Annotated[list[float], Field(min_length=1), Tag("list")] | Annotated[ArrayFile, Tag("an array file")],
    Discriminator(
        _kind_of_array,
        custom_error_type="form",
        custom_error_message="a list of numbers or { file = ..., array = ... }",
    ),
]


def _kind_of_rotary(value: Any) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return _kind_of_array(value)


Rotary = Annotated[
    Annotated[float, Field(gt=1), Tag("number")]
    | Annotated[list[float], Field(min_length=1), Tag("list")]
    | Annotated[ArrayFile, Tag("an array file")],
    Discriminator(
        _kind_of_rotary,
        custom_error_type="form",
        custom_error_message="a number, a list of numbers or { file = ..., array = ... }",
    ),
]


def _kind_of_points(value: Any) -> str | None:
    if not isinstance(value, list):
        return None
    return "points" if any(isinstance(item, list) for item in value) else "point"


Points = Annotated[
    Annotated[list[float], Field(min_length=1), Tag("point")] | Annotated[Rows, Tag("points")],
    Discriminator(_kind_of_points, custom_error_type="form", custom_error_message="a list of numbers or of such lists"),
]


class InitialLaw:
    """Annotation of the table `tokens.initial`: one model for every initial law, made from its parameters.

    A law that is added to `attndyn.particles.initial.LAWS` is hereby known to scenario files too.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = (*(_initial_model(law) for law in initial.LAWS), InitialFile)
        return handler.generate_schema(Annotated[Union[models], Field(discriminator="law")])  # noqa: UP007


class InitialTable(Section):
    """The table `tokens.initial` of any law."""

    law: str


class InitialFile(InitialTable):
    """Tokens from a file: (tokens, dimension) or (replicas, tokens, dimension)."""

    law: Literal["file"]
    file: str = Field(description="Path of the file, relative to the scenario file.")
    array: str | None = Field(default=None, description="Name of the array in a .npz or .h5 file that holds several.")


def _initial_model(law: str) -> type[InitialTable]:
    function = initial.LAWS[law]
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[3:]
    fields: dict[str, Any] = {
        p.name: (_form(hints[p.name]), Field(default=p.default, description=_MEANINGS[p.name])) for p in parameters
    }
    title = (function.__doc__ or "").splitlines()[0]
    fields = {"law": (Literal[law], Field(description="The initial law."))} | fields
    return create_model(f"Initial{law.capitalize()}", __base__=InitialTable, __doc__=title, **fields)


_MEANINGS = {  # of the parameters of initial laws
    "radius": "R^d only: of the ball or sphere, half the width of the cube; by default 1.",
    "region": "R^d only: where tokens are uniform; by default the ball.",
    "mean": "A point; by default the origin.",
    "deviation": "Standard deviation of every component.",
    "covariance": "Instead of the deviation: a symmetric matrix (dimension, dimension).",
    "clusters": "So many centres are drawn; or give centres.",
    "centres": "The points, one a row.",
    "spread": "Standard deviation of every component about its centre.",
    "cosine": "The cosine of the angle between any two tokens.",
    "phase": "The angle of the first token.",
}


def _form(hint: Any) -> Any:
    """The form in a scenario file of a parameter with this type hint."""
    if hint == ArrayLike:
        return Points
    return Points | None if hint == (ArrayLike | None) else hint
