"""Every mistake in a scenario or a command line: exit status 2, one line that names the key, no file left."""

import numpy as np
import pytest
from attndyn.cli import main

SCENARIO = """
title = "a test"
[tokens]
count = 4
dimension = 3
initial = { law = "uniform" }
[space]
kind = "sphere"
[attention]
beta = 2.0
[depth]
time = 1.0
[save]
every = 0.5
observables = ["clusters"]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a scenario without mistakes and with arrays that do and do not fit it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "a-folder.npz").mkdir()
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 this is no archive")
    np.save(tmp_path / "nan.npy", np.full((3, 3), np.nan))
    np.save(tmp_path / "wide.npy", np.ones((3, 5)))
    np.save(tmp_path / "vector.npy", np.ones(3))
    np.save(tmp_path / "pickle.npy", np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", positions=np.ones((4, 3)), texts=np.array(["a", "b"]))
    (tmp_path / "words.csv").write_text("x,y,z\n1,2,three\n", encoding="utf-8")
    return tmp_path


def complaint(capsys, *arguments):
    """The one line on stderr of a command that must end with status 2."""
    status = main(arguments)
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("attndyn: ")
    assert "Traceback" not in printed.err
    return printed.err


def outputs(folder):
    return [path.name for path in folder.rglob("*") if ".h5" in path.name or path.suffix == ".png"]


# what is changed in the scenario, the key that the line must name, and what else must stand in it
CHANGES = {
    "misspelt key": ("tokens.cuont=64", "tokens.cuont", "did you mean tokens.count? (given 64)"),
    "misspelt section": ("attentoin.beta=1.0", "attentoin", "did you mean attention?"),
    "key of another section": ("tokens.beta=1.0", "tokens.beta", "did you mean attention.beta?"),
    "unknown key unlike any other": ("space.xyzzy=1", "space.xyzzy", "allowed are kind, radius"),
    "misspelt key of the initial law": (
        'tokens.initial={ law = "gaussian", deviaton = 1.0 }',
        "tokens.initial.deviaton",
        "did you mean tokens.initial.deviation?",
    ),
    "key of another initial law": (
        'tokens.initial={ law = "equiangular", deviation = 1.0 }',
        "tokens.initial.deviation",
        "allowed are law, cosine",
    ),
    "misspelt key of a drawn matrix": (
        'attention.value={ law = "gaussian", scle = 2.0 }',
        "attention.value.scle",
        "did you mean attention.value.scale?",
    ),
    "misspelt key of an event": ("save.stop.cluster=1", "save.stop.cluster", "save.stop.clusters"),
    "text for a number": ('attention.beta="cold"', "attention.beta", 'must be a number; got "cold"'),
    "number in quotes": ('tokens.count="4"', "tokens.count", 'must be a whole number; got "4"'),
    "truth for a whole number": ("tokens.count=true", "tokens.count", "must be a whole number; got true"),
    "truth for a number": ("attention.beta=true", "attention.beta", "must be a number; got true"),
    "broken number for a whole one": ("tokens.count=4.0", "tokens.count", "must be a whole number"),
    "number for truth": ("save.exact=1", "save.exact", "must be true or false; got 1"),
    "number for a text": ("title=3", "title", "must be a text in quotes; got 3"),
    "number for a table": ("space=3", "space", "must be a table; got 3"),
    "number for a list": ("save.observables=1", "save.observables", "must be a list; got 1"),
    "NaN": ("attention.beta=nan", "attention.beta", "must be a finite number; got nan"),
    "infinite": ("depth.time=inf", "depth.time", "must be a finite number; got inf"),
    "negative count": ("tokens.count=-4", "tokens.count", "must be at least 1; got -4"),
    "more tokens than memory": ("tokens.count=1000000000000", "tokens.count", "must be at most 1e+09"),
    "more numbers than memory": (
        "tokens={ count = 1000000000, dimension = 1000000 }",
        "tokens.initial",
        "needs 2.4e+07 GB of memory",
    ),
    "no replicas": ("tokens.replicas=0", "tokens.replicas", "must be at least 1; got 0"),
    "negative seed": ("tokens.seed=-1", "tokens.seed", "must be at least 0"),
    "negative radius": ("space.radius=-1.0", "space.radius", "must be greater than 0"),
    "sphere in one dimension": ("tokens.dimension=1", "tokens.dimension", "at least 2"),
    "negative time": ("depth.time=-1.0", "depth.time", "must be greater than 0; got -1"),
    "tolerance of zero": ("depth.rtol=0.0", "depth.rtol", "must be greater than 0"),
    "unknown mask": ("attention.mask=casual", "attention.mask", 'did you mean "causal"?'),
    "unknown space": ("space.kind=torus", "space.kind", "must be one of sphere, euclidean"),
    "unknown normalisation": ("attention.normalisation=sofmax", "attention.normalisation", '"softmax"'),
    "unknown score": ("attention.score=sine", "attention.score", "must be one of dot, scaled-dot"),
    "unknown method": ("depth.method=rk5", "depth.method", '"rk4"'),
    "unknown type": ("tokens.dtype=float16", "tokens.dtype", "must be one of float64, float32"),
    "unknown observable": ('save.observables=["enrgy"]', "save.observables[1]", '"energy"'),
    "observable named twice": ('save.observables=["radius", "radius"]', "save.observables", "twice"),
    "unknown initial law": ('tokens.initial={ law = "unifrom" }', "tokens.initial.law", '"uniform"'),
    "initial law without its name": ("tokens.initial={ deviation = 1.0 }", "tokens.initial.law", "missing"),
    "initial law as text": ('tokens.initial="uniform"', "tokens.initial", "must be a table"),
    "grid on a sphere": ('tokens.initial={ law = "grid" }', "tokens.initial", "dimension 2"),
    "equiangular in few dimensions": (
        'tokens.initial={ law = "equiangular" }',
        "tokens.initial",
        "at least tokens = 4; got dimension 3",
    ),
    "mean of the wrong length": (
        'tokens.initial={ law = "gaussian", mean = [1.0] }',
        "tokens.initial.mean",
        "3 components",
    ),
    "weights that do not sum to 1": ("tokens.weights=[0.1, 0.1, 0.1, 0.1]", "tokens.weights", "sum to 1"),
    "negative weight": ("tokens.weights=[-0.1, 0.4, 0.4, 0.3]", "tokens.weights", "nonnegative"),
    "too few weights": ("tokens.weights=[0.5, 0.5]", "tokens.weights", "4 numbers"),
    "weights in a text": ("tokens.weights=uniform", "tokens.weights", "a list of numbers"),
    "radius of a plane": (
        'space={ kind = "euclidean", radius = 2.0 }',
        "space.radius",
        "belongs to a sphere",
    ),
    "shift of softmax": ("attention.shift=1.0", "attention.shift", "unnormalised"),
    "heads that do not divide": (
        'attention={ heads = 2, query = { law = "gaussian" } }',
        "attention.heads",
        "must divide the dimension 3",
    ),
    "matrix of the wrong shape": ("attention.query=[[1.0, 0.0]]", "attention.query", "dimension = 3"),
    "rows of different lengths": ("attention.query=[[1.0, 0.0], [1.0]]", "attention.query", "[1, 2]"),
    "matrix of texts": ('attention.key=[["a"]]', "attention.key[1][1]", 'must be a number; got "a"'),
    "unknown matrix": ("attention.key=identiy", "attention.key", '"identity", a number, a list of rows'),
    "unknown family": ('attention.key={ law = "gausian" }', "attention.key.law", '"gaussian"'),
    "rectangle of a square family": (
        'attention={ head_dimension = 2, query = { law = "symmetric" } }',
        "attention.query",
        "square",
    ),
    "query and key that do not match": (
        'attention={ query = { law = "gaussian" }, key = [[1.0, 0.0, 0.0]] }',
        "attention.query",
        "same number of rows",
    ),
    "rows other than head_dimension": (
        "attention={ head_dimension = 2, query = [[1.0, 0.0, 0.0]] }",
        "attention.query",
        "(2, 3); got (1, 3)",
    ),
    "bias of the wrong length": ("attention.query_bias=[1.0, 2.0]", "attention.query_bias", "3 numbers"),
    "matrix file that is missing": ('attention.key={ file = "no.npy" }', "attention.key", "not exist"),
    "matrix file that is a folder": ('attention.key={ file = "a-folder.npz" }', "attention.key", "folder"),
    "matrix file that is damaged": ('attention.key={ file = "damaged.npz" }', "attention.key", "cannot be"),
    "matrix file with NaN": ('attention.key={ file = "nan.npy" }', "attention.key", "NaN"),
    "matrix file of the wrong shape": ('attention.key={ file = "wide.npy" }', "attention.key", "(3, 5)"),
    "matrix file with a vector": ('attention.key={ file = "vector.npy" }', "attention.key", "a matrix"),
    "pickled objects": ('attention.key={ file = "pickle.npy" }', "attention.key", "cannot be read"),
    "csv file with words": ('attention.key={ file = "words.csv" }', "attention.key", "cannot be read"),
    "one array of several not named": ('attention.key={ file = "several.npz" }', "attention.key", "array"),
    "unknown array": (
        'attention.key={ file = "several.npz", array = "key" }',
        "attention.key",
        "must be one of positions, texts",
    ),
    "file of another kind": ('attention.key={ file = "mine.toml" }', "attention.key", "must be one of .npy"),
    "array without a file": ('attention.key={ array = "key" }', "attention.key.file", "missing"),
    "tokens from a file that is missing": (
        'tokens={ initial = { law = "file", file = "no.npy" } }',
        "tokens.initial",
        "not exist",
    ),
    "more tokens than the file holds": (
        'tokens={ count = 9, initial = { law = "file", file = "several.npz", array = "positions" } }',
        "tokens.count",
        "[1, 4]",
    ),
    "fewer strings than tokens": (
        'tokens.strings={ file = "several.npz", array = "texts" }',
        "tokens.strings",
        "4 tokens; got 2",
    ),
    "strings that are numbers": ('tokens.strings={ file = "wide.npy" }', "tokens.strings", "list of texts"),
    "single token that does not see itself": (
        'attention={ mask = "without-self", query = 2.0 }\x00tokens.count=1',
        "attention.mask",
        "single token",
    ),
    "energy of many heads": (
        'attention={ heads = 3 }\x00save.observables=["energy"]',
        "save.observables",
        "one head",
    ),
    "layers and time": ("depth={ layers = 2, time = 1.0 }", "depth.time", "not both"),
    "tolerance of layers": ("depth={ layers = 2, rtol = 1e-3 }", "depth.rtol", "continuous depth"),
    "drift of layers": (
        "depth={ layers = 2 }\x00save={ stop = { drift = 1e-3 } }",
        "save.stop.drift",
        "no drift",
    ),
    "independent weights without layers": ("depth.weights=independent", "depth.weights", "depth.layers"),
    "independent weights with nothing drawn": (
        'depth={ layers = 2, weights = "independent" }',
        "depth.weights",
        "needs a matrix to draw",
    ),
    "no residual in continuous depth": ("depth.residual=false", "depth.residual", "depth.layers"),
    "fixed-step method without a step": ("depth.method=rk4", "depth.step", "needs it"),
    "step beyond the end": ("depth.step=2.0", "depth.step", "must be at most the run's depth 1; got 2"),
    "save times beyond the end": ("save.times=[0.0, 2.0]", "save.times", "[0, 1]; got 2 at position 2"),
    "negative save time": ("save.times=[-1.0]", "save.times[1]", "must be at least 0; got -1"),
    "save times that fall": ("save.times=[0.5, 0.2]", "save.times", "must increase; got 0.2 after 0.5"),
    "no save times": ("save.times=[]", "save.times", "at least 1 long"),
    "save times of an unknown kind": ("save.times=often", "save.times", "a list of depths"),
    "every and times": ("save={ every = 0.5, times = [1.0] }", "save.every", "not both"),
    "interval longer than the run": ("save.every=2.0", "save.every", "must be at most the run's depth 1"),
    "too many frames": ("save.every=1e-12", "save.every", "at most 10000000 frames"),
    "first of log times beyond the end": (
        'save.times={ law = "log", first = 1.5, count = 3 }',
        "save.times.first",
        "must be less than",
    ),
    "interval that is no multiple of the layers' step": (
        "depth={ layers = 4 }\x00save.every=1.5",
        "save.every",
        "multiple of the step 1; got 1.5",
    ),
    "save times between layers": ("depth={ layers = 4 }\x00save.times=[0.5]", "save.times", "got 0.5"),
    "save times between exact steps": (
        'depth={ time = 1.0, method = "rk4", step = 0.1 }\x00save={ times = [0.15], exact = true }',
        "save.times",
        "multiples of the step 0.1; got 0.15",
    ),
    "interval that is no multiple of a geodesic step": (
        'depth={ time = 1.0, method = "geodesic-euler", step = 0.1 }\x00save.every=0.25',
        "save.every",
        "multiple of the step 0.1; got 0.25",
    ),
    "negative cluster distance": ("save.cluster_distance=-0.1", "save.cluster_distance", "greater than 0"),
    "zero clusters to stop at": ("save.stop.clusters=0", "save.stop.clusters", "must be at least 1"),
}


@pytest.mark.parametrize(("changes", "key", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_a_wrong_value_is_told_by_its_key(folder, capsys, changes, key, says):
    options = [word for change in changes.split("\x00") for word in ("--set", change)]
    line = complaint(capsys, "run", "mine.toml", "--out", "out.h5", *options)
    assert f" {key}: " in line
    assert says in line
    assert outputs(folder) == []


# the scenario file, the key or place that the line must name
TEXTS = {
    "misspelt key": (SCENARIO.replace("count", "cuont"), "tokens.cuont: unknown key; did you mean"),
    "misspelt section": (SCENARIO.replace("[space]", "[spaec]"), "spaec: unknown key; did you mean space?"),
    "no TOML": (SCENARIO.replace("count = 4", "count 4"), "line 4, column 7"),
    "section given twice": (SCENARIO + "[tokens]\n", "('tokens',) twice (at line 16"),
    "key given twice": (SCENARIO.replace("count = 4", "count = 4\ncount = 5"), "at line 5"),
    "bracket left open": (SCENARIO.replace('["clusters"]', '["clusters"'), "Unclosed array"),
    "empty list of observables' names": (SCENARIO.replace("clusters", ""), "save.observables[1]"),
    "several mistakes": (
        SCENARIO.replace("count = 4", 'count = "a"').replace("2.0", '"b"').replace("1.0", '"c"'),
        'tokens.count: must be a whole number; got "a" (and 2 more)',
    ),
}


@pytest.mark.parametrize(("text", "says"), TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_file_is_told_by_its_name_and_key(folder, capsys, command, text, says):
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    line = complaint(capsys, command, "mine.toml")
    assert line.startswith("attndyn: mine.toml: ")
    assert says in line
    assert outputs(folder) == []


def test_a_file_that_is_no_text_is_told(folder, capsys):
    (folder / "mine.toml").write_bytes(b"title = '\xff\xfe'")
    assert "mine.toml: not a text in UTF-8 (byte 10)" in complaint(capsys, "run", "mine.toml")


COMMANDS = {
    "unknown command": (("rnu",), "'rnu'"),
    "unknown option": (("run", "mine.toml", "--sed", "1"), "--sed"),
    "option without its value": (("run", "mine.toml", "--out"), "--out"),
    "no scenario": (("run",), "NAME|FILE"),
    "unknown scenario": (("run", "sphere-cluster"), "did you mean sphere-clusters?"),
    "scenario that is a folder": (("run", "a-folder.npz"), "a-folder.npz: is a folder"),
    "change without a value": (("run", "mine.toml", "--set", "attention.beta"), "--set: "),
    "change without a key": (("run", "mine.toml", "--set", "=1"), "section.key"),
    "seed that is no number": (("run", "mine.toml", "--seed", "a"), "--seed"),
    "negative seed": (("run", "mine.toml", "--seed", "-1"), "--seed"),
    "no threads": (("run", "mine.toml", "--threads", "0"), "--threads"),
    "unknown backend": (("run", "mine.toml", "--backend", "cuda"), "backend must be one of numba, torch, reference"),
    "folder for an output file": (("run", "mine.toml", "--out", "."), "--out: . is a folder"),
    "output in a folder that is missing": (("run", "mine.toml", "--out", "no/x.h5"), "--out: "),
    "unknown scenario to show": (("show", "spheres"), "spheres: neither"),
    "unknown scenario to check": (("check", "spheres.toml"), "spheres.toml: neither"),
    "trajectory that is missing": (("info", "no.h5"), "no.h5"),
    "trajectory to plot that is missing": (("plot", "no.h5"), "no.h5"),
    "depths that are no numbers": (("plot", "no.h5", "--depths", "a,b"), "--depths: "),
}


@pytest.mark.parametrize(("arguments", "says"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_wrong_command_line_is_told(folder, capsys, arguments, says):
    assert says in complaint(capsys, *arguments)
    assert outputs(folder) == []


def test_an_existing_output_file_is_not_overwritten_unless_asked(folder, capsys):
    (folder / "out.h5").write_text("precious", encoding="utf-8")
    line = complaint(capsys, "run", "mine.toml", "--out", "out.h5")
    assert "--out: out.h5 exists already" in line
    assert "--overwrite" in line
    assert (folder / "out.h5").read_text(encoding="utf-8") == "precious"
    assert main(["run", "mine.toml", "--out", "out.h5", "--overwrite", "--backend", "reference"]) == 0


def test_the_scenario_without_mistakes_runs(folder, capsys):
    assert main(["run", "mine.toml", "--backend", "reference", "--quiet"]) == 0
    assert outputs(folder) == ["mine.h5"]
    assert capsys.readouterr().out == ""
