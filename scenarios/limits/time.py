"""Infinite time: the depths at which clusters meet, and how long plateaus last as beta grows.

Between two meetings nothing happens: two clusters at an angle a need a depth of about exp(beta (1 - cos a)) to meet, so
the length of a plateau grows exponentially with beta, and the energy over depth is a staircase (arXiv:2410.06833).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series
from ...integrators.long_time import LongSolution, long_time
from ...particles import Sphere
from ...particles.backends import Engine
from ...particles.block import attention_of
from ...particles.merging import Plateau
from ..build import Plan, build
from ..schema import Scenario
from ..weighting import wrong_unless_fixed
from .keys import TimeKeys
from .kinds import Kind, Result, Results, numbered, scalar

Array = NDArray[np.float64]
SAME = 0.02  # angles of pairs, as 1 - cos, that differ by less are taken to be one
STAIRCASES = 3  # that are shown


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    if scenario.space.kind != "sphere":
        yield "space.kind", f'must be "sphere", where clusters last; got "{scenario.space.kind}"'
    if scenario.tokens.replicas > 1:
        yield "tokens.replicas", f"must be 1, whose tokens become fewer; got {scenario.tokens.replicas}"
    if scenario.depth.layers is not None or scenario.depth.noise > 0.0:
        yield "depth", "must be continuous and without noise in a study of time"
    if scenario.depth.weights != "shared":
        yield "depth.weights", f'must be "shared" in a study of time; got "{scenario.depth.weights}"'
    if scenario.block.norm != "none" or scenario.block.feed_forward is not None:
        yield "block", "must be left out in a study of time, which is of attention alone"
    if scenario.tokens.dtype != "float64":
        yield "tokens.dtype", f'must be "float64", for the digits of small drifts; got "{scenario.tokens.dtype}"'
    yield from wrong_unless_fixed(scenario)


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: one run for each beta."""
    return numbered("beta", _keys(scenario).betas)


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: merges, the plateau that lasts longest, and the energy over depth."""
    keys, beta = _keys(scenario), float(name.removeprefix("beta = "))
    plan = build(scenario.override({"attention.beta": beta, "save": None, "depth.sums": None, "depth.merge": None}))
    run = _followed(plan, keys, scenario.depth.end if keys.end is None else keys.end)
    starts = np.array([plateau.start for plateau in run.plateaus()])
    ends = np.array([plateau.end for plateau in run.plateaus()])
    counts = np.array([plateau.clusters for plateau in run.plateaus()])
    # what is left when all have met lasts for ever
    lasting = int(np.argmax(np.where(counts > 1, ends - starts, 0.0)))
    over = lasting < len(ends) - 1
    return {
        "merge_times": run.merge_times,
        "merged_into": run.merged_into,
        "plateau_start": starts,
        "plateau_end": ends,
        "plateau_clusters": counts,
        "longest": np.array(ends[lasting] - starts[lasting]),
        "ended": np.array(over),
        "exponent": np.array(_exponent(run, plan, run.plateaus()[lasting]) if over else np.nan),
        "times": run.solution.times,
        "energy": run.energy(),
        "final": run.solution.final,
        "merge_moved": np.array(run.solution.record.get("merge_moved", np.nan)),
        "merge_drift_change": np.array(run.solution.record.get("merge_drift_change", np.nan)),
    }


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    betas = np.array(sorted(_keys(scenario).betas))
    runs = [results[name] for name in numbered("beta", betas.tolist())]
    longest = np.array([scalar(run, "longest") for run in runs])
    ended = np.array([bool(run["ended"]) for run in runs])
    exponents = np.array([scalar(run, "exponent") for run in runs])[ended]
    expected = None
    if len(exponents) and np.ptp(exponents) < SAME:
        expected = float(exponents[-1])
    remarks = [_told(beta, run) for beta, run in zip(betas, runs, strict=True)]
    if expected is None and ended.sum() > 1:
        remarks.append(
            "The pair of clusters that ends the longest plateau is another at another beta: no rate is expected."
        )
    if all(run["merge_times"].size == 0 for run in runs):
        remarks.append("No clusters met: a larger depth, limit.end, would show some.")
    moved = np.nanmax([0.0, *(scalar(run, "merge_moved") for run in runs)])
    change = np.nanmax([0.0, *(scalar(run, "merge_drift_change") for run in runs)])
    remarks.append(
        f"Merging moved no token by more than {moved:.2g}, and changed no drift of others by more than {change:.2g}."
    )
    law = "exponential" if ended.sum() > 1 else ""
    series = [Series("plateau", "beta", betas, longest, law, ended, expected)]
    for beta, run in list(zip(betas, runs, strict=True))[:STAIRCASES]:
        later = run["times"] > 0.0
        energy = np.asarray(run["energy"], np.float64).reshape(len(run["times"]), -1)[:, 0]
        series.append(Series(f"energy at beta = {beta:g}", "depth", run["times"][later], energy[later]))
    return Findings(series, remarks)


def _followed(plan: Plan, keys: TimeKeys, t_end: float) -> LongSolution:
    return long_time(attention_of(plan.laws[0]), plan.ensemble, t_end, merge=keys.merge)


def _exponent(run: LongSolution, plan: Plan, plateau: Plateau) -> float:
    """1 - cos a of the clusters that meet where a plateau ends, at its begin; NaN where no frame lies in it."""
    merge = int(np.searchsorted(run.merge_times, plateau.end))
    inside = np.flatnonzero((run.solution.times >= plateau.start) & (run.solution.times < plateau.end))
    if merge >= len(run.merge_times) or not inside.size:
        return np.nan
    before = run.merged_into[merge - 1] if merge else np.arange(plan.ensemble.tokens)
    after = run.merged_into[merge]
    met = np.flatnonzero((after != before) & (before == np.arange(len(before))))
    x = run.solution.positions[inside[0], 0]
    space = plan.ensemble.space
    assert isinstance(space, Sphere)
    angle = float(space.distance(x[met[0]], x[after[met[0]]])) / space.radius
    return 2.0 * np.sin(0.5 * angle) ** 2


def _told(beta: float, run: Result) -> str:
    ends, counts = np.asarray(run["plateau_end"]), np.asarray(run["plateau_clusters"])
    last = [f"{count} until {end:.3g}" for count, end in zip(counts[-5:-1], ends[-5:-1], strict=True)]
    course = ", ".join([*last, f"{counts[-1]} to the end at {ends[-1]:.3g}"])
    return f"beta = {beta:g}, clusters: {course}."


def _keys(scenario: Scenario) -> TimeKeys:
    assert isinstance(scenario.limit, TimeKeys)
    return scenario.limit


KIND = Kind("time", wrong, tasks, run, conclude)
