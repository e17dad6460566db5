"""The section [limit] of a scenario file: for each kind of study the keys it has."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, Discriminator, Field, Tag

from ..values import ArrayFile, Section


def _once(values: list[Any]) -> list[Any]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"must name every value once; got {twice} twice")
    return values


def _at_least_two(values: list[int]) -> list[int]:
    if min(values) < 2:
        raise ValueError(f"must be numbers of at least 2; got {min(values)}")
    return values


Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2), AfterValidator(_once)]
Numbers = Annotated[list[float], Field(min_length=2), AfterValidator(_once)]
Positives = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]


class DepthKeys(Section):
    """The same depth T in more and more layers: the network against the flow."""

    kind: Literal["depth"] = Field(description="The kind of study.")
    layers: Counts = Field(
        default=[8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
        description="Numbers of layers L, of step T / L; for a model's own layers by default 1, 2, 4, ... 64 to each.",
    )
    network: Literal["layer", "heun", "rk4"] = Field(
        default="layer", description="What a layer is: the network's own map, or a step of Heun's or of Runge's method."
    )
    tolerance: float = Field(
        default=1e-13, ge=1e-15, lt=1e-2, description="Of the flow that is the limit, relative to the tokens."
    )
    samples: int = Field(
        default=1, ge=1, le=100_000, description="With independent weights: so many networks with weights of their own."
    )


class TokensKeys(Section):
    """More and more tokens of one law, at depth T, against the limit of infinitely many."""

    kind: Literal["tokens"] = Field(description="The kind of study.")
    counts: Counts = Field(default=[2**k for k in range(4, 14)], description="Numbers of tokens n.")
    limit: Literal["auto", "closure", "density", "largest"] = Field(
        default="auto",
        description="closure: gaussian tokens in R^d; density: tokens on the circle; largest: the largest of all.",
    )
    work: int = Field(default=2**18, ge=16, description="Tokens of each size in all: work / n replicas.")
    least: int = Field(default=2, ge=1, description="The least number of replicas.")
    exact: int = Field(
        default=0,
        ge=0,
        le=5000,
        description="R^d: up to this n also W1 itself, to as many tokens drawn from the limit.",
    )
    float32_from: int | None = Field(
        default=None,
        ge=1,
        description="Numbers of tokens from which on the run is in float32, whose rounding is far below.",
    )


class TimeKeys(Section):
    """Depths so large that clusters meet: the lengths of plateaus against beta."""

    kind: Literal["time"] = Field(description="The kind of study.")
    betas: Numbers = Field(default=[8.0, 16.0, 32.0], description="Inverse temperatures.")
    end: float | None = Field(
        default=None, gt=0, description="The depth at which each run ends; by default depth.time."
    )
    merge: float = Field(default=1e-9, gt=0, description="Tokens that have come within this distance become one.")


class FixedPointKeys(Section):
    """One layer iterated without end: the fixed point, and how fast it is reached."""

    kind: Literal["fixed-point"] = Field(description="The kind of study.")
    injection: Annotated[
        Annotated[Literal["none", "tokens"], Tag("name")] | Annotated[ArrayFile, Tag("an array file")],
        Discriminator(
            lambda value: "name" if isinstance(value, str) else "an array file",
            custom_error_type="form",
            custom_error_message='"none", "tokens" or { file = ..., array = ... }',
        ),
    ] = Field(default="none", description="What every layer adds: nothing, the initial tokens, or an array.")
    scale: float = Field(default=1.0, description="A factor of what is injected.")
    methods: Annotated[list[Literal["picard", "anderson", "newton-krylov"]], Field(min_length=1)] = Field(
        default=["picard", "anderson", "newton-krylov"],
        description="The network itself, and others that look for its fixed point.",
    )
    starts: int = Field(default=8, ge=1, le=10_000, description="Starts of the network: the tokens, and random ones.")
    tolerance: float = Field(
        default=1e-12, ge=1e-15, lt=1, description="Of the residual, relative to the tokens' size."
    )
    most: int = Field(default=10_000, ge=1, description="Evaluations of the layer, of each method.")
    memory: int = Field(default=5, ge=1, description="Moves that Anderson acceleration keeps.")


class TemperatureKeys(Section):
    """Softmax at many temperatures, against hardmax or against averaging."""

    kind: Literal["temperature"] = Field(description="The kind of study.")
    towards: Literal["hardmax", "averaging"] = Field(
        default="hardmax", description="The limit: hardmax, of beta to infinity, or averaging, of beta to 0."
    )
    betas: Positives | None = Field(
        default=None, description="Inverse temperatures; by default 1, 1.5, 2, 3, ... 1024 or 1, 1/2, 1/4, ... 2^-12."
    )


class PerturbationKeys(Section):
    """Two ensembles under one law: how far apart they are, as measures, over depth."""

    kind: Literal["perturbation"] = Field(description="The kind of study.")
    change: Literal["swap", "noise", "subsample", "adversarial"] = Field(
        default="noise",
        description="swap: a token is replaced by another; noise: all are displaced; subsample: some are left out; "
        "adversarial: the one token whose displacement grows most, and to where.",
    )
    token: int | str | None = Field(
        default=None,
        description="swap: the token that is replaced, its number or its text, of which the first is meant.",
    )
    by: Annotated[list[int | str], Field(min_length=1)] | None = Field(
        default=None, description="swap: what takes its place, one after the other: numbers or texts of tokens."
    )
    rows: ArrayFile | None = Field(
        default=None, description="swap: an array (rows, dimension) whose rows the numbers of `by` then mean."
    )
    row_strings: ArrayFile | None = Field(
        default=None, description="swap: the texts of these rows, by which `by` can name them; needs `rows`."
    )
    size: float | None = Field(
        default=None,
        gt=0,
        description="noise: the standard deviation of a component; adversarial: by how much the token is displaced. By "
        "default 0.01 of the tokens' root mean square length.",
    )
    keep: int | None = Field(default=None, ge=1, description="subsample: how many tokens are kept; by default half.")
    samples: int = Field(
        default=1, ge=1, le=10_000, description="noise and subsample: so many of them, of which the worst is looked at."
    )
    seed: int | None = Field(default=None, ge=0, description="Of the samples; by default that of the tokens.")
    depths: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = Field(
        default=None, description="Where they are compared; by default at 20 depths to the end, or at as many layers."
    )


class RegularityKeys(Section):
    """The local Lipschitz constant of each layer's attention on a text, against the number of its tokens."""

    kind: Literal["regularity"] = Field(description="The kind of study.")
    tokens: Annotated[Counts, AfterValidator(_at_least_two)] | None = Field(
        default=None,
        description="Numbers of tokens: the first ones of the text; by default 8, 16, ... 512, as many as there are.",
    )
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_once)] | None = Field(
        default=None, description="Layers of a network, from 0; by default all, or 12 of more."
    )
    depths: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_once)] | None = Field(
        default=None, description="Depths of a flow; by default 0."
    )
    masks: Annotated[list[Literal["none", "causal"]], Field(min_length=1), AfterValidator(_once)] | None = Field(
        default=None,
        description="Masks of the attention whose constant is measured, at the tokens of the network with its own; by "
        "default that alone.",
    )
    samples: int = Field(
        default=1, ge=1, le=1000, description="Parts of the text of each length, evenly from its first to its last."
    )
    adversarial: bool = Field(
        default=False, description="Measure also at the steepest tokens that are known in the same ball."
    )


KEYS: dict[str, type[Section]] = {
    "depth": DepthKeys,
    "fixed-point": FixedPointKeys,
    "tokens": TokensKeys,
    "temperature": TemperatureKeys,
    "time": TimeKeys,
    "perturbation": PerturbationKeys,
    "regularity": RegularityKeys,
}


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in KEYS else None


class _AnyKind:
    """Annotation of the section: one model for every kind."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        tagged = [Annotated[model, Tag(name)] for name, model in KEYS.items()]
        union: Any = Union[tuple(tagged)]  # noqa: UP007
        chosen = Discriminator(
            _kind, custom_error_type="form", custom_error_message=f"a table whose kind is one of {', '.join(KEYS)}"
        )
        return handler.generate_schema(Annotated[union, chosen])


LimitSection = Annotated[Section, _AnyKind()]
