"""From a scenario to the objects of a run: the ensemble, the attention law of every layer, the save times.

What a scenario can have wrong that its models cannot see is found here, before the run starts: files, shapes,
values that are not finite, weights that are no probabilities. Each is reported under its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, ScenarioError
from ..integrators import events
from ..particles import Attention, Ensemble, Euclidean, Space, Sphere
from ..particles.block import Law, check_start, in_layer
from ..particles.gates import Gate
from ..particles.initial import placed
from ..particles.multipliers import Multipliers
from ..particles.normalisers import Normaliser
from ..particles.observables import check_names, default_cluster_distance
from ..particles.schedule import Schedule
from ..particles.weighting import Weighting
from ..particles.weights import draw
from .block_build import readout_of, with_block
from .mistakes import blaming
from .numbers import Layered, numbers, vector
from .parts import REGISTRIES, make
from .room import check_laws, check_tokens
from .schedule import MUST_DIFFER, depths_of
from .schedule_build import scheduled
from .schema import Scenario
from .times import save_times
from .values import RandomMatrix
from .weighting import WeightTable
from .weighting_build import weighting_of

MATRICES = ("query", "key", "value", "output")  # the order numbers their random streams
BIASES = ("query_bias", "key_bias", "value_bias", "output_bias")


@dataclass(frozen=True, eq=False)
class Plan:
    """What a scenario says, ready to be integrated.

    laws       : one for every layer or every depth of the schedule, or a single one that holds at every depth
    save_times : increasing depths (frames,)
    strings    : the tokens as text, where the scenario has them
    schedule   : the laws over depth, where they change by a schedule
    weighting  : how token weights change with depth, where they do
    readout    : what is done to the tokens after the last layer to read them, where that is something
    """

    scenario: Scenario
    ensemble: Ensemble
    laws: Sequence[Law]
    save_times: NDArray[np.float64]
    strings: list[str] | None
    schedule: Schedule | None = None
    weighting: Weighting | None = None
    readout: Normaliser | None = None

    @property
    def cluster_distance(self) -> float:
        """The distance up to which tokens are joined to a cluster."""
        given = self.scenario.save.cluster_distance
        return default_cluster_distance(self.ensemble.space) if given is None else given

    @property
    def file_size(self) -> int:
        """Estimated bytes of the trajectory file."""
        positions = self.ensemble.positions.nbytes
        observables = 8 * self.ensemble.replicas * len(self.scenario.save.observables)
        return len(self.save_times) * (positions + observables + 16) + 50_000

    @property
    def law(self) -> Law | Schedule | Sequence[Law]:
        """What is integrated."""
        if self.schedule is not None:
            return self.schedule
        return self.laws if len(self.laws) > 1 else self.laws[0]

    def law_at(self, t: float) -> Law:
        """The law that acts on the tokens at depth t: where layers differ, that of the layer to come."""
        depth = self.scenario.depth
        if self.schedule is not None:
            layer = 0 if depth.layers is None else min(round(t / depth.layer_step), depth.layers - 1)
            return in_layer(self.schedule.at(t), layer)
        if depth.layers is None:
            return self.laws[0]
        layer = min(round(t / depth.layer_step), depth.layers - 1)
        return in_layer(self.laws[min(layer, len(self.laws) - 1)], layer)

    def stop_events(self) -> list[events.Event]:
        """The events that end the run before its time."""
        stop = self.scenario.save.stop
        found = []
        if stop.clusters is not None:
            found.append(events.clusters_left(self.ensemble, stop.clusters, self.cluster_distance))
        if stop.drift is not None:
            found.append(events.slower_than(stop.drift))
        if stop.seconds is not None:
            found.append(events.wall_clock(stop.seconds))
        return found

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `integrate` that the scenario decides."""
        depth, save = self.scenario.depth, self.scenario.save
        common = {"save_at": self.save_times, "stop": self.stop_events(), "weighting": self.weighting}
        common |= {"noise": depth.noise, "seed": self.scenario.tokens.seed, "noise_step": depth.noise_step}
        if depth.layers is not None:
            network = {"layers": depth.layers, "residual": depth.residual, "scaling": depth.scaling}
            return common | network | {"step": depth.layer_step}
        method = {"method": depth.method, "rtol": depth.rtol, "atol": depth.atol, "exact": save.exact}
        limits = {"step": depth.step, "max_steps": depth.max_steps, "merge": depth.merge}
        given = {name: value for name, value in limits.items() if value is not None}
        return common | {"t_end": depth.end} | method | given


