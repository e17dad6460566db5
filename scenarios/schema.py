"""The scenario: what a scenario file says, checked.

A key that is unknown, of the wrong type or out of range is found by the models of `sections`; two keys that
contradict each other are found here; and what only the arrays show (a shape, NaN in a file) by `build`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ..errors import InvalidInput, ScenarioError
from ..integrators import METHODS, method_of
from ..integrators.brownian import SLACK, halvings
from . import toml
from .block import BlockSection, Readout, wrong_block
from .files import LIBRARY, locate, source
from .limits.keys import LimitSection
from .mistakes import explain
from .overrides import merge
from .parts import word
from .schedule import MUST_DIFFER, may_differ, wrong_schedule
from .sections import AttentionSection, Depth, Save, SpaceSection, Tokens
from .sources import Folder, Source
from .times import wrong_times
from .values import Section
from .weighting import FocusSection, wrong_weighting

DEFAULT_COUNT, DEFAULT_DIMENSION = 64, 3


class Scenario(Section):
    """One run, completely described. Every key has a default; unknown keys are mistakes."""

    title: str = Field(default="", description="One line: what happens.")
    source: str = Field(default="", description="Where it comes from: a paper, a figure.")
    tokens: Tokens = Field(default=Tokens(), description="The tokens and where they start.")
    space: SpaceSection = Field(default=SpaceSection(), description="The space in which tokens live.")
    attention: AttentionSection = Field(
        default=AttentionSection(), description="How tokens move in the field of the others."
    )
    focus: FocusSection | None = Field(
        default=None, description="A point that tokens draw along, around which the token weights lie."
    )
    block: BlockSection = Field(
        default=BlockSection(), description="What a layer does besides its attention: feed-forward map, normalisation."
    )
    depth: Depth = Field(default=Depth(), description="How far and by what method.")
    readout: Readout | None = Field(
        default=None, description="What a model does to its tokens after the last layer, to read them."
    )
    limit: LimitSection | None = Field(default=None, description="A limit study of the scenario: attndyn limit.")
    save: Save = Field(default=Save(), description="What is kept, and when the run ends before its time.")

    _name: str = PrivateAttr("scenario")
    _folder: Path = PrivateAttr(default_factory=Path)
    _text: str = PrivateAttr("")
    _files: Source | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        wrong = list(_contradictions(self))
        if wrong:
            key, sentence = wrong[0]
            context = {"key": key, "sentence": sentence, "more": len(wrong) - 1}
            raise PydanticCustomError("contradiction", "{key}: {sentence}", context)
        return self

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, wherever they come from."""
        return isinstance(other, Scenario) and self.model_dump() == other.model_dump()

    def _repr_html_(self) -> str:
        from .notebook import scenario_html

        return scenario_html(self)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        name: str = "scenario",
        folder: Path | str = ".",
        outside: bool = False,
        files: Source | None = None,
    ) -> Scenario:
        """The scenario of a TOML text. Files in it are relative to `folder`, or given by `files`.

        outside : whether it may read files outside the folder

        Raises ScenarioError with one line that names the key of the first mistake.
        """
        files = Folder(Path(folder), outside=True) if outside else files
        return _checked(toml.parse(text), text, name, Path(folder), files)

    @property
    def name(self) -> str:
        """The bundled name, or the name of the file without its suffix."""
        return self._name

    @property
    def folder(self) -> Path:
        """The folder to which the scenario's file paths are relative."""
        return self._folder

    @property
    def files(self) -> Source:
        """What gives the arrays that the scenario names: its folder or, of a trajectory's scenario, the trajectory."""
        return self._files or Folder(self._folder, outside=self._folder == LIBRARY)

    @property
    def text(self) -> str:
        """TOML that `parse` reads back: as read or, after `override`, written anew, without comments."""
        return self._text or toml.write(self.model_dump(exclude_unset=True, exclude_none=True))

    @property
    def count(self) -> int | None:
        """Number of tokens; None where the file of the initial law decides."""
        return self.tokens.count if self.tokens.from_file else self.tokens.count or DEFAULT_COUNT

    @property
    def dimension(self) -> int | None:
        """Number of components of a token; None where the file of the initial law decides."""
        return self.tokens.dimension if self.tokens.from_file else self.tokens.dimension or DEFAULT_DIMENSION

    def override(self, changes: Mapping[str, Any]) -> Scenario:
        """This scenario with other values under dotted keys: {"attention.beta": 9.0, "depth.time": 2.0}.

        A key that stands for an alternative takes its place: `save.times` drops `save.every`, `depth.layers`
        drops `depth.time`. A value of None removes its key, so that the default holds.

        Raises ScenarioError as `parse` does.
        """
        if not changes:
            return self
        tables = merge(toml.parse(self.text), changes)
        return _checked(tables, toml.write(tables), self._name, self._folder, self._files)


def load(name_or_path: str | Path, *, outside: bool = False) -> Scenario:
    """The bundled scenario of this name, or the scenario in the file at this path.

    outside : whether it may read files outside its folder

    Raises ScenarioError, with one line that names the file and the key of the first mistake.
    """
    path = locate(name_or_path)
    text = source(path)
    try:
        return Scenario.parse(text, name=path.stem, folder=path.parent, outside=outside)
    except InvalidInput as error:
        raise ScenarioError(f"{path.name}: {error}") from None


def _checked(tables: dict[str, Any], text: str, name: str, folder: Path, files: Source | None) -> Scenario:
    try:
        scenario = Scenario.model_validate(tables)
    except ValidationError as error:
        raise ScenarioError(explain(error, tables, _json_schema())) from None
    scenario._name, scenario._folder, scenario._text, scenario._files = name, folder, text, files
    return scenario


