"""Wrong files and scenarios, one for each seed, used as a person would use them.

python tests/fuzzing.py files 17           the case of that seed, here, with what it does
python tests/fuzzing.py scenarios 0 1000   as the test runs them: a line of JSON before and after each case
"""

import contextlib
import io
import json
import logging
import math
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import attndyn
import numpy as np
from attndyn.data.verifying import verified
from attndyn.errors import AttndynError, printable
from attndyn.scenarios import room
from attndyn.scenarios.build import build
from attndyn.scenarios.files import LIBRARY
from attndyn.scenarios.results import described, drawn
from attndyn.scenarios.schedule import depths_of
from attndyn.scenarios.summary import summary
from mutations import SECRET, damaged, misspelt

MEBIBYTE = 2**20
STARTING = 120.0  # seconds until a process has begun
ROOM = 1024 * MEBIBYTE  # of address space beyond what Python and its libraries take
TOKENS = {"tokens.count": 5, "depth.time": 1.0, "save.every": 0.1}
BASES = {
    "plain": TOKENS | {"tokens.replicas": 2, "save.observables": ["energy", "clusters"], "tokens.dtype": "float32"},
    "merging": TOKENS
    | {"tokens.dimension": 2, "attention.beta": 6.0, "depth.merge": 0.3, "depth.time": 10.0, "save.every": 0.5},
    "focus": TOKENS | {"focus.position": [1.0, 0.0, 0.0], "focus.width": 0.6},
    "network": {
        "tokens.count": 4,
        "depth.layers": 6,
        "depth.weights": "independent",
        "attention.query": {"law": "gaussian"},
        "attention.heads": 1,
        "block.norm": "pre",
        "block.feed_forward": {"activation": "gelu", "hidden": 4},
        "space.kind": "euclidean",
    },
    "noise": TOKENS | {"depth.method": "heun-stratonovich", "depth.step": 0.05, "depth.noise": 0.1},
    "arrays": {
        "tokens.initial": {"law": "file", "file": "tokens.npy"},
        "tokens.strings": {"file": "words.txt"},
        "tokens.weights": {"file": "weights.npz", "array": "w"},
        "attention.query": {"file": "query.csv"},
        "depth.time": 1.0,
    },
}
INTERRUPTED = ("plain", "merging", "focus", "network", "noise")
LAWS = [
    TOKENS,
    *BASES.values(),
    TOKENS
    | {
        "attention.heads": 3,
        "attention.value": {"law": "orthogonal", "scale": 2.0, "seed": 3},
        "attention.rotary": 100.0,
        "attention.head_dimension": 2,
        "attention.output": {"law": "gaussian"},
    },
    TOKENS | {"attention.mask": {"law": "window", "width": 2}, "attention.score": "cosine"},
    TOKENS
    | {
        "depth.weights": "schedule",
        "attention.key": {"law": "symmetric"},
        "depth.schedule": {"kind": "ornstein-uhlenbeck", "correlation": 0.5},
    },
    TOKENS
    | {
        "depth.layers": 10,
        "attention.multipliers": {"law": "lognormal", "variation": 0.5},
        "depth.time": None,
        "save.every": None,
    },
    TOKENS
    | {
        "save.times": {"law": "log", "first": 0.1, "count": 5},
        "save.stop": {"clusters": 1, "drift": 1e-3},
        "save.every": None,
    },
]


# What is changed


def make_bases(folder):
    """The good files, made anew: finished, interrupted and killed runs, sweeps, studies."""
    _make_arrays(folder)
    for name, changes in BASES.items():
        scenario = _scenario(folder, name, changes)
        attndyn.run(scenario, folder / f"{name}.h5", backend="reference").close()
        if name in INTERRUPTED:
            _interrupted(scenario, folder / f"{name}-interrupted.h5")
    attndyn.analyze(folder / "plain.h5", ["mean_inner_product", "tree", "similarity"], threads=1)
    for name in ("plain", "merging"):
        subprocess.run([sys.executable, __file__, "killed", str(folder), name], check=True)
        (folder / f"{name}-killed.h5.partial").rename(folder / f"{name}-killed.h5")
        (folder / f"{name}-killed.h5.lock").unlink(missing_ok=True)
    small = _scenario(folder, "small", TOKENS | {"tokens.replicas": 2, "save.every": 0.5})
    grid = {"attention.beta": [1.0, 2.0, 4.0], "attention.mask": ["none", "causal"]}
    attndyn.sweep(small, grid, out=folder / "sweep.h5", workers=1, backend="reference").close()
    attndyn.sweep(
        small,
        {"tokens.seed": [1, 2]},
        out=folder / "sweep-every.h5",
        workers=1,
        backend="reference",
        every_replica=True,
    ).close()
    study = small.override({"limit.kind": "depth", "limit.layers": [2, 4, 8], "tokens.replicas": 1})
    attndyn.limit(study, out=folder / "study.h5", backend="reference").close()
    return sorted(path.name for path in folder.glob("*.h5"))


