"""The sections of a scenario file, each a model whose fields are the section's keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ..integrators import METHODS, SPLITTING_METHODS
from ..integrators.course import SCALINGS
from ..particles import multipliers
from ..particles.backends import SUMS
from ..particles.observables import REGISTRY
from .parts import MASK, NORMALISATION, PRIOR, SCORE, Array, PartTable
from .schedule import ScheduleSection
from .values import (
    ArrayFile,
    InitialFile,
    InitialLaw,
    InitialTable,
    Matrix,
    OneOf,
    RandomMatrix,
    Rotary,
    Section,
    Vector,
)
from .weighting import TokenWeights


class Tokens(Section):
    """The tokens and where they start."""

    count: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Number of tokens of each replica; by default all that the file of the initial law holds, else 64.",
    )
    dimension: int | None = Field(
        default=None,
        ge=1,
        le=10**6,
        description="Number of components of a token; by default that of the file of the initial law, else 3.",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=10**7,
        description="Number of independent copies of the system, each with its own random tokens.",
    )
    initial: Annotated[InitialTable, InitialLaw()] = Field(
        default_factory=lambda: {"law": "uniform"},
        validate_default=True,
        description="The law of the initial positions, with its parameters.",
    )
    weights: TokenWeights | None = Field(
        default=None,
        description="Token weights, nonnegative with sum 1, by default 1/count each; or rows of them for some depths.",
    )
    seed: int = Field(
        default=0, ge=0, description="The one seed of the scenario: of the tokens, of random matrices and of the noise."
    )
    dtype: Literal["float64", "float32"] = Field(default="float64", description="The floating-point type of the run.")
    strings: ArrayFile | None = Field(
        default=None,
        description="The tokens as text: an array of a .npy or .npz file, or a .txt file of one token a line.",
    )

    @property
    def from_file(self) -> InitialFile | None:
        """The initial law, where it reads a file."""
        return self.initial if isinstance(self.initial, InitialFile) else None


class SpaceSection(Section):
    """The space in which tokens live."""

    kind: Literal["sphere", "euclidean"] = Field(
        default="sphere", description="The sphere |x| = radius, or all of R^d."
    )
    radius: float | None = Field(default=None, gt=0, description="Radius of the sphere; by default 1.")


class Gate(Section):
    """The gate sigma(matrix x_i + bias)."""

    on: Literal["output", "values", "heads"] = Field(default="output", description="What is multiplied by it.")
    matrix: Array = Field(description="One row for every number of what it is on, one column for every component.")
    bias: Vector | None = Field(default=None, description="Added to it.")


class Multipliers(Section):
    """Random multipliers of the attention weights, with mean 1, drawn anew at every layer."""

    law: Annotated[str, OneOf(multipliers.LAWS)] = Field(description="Their distribution.")
    variation: float = Field(
        ge=0, le=multipliers.MOST, description="Coefficient of variation; 0 is attention without multipliers."
    )
    seed: int | None = Field(default=None, ge=0, description="The seed of the draw; by default that of the tokens.")


class AttentionSection(Section):
    """The attention law. A matrix is "identity", a number times it, rows, drawn, or read from a file."""

    beta: Annotated[float, Field(allow_inf_nan=True)] = Field(
        default=1.0,
        description="Inverse temperature: scores are beta <Q x_i, K x_j>; inf is hardmax.",
    )
    heads: int = Field(
        default=1, ge=1, le=10**6, description="Number of heads; the rows of query, key and value are split among them."
    )
    head_dimension: int | None = Field(
        default=None,
        ge=1,
        le=10**6,
        description="Rows of query, key and value for each head; by default dimension / heads.",
    )
    score: Annotated[str | PartTable, SCORE] = Field(
        default="dot", description="The score of two tokens: of dot products, angles or distances."
    )
    normalisation: Annotated[str | PartTable, NORMALISATION] = Field(
        default="softmax", description="How the scores of a row become weights; none: exp(score), not divided by a sum."
    )
    mask: Annotated[str | PartTable, MASK] = Field(
        default="none",
        description="causal: a token sees itself and those before it; without-self: all but itself; or a table.",
    )
    prior: Annotated[str | PartTable, PRIOR] = Field(default="none", description="What is added to every score.")
    rotary: Rotary | None = Field(
        default=None,
        description="Rotary positions: the base of their angles, in transformers 10000, or the angles of a token, one "
        "for every two components of a head; by default there are none.",
    )
    gate: Gate | None = Field(default=None, description="The gate of a token on what it receives.")
    multipliers: Multipliers | None = Field(
        default=None, description="With layers: random multipliers of the weights, { law = ..., variation = ... }."
    )
    shift: float = Field(
        default=0.0, description="Unnormalised attention only: the drift is multiplied by exp(-shift)."
    )
    query: Matrix = Field(default="identity", description="Query matrix, (heads * head_dimension, dimension).")
    key: Matrix = Field(default="identity", description="Key matrix, (heads * head_dimension, dimension).")
    value: Matrix = Field(default="identity", description="Value matrix, (heads * head_dimension, dimension).")
    output: Matrix | None = Field(
        default=None,
        description="Output matrix, (dimension, heads * head_dimension); by default the heads are only joined.",
    )
    query_bias: Vector | None = Field(default=None, description="Added to the queries.")
    key_bias: Vector | None = Field(default=None, description="Added to the keys.")
    value_bias: Vector | None = Field(default=None, description="Added to the values.")
    output_bias: Vector | None = Field(default=None, description="Added to the output.")

    def drawn(self) -> list[str]:
        """The keys of the matrices that are drawn."""
        return [name for name in ("query", "key", "value", "output") if isinstance(getattr(self, name), RandomMatrix)]


class Depth(Section):
    """How far and by what method the tokens move: either for a time, or through layers."""

    weights: Literal["shared", "independent", "schedule"] = Field(
        default="shared",
        description="Matrices that are drawn, or of files that hold one for each layer: one for every depth, for every "
        "layer its own (with layers; after the last of a file the first again), or a schedule.",
    )
    layer: int | None = Field(
        default=None,
        ge=0,
        description='With weights = "shared" and files that hold one matrix for each layer: which; by default 0.',
    )
    schedule: ScheduleSection | None = Field(
        default=None, description='With weights = "schedule": how matrices change with depth.'
    )
    scaling: Annotated[str, OneOf(SCALINGS)] = Field(
        default="1/L",
        description="With layers: the update is multiplied by step = T / L or, with 1/sqrt(L), by sqrt(T / L).",
    )
    time: float | None = Field(default=None, gt=0, description="Depth at which the run ends; by default 10.")
    layers: int | None = Field(
        default=None,
        ge=1,
        le=10**7,
        description="The discrete network: this many times x <- retract(x + step * attention(x)), or [block].",
    )
    method: Annotated[str, OneOf([*METHODS, *SPLITTING_METHODS])] = Field(
        default="tsit5",
        description="Method of integration; kencarp4 is implicit, for clusters that last; lie-trotter and strang split "
        "attention from a feed-forward map.",
    )
    step: float | None = Field(
        default=None,
        gt=0,
        description="Step of a layer (by default 1) or of a fixed-step method; the first step of an adaptive method.",
    )
    rtol: float = Field(default=1e-8, gt=0, description="Relative tolerance of an adaptive method.")
    atol: float = Field(default=1e-10, gt=0, description="Absolute tolerance of an adaptive method.")
    residual: bool = Field(default=True, description="With layers: whether x itself is added to what a layer computes.")
    sums: Annotated[str, OneOf(SUMS)] = Field(
        default="exact",
        description="exact: every pair of tokens; differences: also drifts far below 1e-16 (sphere, value a number); "
        "fourier (circle), harmonics (sphere in R^3): O(n) expansions; auto.",
    )
    sum_tolerance: float = Field(
        default=1e-10, ge=1e-15, le=1e-2, description="Absolute error of the drift that an expansion may have."
    )
    merge: float | None = Field(
        default=None, gt=0, description="Tokens that have come within this distance become one; by default none do."
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="The run fails after this many steps; by default 10 million."
    )

    noise: float = Field(
        default=0.0,
        ge=0,
        description="Temperature kappa of the Brownian motion sqrt(2 kappa) P_x o dB that drives every token.",
    )
    noise_step: float | None = Field(
        default=None,
        gt=0,
        description="Interval on which the Brownian path is drawn, the step times 1, 2, 4, ...; by default the step.",
    )

    @property
    def layer_step(self) -> float:
        """The step of one layer."""
        return 1.0 if self.step is None else self.step

    @property
    def end(self) -> float:
        """The depth at which the run ends."""
        if self.layers is not None:
            return self.layers * self.layer_step
        return 10.0 if self.time is None else self.time


class LogTimes(Section):
    """Depth 0 and then `count` depths in geometric progression, from `first` to the end of the run."""

    law: Literal["log"] = Field(description="Geometric progression.")
    first: float = Field(gt=0, description="The first depth after 0.")
    count: int = Field(ge=2, le=10_000_000, description="How many depths there are after 0.")


def _kind_of_times(value: Any) -> str | None:
    if isinstance(value, list):
        return "list"
    return "log" if isinstance(value, (dict, LogTimes)) else None


Times = Annotated[
    Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1), Tag("list")] | Annotated[LogTimes, Tag("log")],
    Discriminator(
        _kind_of_times,
        custom_error_type="form",
        custom_error_message='a list of depths or { law = "log", first = ..., count = ... }',
    ),
]


class Stop(Section):
    """When to end a run before its time."""

    clusters: int | None = Field(
        default=None, ge=1, description="As soon as every replica has at most this many clusters."
    )
    drift: float | None = Field(default=None, gt=0, description="As soon as no token is faster than this.")
    seconds: float | None = Field(default=None, gt=0, description="After this many seconds of wall-clock time.")


class Save(Section):
    """What is kept."""

    every: float | None = Field(
        default=None, gt=0, description="Depth between frames; by default a hundredth of the run, or every layer."
    )
    times: Times | None = Field(default=None, description="The depths of the frames, instead of `every`.")
    exact: bool = Field(default=False, description="Step onto the save times instead of interpolating between steps.")
    observables: list[Annotated[str, OneOf(REGISTRY)]] = Field(
        default=["clusters", "mean_cosine"], description="What is measured at every frame."
    )
    cluster_distance: float | None = Field(
        default=None,
        gt=0,
        description="Tokens at most this far apart are joined to a cluster; by default 0.1 (on a sphere 0.1 radius).",
    )
    stop: Stop = Field(default=Stop(), description="When to end the run before its time.")
