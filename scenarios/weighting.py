"""Token weights that change with depth in a scenario file: the table tokens.weights, and the section [focus]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Field, Tag

from ..integrators.course import WITH_FOCUS
from .parts import Array
from .values import Points, Section, Vector

if TYPE_CHECKING:
    from .schema import Scenario


class WeightTable(Section):
    """Token weights at some depths."""

    depths: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        description="The depths of the rows, from 0 on, increasing."
    )
    rows: Array = Field(description="A row for each depth: weights of all tokens, nonnegative with sum 1.")
    interpolated: bool = Field(
        default=True, description="Whether weights change linearly from one depth to the next, or jump."
    )


def _form(value: Any) -> str | None:
    if isinstance(value, list):
        return "fixed"
    if isinstance(value, WeightTable) or (isinstance(value, dict) and "depths" in value):
        return "changing"
    return "fixed" if isinstance(value, dict) or hasattr(value, "file") else None


TokenWeights = Annotated[
    Annotated[Vector, Tag("fixed")] | Annotated[WeightTable, Tag("changing")],
    Discriminator(
        _form,
        custom_error_type="form",
        custom_error_message="a list of numbers, { file = ..., array = ... } or { depths = ..., rows = ... }",
    ),
]


class FocusSection(Section):
    """A focus of attention: a point that the tokens' density draws along, around which the token weights lie."""

    position: Points = Field(description="Where it starts: a point of the space, or one for each replica.")
    velocity: Points | None = Field(default=None, description="Its velocity there; by default it is at rest.")
    strength: float = Field(default=1.0, description="Of the force by which tokens draw it; negative: drive it away.")
    reach: float = Field(default=1.0, gt=0, description="The distance at which tokens draw it.")
    width: float = Field(default=1.0, gt=0, description="The distance around it within which tokens have weight.")
    damping: float = Field(default=1.0, ge=0, description="Of its motion.")


def wrong_unless_fixed(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """As `wrong_weighting`, of a study for which token weights must stay."""
    if scenario.focus is not None:
        yield "focus", "has no place in this study, for which token weights must stay"
    if isinstance(scenario.tokens.weights, WeightTable):
        yield "tokens.weights", "must stay the same over depth in this study"


def wrong_weighting(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Pairs of a key and a sentence that says with what it does not go together."""
    depth, changing = scenario.depth, isinstance(scenario.tokens.weights, WeightTable)
    if changing and scenario.focus is not None:
        yield "focus", "decides on the token weights; tokens.weights must be fixed, not change with depth"
    if not changing and scenario.focus is None:
        return
    key = "tokens.weights" if changing else "focus"
    if depth.merge is not None:
        yield "depth.merge", f"does not go with token weights that change with depth; got {depth.merge:g}"
    if depth.sums != "exact":
        yield "depth.sums", f'must be "exact" with {key}; got "{depth.sums}"'
    if scenario.focus is None:
        return
    if depth.noise > 0.0:
        yield "depth.noise", f"does not go with a focus; got {depth.noise:g}"
    if depth.layers is None and depth.method not in WITH_FOCUS:
        yield "depth.method", f"must be one of {', '.join(WITH_FOCUS)} with a focus; got {depth.method!r}"