@cache
def _json_schema() -> dict[str, Any]:
    return Scenario.model_json_schema()


def _contradictions(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Pairs of a key and a sentence that says with what it does not go together."""
    yield from _wrong_tokens(scenario)
    if scenario.space.kind == "euclidean" and scenario.space.radius is not None:
        yield "space.radius", f'belongs to a sphere; got {scenario.space.radius:g} with kind = "euclidean"'
    if word(scenario.attention.normalisation) != "none" and scenario.attention.shift != 0.0:
        yield (
            "attention.shift",
            "rescales the time of unnormalised attention; got "
            f'{scenario.attention.shift:g} with normalisation = "{word(scenario.attention.normalisation)}"',
        )
    if word(scenario.attention.normalisation) == "sinkhorn" and scenario.attention.multipliers is not None:
        yield "attention.multipliers", "do not go with sinkhorn, whose columns have a sum as well"
    yield from _wrong_depth(scenario)
    yield from wrong_schedule(scenario)
    yield from wrong_block(scenario)
    yield from wrong_weighting(scenario)
    yield from wrong_times(scenario.depth, scenario.save)
    names = scenario.save.observables
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield "save.observables", f"names {twice!r} twice"


def _wrong_tokens(scenario: Scenario) -> Iterator[tuple[str, str]]:
    tokens, count, dimension = scenario.tokens, scenario.count, scenario.dimension
    if scenario.space.kind == "sphere" and dimension == 1:
        yield "tokens.dimension", "must be at least 2 on a sphere (2 is the circle); got 1"
    if isinstance(tokens.weights, list) and count is not None and len(tokens.weights) != count:
        yield "tokens.weights", f"must be {count} numbers, one for each token; got {len(tokens.weights)}"
    if scenario.attention.mask == "without-self" and count == 1:
        yield "attention.mask", "without-self leaves a single token nothing to see"


def _wrong_depth(scenario: Scenario) -> Iterator[tuple[str, str]]:
    depth = scenario.depth
    if depth.layer is not None and depth.weights != "shared":
        yield "depth.layer", f'belongs to weights = "shared"; got weights = "{depth.weights}"'
    yield from _wrong_sums(scenario)
    yield from _wrong_noise(depth)
    if depth.layers is None:
        if depth.weights == "independent":
            yield "depth.weights", '"independent" needs depth.layers: one set of matrices for each layer'
        if not depth.residual:
            yield "depth.residual", "belongs to a network; give depth.layers"
        if scenario.attention.multipliers is not None:
            yield "attention.multipliers", "are drawn anew at every layer of a network; give depth.layers"
        if not method_of(depth.method).adaptive and depth.step is None:
            yield "depth.step", f"missing; the fixed-step method {depth.method!r} needs it"
        if depth.step is not None and depth.step > depth.end:
            yield "depth.step", f"must be at most the run's depth {depth.end:g}; got {depth.step:g}"
        return
    if depth.time is not None:
        yield "depth.time", "give either time or layers (with step), not both"
    for key in sorted({"method", "rtol", "atol", "max_steps", "merge"} & depth.model_fields_set):
        yield f"depth.{key}", "belongs to integration in continuous depth; a network of layers has none"
    if scenario.save.stop.drift is not None:
        yield "save.stop.drift", "belongs to integration in continuous depth; a layer has no drift"
    if depth.weights == "independent" and not may_differ(scenario):
        yield "depth.weights", f'"independent" {MUST_DIFFER}'


def _wrong_noise(depth: Depth) -> Iterator[tuple[str, str]]:
    """Noise belongs to a stochastic method or a network with its residual connection, in whole steps."""
    if depth.noise == 0.0:
        return
    if depth.merge is not None:
        yield "depth.merge", f"does not go with noise, which drives tokens that have met apart; got {depth.merge:g}"
    if depth.layers is not None and not depth.residual:
        yield "depth.noise", f"needs the residual connection in a network; got {depth.noise:g} with residual = false"
    if depth.layers is None and not method_of(depth.method).stochastic:
        allowed = ", ".join(name for name, method in METHODS.items() if method.stochastic)
        yield (
            "depth.noise",
            f"needs depth.layers or one of the methods {allowed}; got {depth.noise:g} with {depth.method}",
        )
        return
    step = depth.layer_step if depth.layers is not None else depth.step
    if step is None:
        return  # which is a mistake of its own
    if depth.layers is None and abs(depth.end / step - round(depth.end / step)) > SLACK:
        yield "depth.step", f"must divide the depth {depth.end:g} with noise; got {step:g}"
    if depth.noise_step is not None:
        try:
            halvings(depth.noise_step, step)
        except InvalidInput as error:
            yield "depth.noise_step", str(error).removeprefix("noise_step ")


def _wrong_sums(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Expansions belong to a space, merging to a single replica that no mask orders."""
    depth, dimension = scenario.depth, scenario.dimension
    needed = {"fourier": (2, "the circle"), "harmonics": (3, "the sphere in R^3")}
    if depth.sums in needed:
        size, place = needed[depth.sums]
        if scenario.space.kind != "sphere" or dimension not in (size, None):
            yield "depth.sums", f'"{depth.sums}" is for tokens on {place}; got a {scenario.space.kind} in R^{dimension}'
    if depth.merge is not None and scenario.tokens.replicas > 1:
        yield "depth.merge", f"needs a single replica, whose tokens become fewer; got {scenario.tokens.replicas}"
    mask = word(scenario.attention.mask)
    if depth.merge is not None and mask != "none":
        yield "depth.merge", f'needs mask = "none": a mask sees which token is which; got "{mask}"'
