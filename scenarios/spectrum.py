"""The spectra of a scenario's matrices, layer by layer and head by head, from it or from the file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.analysis.rendering import as_csv, as_object, as_text
from ..data.analysis.spectra import Spectra
from ..errors import InvalidInput
from ..particles.block import Law, attention_of, feed_forward_of
from ..particles.regularity.spectra import head_spectra
from .build import Plan, build
from .schema import Scenario, load
from .trajectory import Trajectory

MOST_ROWS = 200  # heads on a terminal
SHOWN = {  # of a summary's columns, in words that fit a terminal
    "layer": "layer", "head": "head", "rank": "rank", "norm": "norm", "radius": "radius", "leading": "leading",
    "leading_imaginary": "+- i", "kind": "kind", "share_positive": "Re > 0", "signature_plus": "sym +",
    "signature_minus": "sym -", "own_score": "<Q phi, K phi>", "good_triple": "good triple",
}  # fmt: skip


def spectrum(source: Scenario | Trajectory | str | Path, layer: int | None = None) -> Spectra:
    """The spectra of beta Q_h^T K_h and of O_h V_h for every layer and head.

        attndyn.spectrum("minilm-alice").tables["values"].to_dataframe()

    source : a Scenario, a bundled name, the path of a scenario file or of the file of a run, or an open Trajectory
    layer  : one of them, counted from 0; by default all whose matrices differ

    Raises ScenarioError for a mistake in the scenario, InvalidInput for a layer that there is not.
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() in (".h5", ".hdf5"):
        with Trajectory(source) as opened:
            return _of_plan(opened.plan, layer)
    if isinstance(source, Trajectory):
        return _of_plan(source.plan, layer)
    return _of_plan(build(source if isinstance(source, Scenario) else load(source)), layer)


def in_words(found: Spectra) -> str:
    """The two summaries, a row a head, and what is to be said of them."""
    parts = []
    for name in ("scores", "values"):
        table = found.tables[name]
        columns = {SHOWN[column]: values for column, values in table.columns.items()}
        parts.append(f"{_TITLES[name]}\n{as_text(type(table)(name, columns), MOST_ROWS)}")
    return "\n\n".join([*parts, "\n".join([_triples(found), *found.remarks])])


_TITLES = {
    "scores": "scores: beta Q_h^T K_h",
    "values": "values: O_h V_h, what a head does to a token that it attends to",
}


def csv_files(found: Spectra, path: Path) -> dict[Path, str]:
    """What is written to which file: all eigenvalues to `path`, the summaries beside it under their names."""
    names = {"eigenvalues": path} | {
        name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in ("scores", "values")
    }
    return {place: as_csv(found.tables[name]) for name, place in names.items()}


def as_json(found: Spectra) -> dict[str, Any]:
    """All of it as JSON has it."""
    tables = {name: as_object(table) for name, table in found.tables.items()}
    return {"title": found.title, "tables": tables, "remarks": [*found.remarks]}


def _of_plan(plan: Plan, layer: int | None) -> Spectra:
    laws, dimension = list(plan.laws), plan.ensemble.dimension
    if layer is not None and not 0 <= layer < len(laws):
        raise InvalidInput(f"layer must be from 0 to {len(laws) - 1}; got {layer}")
    first = {id(attention_of(law)): number for number, law in reversed([*enumerate(laws)])}
    numbers = sorted(first.values()) if layer is None else [layer]
    heads = {number: head_spectra(laws[number], dimension) for number in numbers}
    return Spectra(plan.scenario.title, heads, tuple(_left_out(laws[numbers[0]])))


def _left_out(law: Law) -> list[str]:
    """What the law has that is not in the matrices."""
    attention = attention_of(law)
    biases = [name for name in ("query", "key", "value", "output") if getattr(attention, f"{name}_bias") is not None]
    remarks = [f"Biases are not in these matrices: {', '.join(biases)}."] if biases else []
    if attention.rotary is not None:
        remarks.append("Rotary positions turn queries and keys; the scores are those of a token with its own place.")
    if getattr(law, "norm", "none") in ("pre", "peri"):
        remarks.append("Tokens are normalised before they are attended to; its gain is not in these matrices.")
    if attention.score.distant:
        remarks.append("The score is a distance; of the form beta Q^T K it has the part that mixes two tokens.")
    if attention.gate is not None:
        remarks.append("The gate is not in these matrices.")
    if feed_forward_of(law) is not None:
        remarks.append("The feed-forward map is not in these matrices.")
    return remarks


def _triples(found: Spectra) -> str:
    good = [
        f"layer {layer} head {head}"
        for layer, heads in found.heads.items()
        for head, one in enumerate(heads)
        if one.good_triple
    ]
    count = sum(len(heads) for heads in found.heads.values())
    which = f": {', '.join(good)}" if 0 < len(good) <= 12 else ""
    what = "Good triples (leading eigenvalue of the values simple and positive, of eigenvector phi; <Q phi, K phi> > 0)"
    return f"{what}: {len(good)} of {count} heads{which}."
