"""One process of a ring, for test_ring.py: drifts of many laws against the reference, told by the first process."""

import json
import sys

import numpy as np
from attndyn.particles import Attention, Euclidean, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.ensemble import checked_weights
from attndyn.scenarios.processes import member

CASES = {
    "circle": (1, 31, 2, "sphere", {}),
    "sphere, replicas": (3, 40, 3, "sphere", {}),
    "weights": (1, 33, 3, "sphere", {"weights": "random"}),
    "weights that differ on one process alone": (1, 32, 3, "sphere", {"weights": "last"}),
    "weights of a replica each": (2, 20, 2, "euclidean", {"weights": "per replica"}),
    "heads, biases, output": (2, 25, 6, "euclidean", {"matrices": True}),
    "causal": (1, 29, 3, "sphere", {"mask": "causal"}),
    "causal, heads": (2, 26, 20, "euclidean", {"mask": "causal", "matrices": True}),
    "without self": (1, 28, 3, "sphere", {"mask": "without-self"}),
    "unnormalised": (1, 27, 3, "sphere", {"normalisation": "none", "shift": 1.5}),
    "cold": (1, 30, 3, "sphere", {"beta": 400.0}),
    "fewer tokens than three each": (1, 3, 2, "sphere", {}),
    "wide": (1, 50, 64, "sphere", {}),
}


def case(replicas, tokens, dimension, space, options):
    """A law, its space, weights and positions."""
    generator = np.random.default_rng(5)
    options = dict(options)
    space = Sphere(dimension) if space == "sphere" else Euclidean(dimension)
    kind = options.pop("weights", None)
    weights = None
    if kind is not None:
        weights = generator.random((replicas, tokens) if kind == "per replica" else tokens)
        if kind == "last":
            weights[:-1] = 0.5
        weights /= weights.sum(axis=-1, keepdims=True)
    if options.pop("matrices", False):
        for name in ("query", "key", "value", "output"):
            options[name] = generator.standard_normal((dimension, dimension)) / np.sqrt(dimension)
            options[f"{name}_bias"] = generator.standard_normal(dimension)
        options["heads"] = 2
    x = space.retract(generator.standard_normal((replicas, tokens, dimension)))
    return Attention(**{"beta": 2.0, **options}), space, checked_weights(weights, x.shape[:2]), x


def error_of(law, space, weights, x, engine):
    """max |ring - reference| / max |reference|, of the velocity and of the attention."""
    errors = []
    field = prepare(law, space, weights, x.shape, x.dtype, engine)
    exact = prepare(law, space, weights, x.shape, x.dtype, Engine("reference"))
    for name in ("velocity", "attention"):
        state = field.load(x)
        out, expected = state.new_empty(state.shape), np.empty_like(x)
        getattr(field, name)(0.0, state, out)
        getattr(exact, name)(0.0, x, expected)
        errors.append(np.abs(field.host(out) - expected).max() / max(np.abs(expected).max(), 1.0))
    return float(max(errors))


def main(rank, size, meeting):
    """Take part; the first process prints what was found."""
    with member(Engine("torch", processes=size), rank, meeting) as own:
        errors = {name: error_of(*case(*which), own.engine) for name, which in CASES.items()}
    if rank == 0:
        print(json.dumps(errors))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