def build(scenario: Scenario) -> Plan:
    """Draw the tokens and the matrices of a scenario and check them against each other.

    Raises ScenarioError, with one line that names the key of the first mistake.
    """
    ensemble = _ensemble(scenario)
    laws = _laws(scenario, ensemble)
    schedule = scheduled(scenario, laws) if scenario.depth.weights == "schedule" else None
    laws = laws if schedule is None else list(schedule.laws)
    if scenario.depth.layers is None:
        with blaming("tokens.initial"):
            check_start(laws[0], ensemble)
    with blaming("save.observables"):
        check_names(scenario.save.observables, laws[0], ensemble.space)
    times = save_times(scenario.depth, scenario.save)
    strings, weighting = _strings(scenario, ensemble.tokens), weighting_of(scenario, ensemble)
    return Plan(scenario, ensemble, laws, times, strings, schedule, weighting, readout_of(scenario, ensemble.dimension))


def _laws(scenario: Scenario, ensemble: Ensemble) -> list[Law]:
    """The laws: one, one for each layer, or one for each depth of the schedule. Those of the same numbers are one."""
    depth, layered = scenario.depth, Layered(scenario)
    count = {"shared": 1, "independent": depth.layers or 1}.get(depth.weights) or len(depths_of(depth))
    check_laws(scenario, count, ensemble.dimension)
    drawn = bool(scenario.attention.drawn() or scenario.block.drawn())
    laws: list[Law] = []
    for number in range(count):
        if number and not drawn:
            if layered.height is None:
                raise ScenarioError(f'depth.weights: "{depth.weights}" {MUST_DIFFER}')
            if number >= layered.height:
                laws.append(laws[number % layered.height])
                continue
        attention = _law(scenario, ensemble, number, layered)
        laws.append(with_block(scenario, attention, ensemble.space, number, layered))
    if depth.layer is not None and layered.height is None:
        raise ScenarioError(f"depth.layer: picks from arrays that hold one for each layer; got {depth.layer}, none do")
    return laws


def _ensemble(scenario: Scenario) -> Ensemble:
    tokens = scenario.tokens
    settings = {name: f"tokens.initial.{name}" for name in type(tokens.initial).model_fields}
    settings |= {"tokens": "tokens.count", "replicas": "tokens.replicas", "dimension": "tokens.dimension"}
    with blaming("tokens.initial", settings):
        space = _space(scenario)
        if tokens.from_file:
            file, given = tokens.from_file.file, scenario.files.tokens(tokens.from_file.file, tokens.from_file.array)
            positions = placed(space, given, file, scenario.count, tokens.replicas)
            positions = positions if scenario.files.retracted else space.retract(positions)
            positions = positions.astype(tokens.dtype)
        else:
            count = scenario.count
            assert count is not None  # no file decides
            check_tokens(scenario, count, space.dimension)
            positions = Ensemble.draw(
                tokens.initial.law,
                space,
                tokens=count,
                replicas=tokens.replicas,
                seed=tokens.seed,
                dtype=tokens.dtype,
                **tokens.initial.model_dump(exclude={"law"}, exclude_unset=True),
            ).positions
    with blaming("tokens.weights"):
        weights = tokens.weights
        return Ensemble(positions, space, None if isinstance(weights, WeightTable) else vector(scenario, weights))


def _space(scenario: Scenario) -> Space:
    dimension = scenario.dimension
    if dimension is None:
        assert scenario.tokens.from_file is not None  # else the schema knows the dimension
        file = scenario.tokens.from_file
        dimension = scenario.files.tokens(file.file, file.array).shape[-1]
    if scenario.space.kind == "euclidean":
        return Euclidean(dimension)
    return Sphere(dimension, 1.0 if scenario.space.radius is None else scenario.space.radius)


