"""Trajectory files for the tests of reports, and what is in the pages made of them."""

import base64
import html
import json
import re
import zlib

import numpy as np
from attndyn.data.trajectory import TrajectoryWriter
from attndyn.particles import Ensemble, Sphere

SCENARIO = """title = "Tokens gather"

# They start anywhere.
#
# What one sees: they meet.

[tokens]
count = {tokens}
dimension = {dimension}
replicas = {replicas}

[space]
kind = "{kind}"

[attention]
beta = 2.0
"""
ARRAYS = {"Float32Array": "<f4", "Int16Array": "<i2", "Uint16Array": "<u2", "Uint32Array": "<u4", "Uint8Array": "u1"}


def gathering(space, tokens, frames, replicas=1, seed=0):
    """Positions (frames, replicas, tokens, dimension): tokens that go to two places."""
    generator = np.random.default_rng(seed)
    start = space.retract(generator.standard_normal((replicas, tokens, space.dimension)))
    ends = start[:, np.arange(tokens) % 2]
    share = np.linspace(0.0, 1.0, max(frames, 1))[:frames, None, None, None]
    return space.retract((1 - share) * start + share * ends)


def written(path, space, *, tokens=12, frames=5, replicas=1, scenario=None, times=None, positions=None, **more):
    """A trajectory file made by hand; `more` may have strings, status, observables (name -> values), provenance."""
    positions = gathering(space, tokens, frames, replicas) if positions is None else positions
    frames, replicas, tokens, dimension = positions.shape if len(positions) else (0, replicas, tokens, space.dimension)
    times = np.arange(float(frames)) if times is None else times
    kind = "sphere" if isinstance(space, Sphere) else "euclidean"
    text = SCENARIO.format(tokens=tokens, dimension=dimension, replicas=replicas, kind=kind)
    start = gathering(space, tokens, 1, replicas)[0]
    observables = more.get("observables", {"spread": np.linspace(1.0, 0.0, frames)[:, None] * np.ones(replicas)})
    with TrajectoryWriter(
        path,
        ensemble=Ensemble(start, space),
        scenario=text if scenario is None else scenario,
        observables=list(observables),
        token_strings=more.get("strings"),
        provenance=more.get("provenance", {"versions": {"attndyn": "0.1.0"}, "scenario": {"name": "gather"}}),
    ) as writer:
        for frame in range(frames):
            values = {name: series[frame] for name, series in observables.items()}
            writer.append(frame, times[frame], positions[frame], values)
        writer.finish(more.get("status", "finished"), {"wall_seconds": 1.0})
    return path


def data_of(page):
    """What the script of a page reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def array_of(packed):
    """An array of the page, as numpy has it."""
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(raw, ARRAYS[packed["type"]]).reshape(packed["shape"])


def places_of(data):
    """Coordinates (frames, tokens, components) as the page draws them; NaN where there are none."""
    steps = array_of(data["places"]).astype(float)
    steps[steps == -32768] = np.nan
    extents = np.array([np.nan if extent is None else extent for extent in data["extents"]])
    return steps / 32767 * extents[:, None, None]


def words_of(page):
    """The text of a page, without its scripts and styles."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())
