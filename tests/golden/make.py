"""Small files of every class of run, as this version writes them: python tests/golden/make.py makes files.zip anew.

Anew for a version in which numbers are meant to change, or whose files have more in them; the changelog says so.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import attndyn
from attndyn.data.layout import partial_path
from attndyn.data.provenance import provenance_of_run
from attndyn.scenarios import watch
from attndyn.scenarios.schema import Scenario

ARCHIVE = Path(__file__).with_name("files.zip")
MACHINE = "machine.json"  # in the archive: on what the files were made
DATE = (2026, 1, 1, 0, 0, 0)  # of everything in the archive

PLAIN = """
[tokens]
count = 6
seed = 3
[attention]
beta = 3.0
[depth]
time = 2.0
[save]
every = 0.25
observables = ["energy", "clusters", "attention_entropy"]
"""
SCENARIOS = {
    "adaptive": {},
    "fixed-step": {"depth.method": "rk4", "depth.step": 0.125},
    "implicit": {"depth.method": "kencarp4"},
    "noise": {"depth.method": "heun-stratonovich", "depth.step": 0.125, "depth.noise": 0.1},
    "network": {
        "depth.layers": 16, "depth.step": 0.125, "depth.weights": "independent", "attention.query": {"law": "gaussian"},
    },
    "multipliers": {
        "depth.layers": 16, "depth.step": 0.125, "attention.multipliers": {"law": "lognormal", "variation": 0.5},
        "save.observables": ["order"],
    },
    "splitting": {
        "space.kind": "euclidean", "depth.method": "strang", "depth.step": 0.125,
        "block.feed_forward": {"activation": "gelu", "hidden": 4}, "block.norm": "pre",
    },
    "merging": {"tokens.dimension": 2, "attention.beta": 6.0, "depth.time": 16.0, "depth.merge": 1e-3,
                "save.every": 2.0},
    "focus": {"focus.position": [1.0, 0.0, 0.0], "focus.width": 0.6},
    "replicas": {"tokens.replicas": 3},
    "heads": {
        "tokens.dimension": 8, "attention.heads": 2, "attention.query": {"law": "gaussian"},
        "attention.key": {"law": "gaussian"}, "attention.mask": "causal",
        "save.observables": ["order"],
    },
    "failed": {"space.kind": "euclidean", "attention.normalisation": "none"},
}  # fmt: skip
GRID = {"attention.beta": [1.0, 4.0], "tokens.seed": [0, 1]}


def scenario_of(name):
    """The scenario of this name."""
    return Scenario.parse(PLAIN, name=name).override(SCENARIOS[name])


def machine():
    """What must be the same for the same bits."""
    known = provenance_of_run()
    return {name: known["versions"][name] for name in ("numpy", "numba")} | {"cpu": known["cpu"]}


def write(folder, threads=1):
    """The files of all scenarios, each NAME.h5, in a folder."""
    for name in SCENARIOS:
        attndyn.run(scenario_of(name), out=Path(folder, f"{name}.h5"), threads=threads).close()


def write_unfinished(folder):
    """An interrupted run and what a killed one leaves, both of the adaptive scenario; and a sweep of it."""
    folder = Path(folder)
    undisturbed, live = watch.Watch.end, folder / "killed.h5"
    taken = []

    def third(self):
        taken.append(None)
        return "interrupted" if len(taken) == 3 else None

    def copied(self):
        self.note(self.checkpoint())
        there = partial_path(live).read_bytes()
        (folder / "copy").write_bytes(there)
        return third(self)

    called = watch.Watch.__call__

    def remembering(self, checkpoint):
        self.checkpoint = checkpoint
        return called(self, checkpoint)

    try:
        watch.Watch.end = third
        attndyn.run(scenario_of("adaptive"), out=folder / "interrupted.h5").close()
        taken.clear()
        watch.Watch.end, watch.Watch.__call__ = copied, remembering
        attndyn.run(scenario_of("adaptive"), out=live).close()
    finally:
        watch.Watch.end, watch.Watch.__call__ = undisturbed, called
    live.unlink()
    (folder / "copy").replace(partial_path(live))
    attndyn.sweep(scenario_of("adaptive"), GRID, out=folder / "sweep.h5", workers=1).close()


def archive(folder):
    """All files of a folder, and the machine, as files.zip."""
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as files:
        files.writestr(zipfile.ZipInfo(MACHINE, DATE), json.dumps(machine()))
        for path in sorted(Path(folder).iterdir()):
            files.writestr(zipfile.ZipInfo(path.name, DATE), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    if len(sys.argv) == 3:  # the folder and the number of threads
        write(sys.argv[1], int(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write(folder)
            write_unfinished(folder)
            archive(folder)
        print(f"{ARCHIVE}: {ARCHIVE.stat().st_size} bytes")