def _law(scenario: Scenario, ensemble: Ensemble, layer: int, layered: Layered) -> Attention:
    attention, dimension = scenario.attention, ensemble.dimension
    matrices: dict[str, Any] = {name: _matrix(scenario, name, dimension, layer, layered) for name in MATRICES}
    biases: dict[str, Any] = {}
    for name in BIASES:
        with blaming(f"attention.{name}"):
            biases[name] = layered.vector(getattr(attention, name), layer)
    options: dict[str, Any] = {}
    for key in REGISTRIES:
        with blaming(f"attention.{key}"):
            options[key] = make(key, getattr(attention, key), lambda value: numbers(scenario, value))
    if attention.gate is not None:
        with blaming("attention.gate"):
            matrix = layered.matrix(attention.gate.matrix, layer)
            options["gate"] = Gate(matrix, layered.vector(attention.gate.bias, layer), attention.gate.on)
    with blaming("attention.rotary"):
        rotary: Any = attention.rotary
        options["rotary"] = rotary if isinstance(rotary, float | None) else vector(scenario, rotary)
    if attention.multipliers is not None:
        given = attention.multipliers
        seed = scenario.tokens.seed if given.seed is None else given.seed
        options["multipliers"] = Multipliers(given.law, given.variation, seed)
    with blaming("attention.query", {name: f"attention.{name}" for name in type(attention).model_fields}):
        law = Attention(
            beta=attention.beta,
            heads=attention.heads,
            shift=attention.shift,
            **options,
            **matrices,
            **biases,
        )
        law.projections(dimension)
    with blaming("attention.mask" if law.prior is None else "attention.prior"):
        law.check_tokens(ensemble.tokens)
    return law


def _matrix(
    scenario: Scenario, name: str, dimension: int, layer: int, layered: Layered
) -> float | NDArray[np.float64] | None:
    value = getattr(scenario.attention, name)
    with blaming(f"attention.{name}"):
        if value is None:
            return None
        if value == "identity" or isinstance(value, float):
            return _scalar(name, 1.0 if value == "identity" else value, dimension)
        if isinstance(value, RandomMatrix):
            seed = scenario.tokens.seed if value.seed is None else value.seed
            rows, columns = _shape(scenario, name, dimension)
            return value.scale * draw(value.law, rows, columns, seed, (layer, MATRICES.index(name)))
        matrix = layered.matrix(value, layer)
        assert matrix is not None
        _check_rows(scenario, name, matrix, dimension)
        return matrix


def _scalar(name: str, factor: float, dimension: int) -> float | NDArray[np.float64] | None:
    if name != "output":
        return factor
    return None if factor == 1.0 else factor * np.eye(dimension)


def _shape(scenario: Scenario, name: str, dimension: int) -> tuple[int, int]:
    heads, head_dimension = scenario.attention.heads, scenario.attention.head_dimension
    if head_dimension is None:
        if dimension % heads:
            raise ScenarioError(
                f"attention.heads: must divide the dimension {dimension}, unless attention.head_dimension is "
                f"given; got {heads}"
            )
        head_dimension = dimension // heads
    rows = heads * head_dimension
    return (dimension, rows) if name == "output" else (rows, dimension)


def _check_rows(scenario: Scenario, name: str, matrix: NDArray[np.float64], dimension: int) -> None:
    attention = scenario.attention
    if attention.head_dimension is None or name == "output":
        return
    expected = (attention.heads * attention.head_dimension, dimension)
    if matrix.shape != expected:
        raise InvalidInput(f"must have the shape (heads * head_dimension, dimension) = {expected}; got {matrix.shape}")


def _strings(scenario: Scenario, tokens: int) -> list[str] | None:
    source = scenario.tokens.strings
    if source is None:
        return None
    with blaming("tokens.strings"):
        strings = scenario.files.strings(source.file, source.array)
        if len(strings) < tokens:
            raise InvalidInput(f"must hold a text for each of the {tokens} tokens; got {len(strings)}")
        return strings[:tokens]
