"""What was run, in the words of a report: as facts, one by one, and as the command lines that do it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..data.excerpt import title_of
from ..data.limits import Limit
from ..data.report import LONGEST_TEXT, Account
from ..data.sweeps import Sweep
from ..errors import AttndynError, InvalidInput
from .build import Plan
from .parts import word
from .summary import dynamics, place
from .trajectory import Trajectory

Facts = Iterator[tuple[str, str]]
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def account_of_run(trajectory: Trajectory, replica: int) -> Account:
    """Of a trajectory; where this version does not understand its scenario, of what the file alone tells."""
    notices = []
    if trajectory.status not in ("finished",) and not trajectory.status.startswith("stopped"):
        state = trajectory.status.removeprefix("failed: ")
        ends = f"The last frame is at depth {trajectory.times[-1]:.6g}." if len(trajectory) else ""
        kind = "failed" if trajectory.status.startswith("failed") else "did not end by itself"
        notices.append(f"The run {kind}: {state}. {ends}")
    try:
        plan = _plan(trajectory)
    except AttndynError as error:
        notices.append(
            f"This version does not understand the scenario, so the page has no attention and tells less: {error}"
        )
        lead, facts = "", list(_shape(trajectory, replica))
        law_at, distance, layer = None, None, None
    else:
        lead, facts = f"{dynamics(plan)}.", list(_facts(plan, trajectory, replica))
        law_at, distance = trajectory.law_at, plan.cluster_distance
        depth = plan.scenario.depth
        layer = None if depth.layers is None else depth.layer_step
    origin = trajectory.provenance.get("scenario")
    name = _name(origin.get("name", "scenario") if isinstance(origin, Mapping) else "scenario")
    return Account(
        title=title_of(trajectory) or name,
        lead=_raised(lead[:1].upper() + lead[1:]),
        facts=[(name, _raised(fact)) for name, fact in facts],
        again=_run_again(trajectory, name, replica),
        notices=notices,
        law_at=law_at,
        cluster_distance=distance,
        layer_step=layer,
    )


def account_of_sweep(sweep: Sweep) -> Account:
    """Of a sweep."""
    name, done = _name(sweep.name), int(sweep.done.sum())
    grids = {key: ",".join(map(str, values.tolist())) for key, values in sweep.axes.items()}
    every = " --every-replica" if sweep.description.every_replica else ""
    command = f"attndyn sweep {name}.toml {' '.join(_option('--grid', grids))}{every} --out {name}.h5"
    missing = [] if done == len(sweep) else [f"The sweep is unfinished: {done} of {len(sweep)} points are done."]
    facts = [("grid", f"{key}: {', '.join(map(str, values.tolist()))}") for key, values in sweep.axes.items()]
    facts += [("points", f"{done} of {len(sweep)}"), ("observables", ", ".join(sweep.observables))]
    lead = f"A sweep of {sweep.name} over {' and '.join(sweep.axes)}."
    return Account(title_of(sweep) or name, lead, facts, _again(sweep, name, command), missing)


def account_of_study(study: Limit) -> Account:
    """Of a limit study."""
    name = _name(study.name)
    command = f"attndyn limit {shlex.quote(study.kind)} {name}.toml --out {name}.h5"
    facts = [("kind", study.kind), ("runs", ", ".join(study.runs)), *(("found", remark) for remark in study.remarks)]
    lead = f"A limit study of {study.name}: {study.kind}."
    return Account(title_of(study) or name, lead, facts, _again(study, name, command))


def _plan(trajectory: Trajectory) -> Plan:
    """The plan, of a scenario that fits the file: else a small file could ask for any amount of memory."""
    scenario = trajectory.scenario
    asked = (scenario.tokens.replicas, scenario.count, scenario.dimension)
    there = trajectory.positions.shape[1:]
    if any(wanted not in (None, found) for wanted, found in zip(asked, there, strict=True)):
        raise InvalidInput(f"it asks for replicas, tokens and dimension {asked}, where the file has {there}")
    return trajectory.plan


def _shape(trajectory: Trajectory, replica: int) -> Facts:
    _, replicas, tokens, dimension = trajectory.positions.shape
    yield "tokens", f"{tokens} in dimension {dimension}, {trajectory.positions.dtype}"
    if replicas > 1:
        yield "replicas", f"{replicas}; the page shows replica {replica}"
    yield "space", f"{trajectory.space!r}"
    yield "kept", _kept(trajectory)
    yield "ended", _ending(trajectory)


def _facts(plan: Plan, trajectory: Trajectory, replica: int) -> Facts:
    scenario, ensemble = plan.scenario, plan.ensemble
    tokens, attention, depth = scenario.tokens, scenario.attention, scenario.depth
    yield from _told(trajectory.scenario_text)
    if scenario.source:
        yield "source", scenario.source
    named = "" if plan.strings is None else ", each with its text"
    start = _value(tokens.initial) if tokens.from_file else f"by the law {_value(tokens.initial)}"
    yield "tokens", f"{ensemble.tokens}, started {start}{named}; seed {tokens.seed}"
    if tokens.weights is not None or scenario.focus is not None:
        changing = "change with depth" if plan.weighting is not None else "are given"
        yield "token weights", changing
    if ensemble.replicas > 1:
        yield "replicas", f"{ensemble.replicas}; the page shows replica {replica}"
    yield "space", place(plan).removeprefix("on ").removeprefix("in ")
    parts = {name: getattr(attention, name) for name in ("score", "normalisation", "mask", "prior")}
    parts = {name: part for name, part in parts.items() if name == "normalisation" or part != "none"}
    law = ", ".join(f"{name} {_value(part)}" for name, part in parts.items())
    yield "attention", f"beta = {attention.beta:g}, {attention.heads} {_plural('head', attention.heads)}, {law}"
    matrices = {name: getattr(attention, name) for name in ("query", "key", "value", "output")}
    yield "matrices", ", ".join(f"{name} {_value(value)}" for name, value in matrices.items() if value is not None)
    for name in ("rotary", "gate", "multipliers"):
        if getattr(attention, name) is not None:
            yield name, _value(getattr(attention, name))
    if scenario.block.norm != "none":
        yield "normalisation of tokens", scenario.block.norm
    if scenario.block.feed_forward is not None:
        yield "feed-forward map", f"activation {scenario.block.feed_forward.activation}"
    if depth.layers is not None:
        residual = "" if depth.residual else ", without residual connection"
        yield "depth", f"{depth.layers} layers of step {depth.layer_step:g}, {depth.weights} weights{residual}"
    else:
        yield "depth", f"{depth.end:g}, continuous, {depth.weights} weights"
        step = "" if depth.step is None else f", step {depth.step:g}"
        yield "method", f"{depth.method}{step}, rtol = {depth.rtol:g}, atol = {depth.atol:g}, sums {depth.sums}"
    if depth.noise > 0.0:
        yield "noise", f"temperature {depth.noise:g}"
    yield "kept", _kept(trajectory)
    yield "ended", _ending(trajectory)


def _told(text: str) -> Facts:
    """What the comments of a scenario say before its first table, paragraph by paragraph."""
    head = re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.lstrip("# ").rstrip() if line.startswith("#") else "" for line in head.splitlines()]
    paragraphs = re.split(r"\n\n+", "\n".join(lines).strip("\n"))
    for number, paragraph in enumerate(paragraph for paragraph in paragraphs if paragraph.strip()):
        yield "" if number else "in words", " ".join(paragraph.split())


def _kept(trajectory: Trajectory) -> str:
    frames = len(trajectory)
    span = f" from depth {trajectory.times[0]:g} to {trajectory.times[-1]:g}" if frames else ""
    names = ", ".join(name.replace("_", " ") for name in trajectory.observables) or "none"
    return f"{frames} {_plural('frame', frames)}{span}; observables: {names}"


def _ending(trajectory: Trajectory) -> str:
    known = {"wall_seconds": "seconds", "drift_evaluations": "drift evaluations", "accepted": "steps"}
    numbers = {word: trajectory.statistics.get(name) for name, word in known.items()}
    spent = ", ".join(f"{value:.6g} {word}" for word, value in numbers.items() if isinstance(value, int | float))
    return trajectory.status + (f"; {spent}" if spent else "")


def _value(value: Any) -> str:
    """A value of a scenario in a few words."""
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"given ({len(value)} {'rows' if value and isinstance(value[0], list) else 'numbers'})"
    file = getattr(value, "file", None)
    if file is not None:
        return f"from {file.rpartition('/')[2]}" + (f" ({value.array})" if value.array else "")
    if hasattr(value, "law"):
        given = {name: getattr(value, name) for name in sorted(value.model_fields_set - {"law"})}
        numbers = ", ".join(f"{name} {_value(part)}" for name, part in given.items() if part is not None)
        return word(value) + (f" ({numbers})" if numbers else "")
    return "given"


def _run_again(trajectory: Trajectory, name: str, replica: int) -> str:
    shown = f" --replica {replica}" if replica else ""
    page = f"attndyn report {name}.h5 --out {name}.html{shown}"
    engine = {key: trajectory.provenance.get(key) for key in ("backend", "device")}
    usual = {"backend": "numba", "device": "cpu"}
    options = [f"--{key} {shlex.quote(str(value))}" for key, value in engine.items() if value not in (None, usual[key])]
    if not len(trajectory.arrays) and len(trajectory.scenario_text) <= LONGEST_TEXT:
        command = " ".join(["attndyn run", f"{name}.toml", *options, "--out", f"{name}.h5"])
        return f"{_again(trajectory, name, command)}\n{page}"
    file = shlex.quote(trajectory.path.name)
    code = "import attndyn, sys; attndyn.run(attndyn.open(sys.argv[1]).scenario, out=sys.argv[2])"
    return (
        f"{_install(trajectory)}\n\n# The trajectory keeps its scenario, with the arrays it read from files.\n"
        f"python -c {shlex.quote(code)} {file} {name}.h5\n{page}"
    )


def _again(subject: Any, name: str, command: str) -> str:
    """Install, write the scenario, run."""
    text, end = "\n".join(subject.scenario_text.splitlines()).rstrip("\n"), "SCENARIO"
    while re.search(rf"^{end}$", text, re.MULTILINE):
        end += "_"
    return f"{_install(subject)}\n\ncat > {name}.toml <<'{end}'\n{text}\n{end}\n\n{command}"


def _install(subject: Any) -> str:
    versions = subject.provenance.get("versions", {})
    version = versions.get("attndyn") if isinstance(versions, Mapping) else None
    return f"pip install {shlex.quote(f'attndyn[report]=={version}' if version else 'attndyn[report]')}"


def _option(name: str, values: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{name} {shlex.quote(f'{key}={value}')}"


def _raised(text: str) -> str:
    """R^3 as R³."""
    return re.sub(r"R\^(\d+)", lambda found: "R" + found[1].translate(_RAISED), text)


def _name(name: Any) -> str:
    """A name that is safe on a command line, whoever wrote it."""
    return re.sub(r"[^\w.-]+", "-", str(name), flags=re.ASCII).strip("-.") or "scenario"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