def _make_arrays(folder):
    rng = np.random.default_rng(0)
    np.save(folder / "tokens.npy", rng.standard_normal((5, 3)))
    np.savez(folder / "weights.npz", w=np.full(5, 0.2))
    np.savetxt(folder / "query.csv", np.eye(3), delimiter=",")
    (folder / "words.txt").write_text("a\nb\nc\nd\ne\n")
    (folder / SECRET).write_text("not yours\n")


def _scenario(folder, name, changes):
    given = {key: value for key, value in changes.items() if value is not None}
    return attndyn.Scenario.parse("", name=name, folder=folder).override(given)


def _interrupted(scenario, path, kill=False):
    """A run that is ended on the way: by a signal that it hears, or at once."""
    half = scenario.depth.end / 2

    def end(t, _):
        if t > half:
            if kill:
                os._exit(0)
            os.kill(os.getpid(), signal.SIGTERM)

    attndyn.run(scenario, path, backend="reference", progress=end).close()


def scenario_texts(folder):
    """The texts of good scenarios, bundled ones among them."""
    made = [_scenario(folder, "s", changes).text for changes in LAWS]
    return made + [path.read_text(encoding="utf-8") for path in sorted(LIBRARY.glob("*.toml"))]


# What is done with it


class Attempts:
    """Things done one after the other; what the package refuses is counted, and anything else is raised."""

    def __init__(self):
        self.refused = []

    def __call__(self, name, thing, *arguments, **options):
        """What a thing gives; None where it was refused."""
        try:
            return thing(*arguments, **options)
        except AttndynError as error:
            if _memory(error):
                raise RuntimeError(f"{name}: memory was asked for that there is not: {error}") from error
            if not str(error) or len(str(error)) > 4000 or printable(str(error)) != str(error):
                raise RuntimeError(f"{name}: no sentence: {str(error)[:200]!r}") from error
            self.refused.append(f"{name}: {' '.join(str(error).split())[:200]}")
        except Exception as error:
            raise RuntimeError(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error
        return None


def _memory(error):
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def use_file(path, rng, folder, draw=False):
    """(whether it opened, what was refused)."""
    attempt = Attempts()
    attempt("info", described, path)
    if rng.random() < 0.1:
        attempt("info --json", described, path, as_json=True)
    if rng.random() < 0.3:
        attempt("info --verify", verified, path)
    trajectory = attempt("open", attndyn.open, path)
    others = not trajectory and ("sweep" in path.name or "study" in path.name or rng.random() < 0.2)
    sweep = attempt("open_sweep", attndyn.open_sweep, path) if others else None
    study = attempt("open_limit", _open_limit, path) if others and not sweep else None
    opened = trajectory or sweep or study
    if trajectory:
        with trajectory:
            _use_trajectory(attempt, trajectory, rng)
    elif sweep:
        with sweep:
            _use_sweep(attempt, sweep, rng)
    elif study:
        with study:
            _use_study(attempt, study)
    if opened and rng.random() < 0.01:
        attempt("main", _main, ["info", str(path)])
    if opened and draw:
        attempt("plot", drawn, path, folder / "picture.png")
        if trajectory:
            attempt("report", attndyn.report, path, folder / "page.html", overwrite=True)
    if trajectory and rng.random() < (0.3 if "interrupted" in path.name or "killed" in path.name else 0.02):
        attempt("resume", _resume, path, trajectory, folder / "resumed.h5")
    return opened is not None, attempt.refused


def _open_limit(path):
    from attndyn.data.limits import open_limit

    return open_limit(path)


def _use_trajectory(attempt, trajectory, rng):
    attempt(
        "status",
        lambda: (
            trajectory.status + "",
            dict(trajectory.statistics),
            trajectory.finished,
            repr(trajectory),
            trajectory.provenance,
        ),
    )
    attempt("times", lambda: (trajectory.times.sum(), trajectory.steps.sum(), trajectory.weights.sum()))
    if len(trajectory):
        attempt("a frame", lambda: trajectory.positions[rng.randrange(len(trajectory))].sum())
        attempt("the last frame", lambda: (trajectory.positions[-1], trajectory.merged_into(-1)))
    attempt(
        "positions",
        lambda: [block.sum() for block in trajectory.positions] if trajectory.positions.shape[0] < 10**5 else None,
    )
    for name in trajectory.observables:
        attempt("observables", lambda name=name: trajectory.observables[name].sum())
    attempt("token strings", lambda: trajectory.token_strings and "".join(trajectory.token_strings))
    for key in trajectory.arrays:
        attempt("arrays", lambda key=key: trajectory.arrays[key].sum())
    attempt("scenario", lambda: trajectory.scenario.text)
    attempt("law", lambda: [trajectory.law_at(t) for t in (0.0, 0.5)])
    attempt("kept", lambda: (trajectory.kept.results, trajectory.analyzed))
    if rng.random() < 0.05:
        attempt("xarray", lambda: trajectory.to_xarray())
        attempt("dataframe", lambda: trajectory.to_dataframe())
    if rng.random() < 0.01:
        attempt("notebook", trajectory._repr_html_)
    if rng.random() < 0.05:
        attempt(
            "analyze",
            attndyn.analyze,
            trajectory,
            rng.choice((["mean_inner_product"], ["tree"], ["radius", "clusters"])),
            threads=1,
            keep=False,
        )


def _use_sweep(attempt, sweep, rng):
    attempt(
        "sweep",
        lambda: (
            repr(sweep),
            sweep.times,
            sweep.done,
            sweep.finished,
            sweep.status,
            sweep.statistics,
            sweep.provenance,
        ),
    )
    for part in (sweep.observables, sweep.deviations, sweep.values):
        for name in part:
            attempt("sweep's values", lambda part=part, name=name: part[name])
    if rng.random() < 0.1:
        attempt("sweep's xarray", sweep.to_xarray)
        attempt("sweep's notebook", sweep._repr_html_)


def _use_study(attempt, study):
    attempt("study", lambda: (repr(study), study.summary(), study.provenance))
    for name in attempt("runs", lambda: study.runs) or []:
        attempt("run", study.run, name)
    attempt("study's notebook", study._repr_html_)


def _main(words):
    from attndyn.cli import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        status = main(words)
    assert status in (0, 1, 2) and (status == 0 or len(told.getvalue().splitlines()) == 1), (status, told.getvalue())


def _resume(path, trajectory, copy):
    """On a copy; not where the scenario, which may ask for any number of steps, asks for many."""
    if not _short(trajectory.plan):
        return
    for place in (copy, copy.with_name(copy.name + ".partial")):
        place.unlink(missing_ok=True)
    shutil.copy(path, copy)
    attndyn.resume(copy, threads=1, walltime=5.0).close()


def use_scenario(path, rng):
    """(whether it was built, what was refused)."""
    attempt = Attempts()
    scenario = attempt("load", attndyn.load, path)
    if scenario is None:
        return False, attempt.refused
    attempt("text", lambda: attndyn.Scenario.parse(scenario.text, folder=path.parent))
    plan = attempt("build", build, scenario) if _modest(scenario) else attempt("size", refused_for_its_size, scenario)
    if plan is None:
        return False, attempt.refused
    attempt("check", summary, plan)
    if _short(plan):
        backend = "numba" if rng.random() < COMPILED else "reference"
        attempt("run", _run, scenario, path.with_name("out.h5"), backend)
    return True, attempt.refused


def _modest(scenario):
    """Whether building takes a moment; what is larger, and yet has room, would be built by who asks for it."""
    layers = scenario.depth.layers if scenario.depth.weights == "independent" else 1
    numbers = (scenario.tokens.count or 0) * (scenario.tokens.dimension or 1)
    few = scenario.tokens.replicas <= 10_000 and numbers <= 10_000_000
    return few and layers <= 1000 and _schedule(scenario) <= 1000


def _schedule(scenario):
    return len(depths_of(scenario.depth)) if scenario.depth.weights == "schedule" else 1


def refused_for_its_size(scenario):
    """Only the question whether there is room: before any is taken."""
    if scenario.count and scenario.dimension:
        room.check_tokens(scenario, scenario.count, scenario.dimension)
    room.check_laws(scenario, scenario.depth.layers or _schedule(scenario), scenario.dimension or 1)


COMPILED = 0.0


def _run(scenario, out, backend):
    with attndyn.run(scenario, out, overwrite=True, threads=1, walltime=3.0, backend=backend) as trajectory:
        return trajectory.status


def _short(plan):
    """Whether a run takes a moment."""
    depth, ensemble = plan.scenario.depth, plan.ensemble
    pairs = ensemble.replicas * ensemble.tokens**2 * ensemble.dimension
    steps = depth.layers or (depth.end / depth.step if depth.step else 100)
    return pairs <= 5000 and steps <= 200 and len(plan.save_times) <= 200 and math.isfinite(steps)


# One seed after the other


def case(kind, seed, folder, bases):
    """(whether it opened or was built, what was refused, how it was made wrong) of the case of this seed."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "scenarios":
        content, how = misspelt(rng, rng.choice(bases))
        path = folder / "case.toml"
        path.write_bytes(content)
        return *use_scenario(path, rng), how
    base = rng.choice(bases)
    path = folder / f"case-{base}"
    for left in folder.glob("case-*"):
        left.unlink()
    shutil.copy(folder / base, path)
    how = f"{base}: {', '.join(damaged(rng, path))}"
    return *use_file(path, rng, folder, draw=kind == "pictures"), how


def work(kind, seeds, folder, bases):
    """The cases of these seeds; tells each before it begins, and what came of it."""
    _limit_memory()
    for seed in seeds:
        print(json.dumps({"begun": seed}), flush=True)
        began, before = time.perf_counter(), _peak()
        try:
            opened, refused, how = case(kind, seed, folder, bases)
            told = {"opened": opened, "refused": refused, "how": how}
        except BaseException:
            told = {"error": traceback.format_exc()[-6000:]}
        told |= {"seconds": time.perf_counter() - began, "peak": _peak(), "more": _peak() - before}
        print(json.dumps({"done": seed} | told), flush=True)


def _peak():
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bases(kind, folder):
    if kind == "scenarios":
        return scenario_texts(folder)
    made = ("case", "resumed", "out")
    return sorted(path.name for path in folder.glob("*.h5") if not path.name.startswith(made))


def _limit_memory():
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if Path("/proc/self/statm").exists()
        else 4 * 2**30
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# Many seeds, in processes that may die


@dataclass
class Campaign:
    """What came of the cases of some seeds.

    rows   : of the cases that came to an end, as `work` tells them
    failed : seed -> what should not have come of it
    """

    rows: list
    failed: dict


def campaign(kind, seeds, folder, processes=2, patience=120.0):
    """Run the cases of these seeds; each has so many seconds, in a process whose memory is bounded."""
    parts = [list(seeds)[k::processes] for k in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        found = list(
            pool.map(lambda k: _share(kind, parts[k], folder, folder / f"part{k}", patience), range(processes))
        )
    return Campaign(
        [row for part in found for row in part.rows], {seed: why for part in found for seed, why in part.failed.items()}
    )


def _share(kind, seeds, bases, folder, patience):
    """One process after the other until all seeds have been tried: it goes on behind the one that ended the last."""
    shutil.copytree(bases, folder, ignore=shutil.ignore_patterns("part*"), dirs_exist_ok=True)
    rows, failed, left = [], {}, list(seeds)
    while left:
        with _Worker(kind, left, folder) as worker, (folder / "told.jsonl").open("a") as told:
            begun = None
            while (line := worker.line(STARTING if begun is None else patience)) is not None:
                print(json.dumps(line), file=told, flush=True)
                if "begun" in line:
                    begun = line["begun"]
                else:
                    left.remove(line["done"])
                    (failed.__setitem__(begun, line["error"]) if "error" in line else rows.append(line))
            if left:
                failed[begun] = worker.end(patience)
                if begun is None:
                    raise RuntimeError(f"no case was begun: {failed[begun]}")
                left.remove(begun)
    return Campaign(rows, failed)


class _Worker:
    """A process that runs `work`, and its lines."""

    def __init__(self, kind, seeds, folder):
        self.told = (folder / "stderr").open("w+")
        command = [sys.executable, "-X", "faulthandler", __file__, "these", kind, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.told)
        self.process.stdin.write(" ".join(map(str, seeds)).encode())
        self.process.stdin.close()
        self.rest = b""

    def line(self, patience):
        """The next line; None where there is none within so many seconds, or at all."""
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], patience)[0]:
                return None
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                return None
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def end(self, patience):
        """How it ended before its time, in words."""
        try:
            status = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # of which faulthandler says where it was
            self.process.wait()
            status = f"nothing for {patience} seconds"
        self.told.seek(0)
        where = self.told.read().partition("Extension modules")[0]
        return f"the process ended with {status}: {where[-3000:]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.told.close()


def main(words):
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    kind, *words = words
    if kind == "killed":
        folder, name = Path(words[0]), words[1]
        _interrupted(_scenario(folder, name, BASES[name]), folder / f"{name}-killed.h5", kill=True)
        return
    if kind == "these":
        kind, folder = words[0], Path(words[1])
        os.chdir(folder)
        work(kind, map(int, sys.stdin.read().split()), folder, _bases(kind, folder))
        return
    first, count, *rest = [*words, "1"] if len(words) == 1 else words
    with tempfile.TemporaryDirectory() as made:
        folder = Path(rest[0] if rest else made)
        if not rest:
            make_bases(folder)
        os.chdir(folder)
        work(kind, range(int(first), int(first) + int(count)), folder, _bases(kind, folder))
        assert (folder / SECRET).read_text() == "not yours\n"


if __name__ == "__main__":
    main(sys.argv[1:])
