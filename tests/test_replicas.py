"""Many small replicas side by side: against the reference, and bit by bit against one replica at a time."""

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere, integrate
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.backends.compiled.vectors import lanes
from attndyn.particles.ensemble import checked_weights

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
# kernels of float32 take as long to compile as those of float64
dtypes = pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
LANES = lanes(np.float64)
MATRICES = np.random.default_rng(7).standard_normal((4, 4, 3))
WIDE = {"query": MATRICES[0], "key": MATRICES[1], "value": MATRICES[2], "output": MATRICES[3].T}
BIASES = {name + "_bias": np.random.default_rng(9).standard_normal(4) for name in ("query", "key", "value")}

# name: law, dimension
LAWS = {
    "softmax, circle": (Attention(beta=4.0), 2),
    "softmax, repulsive": (Attention(beta=-3.0), 2),
    "no interaction": (Attention(beta=0.0), 2),
    "unnormalised": (Attention(beta=1.0, normalisation="none", shift=0.7, value=-1.0), 2),
    "causal": (Attention(beta=2.0, mask="causal"), 2),
    "without self": (Attention(beta=2.0, mask="without-self", normalisation="none"), 2),
    "value matrix, bias": (Attention(beta=2.0, value=MATRICES[0][:3], output_bias=MATRICES[1][0]), 3),
    "two heads": (Attention(beta=0.7, heads=2, **WIDE, **BIASES), 3),
    "two heads, causal": (Attention(beta=0.7, heads=2, mask="causal", normalisation="none", **WIDE), 3),
    "two heads, without self": (Attention(beta=0.7, heads=2, mask="without-self", **WIDE, **BIASES), 3),
}
COUNTS = (1, LANES - 1, LANES, LANES + 1, 64, 130)


def weights_of(kind, replicas, tokens, generator):
    """Token weights: None, shared ones, or those of every replica with zeros among them."""
    if kind == "equal":
        return None
    weights = generator.random((replicas, tokens) if kind == "per replica" else tokens) + 0.1
    if kind == "per replica":
        weights[:, 1::3] = 0.0
    return weights / weights.sum(axis=-1, keepdims=True)


def field_of(law, space, x, weights=None, **engine):
    return prepare(law, space, checked_weights(weights, x.shape[:2]), x.shape, x.dtype, Engine(**engine))


def computed(which, law, space, x, weights=None, **engine):
    """The drift (`velocity`) or the `attention` of x."""
    out = np.full_like(x, np.nan)
    getattr(field_of(law, space, x, weights, **engine), which)(0.0, x, out)
    return out


@dtypes
@pytest.mark.parametrize("kind", ["equal", "shared", "per replica"])
@pytest.mark.parametrize("name", LAWS)
def test_the_drift_is_that_of_the_reference(name, kind, dtype):
    law, dimension = LAWS[name]
    generator = np.random.default_rng(3)
    # tokens: one, fewer than a vector, no multiple of one, the published number, the most
    shapes = [(130, 1), (2 * LANES + 1, 3), (64, 17), (LANES + 1, 32), (2 * LANES, 256)]
    for (replicas, tokens), space in zip(shapes, [Sphere(dimension, 1.5), Euclidean(dimension)] * 3, strict=False):
        x = generator.standard_normal((replicas, tokens, dimension)) / dimension**0.5
        x = space.retract(x).astype(dtype)
        weights = weights_of(kind, replicas, tokens, generator)
        exact = {
            which: computed(which, law, space, x.astype(np.float64), weights, backend="reference")
            for which in ("velocity", "attention")
        }
        scale = np.linalg.norm(exact["attention"], axis=-1).max()
        for which, expected in exact.items():
            error = np.abs(computed(which, law, space, x, weights) - expected).max()
            assert error <= TOLERANCE[dtype] * scale


@dtypes
@pytest.mark.parametrize("name", LAWS)
def test_a_replica_has_the_bits_it_has_alone_however_many_there_are(name, dtype):
    law, dimension = LAWS[name]
    generator = np.random.default_rng(5)
    space = Sphere(dimension)
    x = space.uniform(generator, (max(COUNTS), 19)).astype(dtype)
    weights = weights_of("per replica", *x.shape[:2], generator) if law.mask.name == "none" else None
    for which in ("velocity", "attention"):
        alone = [
            computed(which, law, space, x[r : r + 1], None if weights is None else weights[r : r + 1])[0]
            for r in range(len(x))
        ]
        for count in COUNTS:
            together = computed(which, law, space, x[:count], None if weights is None else weights[:count])
            np.testing.assert_array_equal(together, alone[:count])


def test_blocks_are_what_computes_many_replicas_and_no_others():
    many, few = np.ones((LANES, 5, 2)), np.ones((LANES - 1, 5, 2))
    assert field_of(Attention(), Sphere(2), many).replicas_plan is not None
    assert field_of(Attention(), Sphere(2), few).replicas_plan is None
    assert field_of(Attention(), Sphere(2), np.ones((LANES, 257, 2))).replicas_plan is None
    assert field_of(Attention(), Sphere(6), np.ones((LANES, 5, 6))).replicas_plan is None


@pytest.mark.parametrize("mask", ["none", "without-self"])
def test_a_bound_that_is_too_loose_costs_no_digit(mask):
    # a short query among long keys in R^d: the Cauchy-Schwarz bound lies hundreds above every exponent of some rows
    generator = np.random.default_rng(8)
    law, space = Attention(beta=-8.0, mask=mask), Euclidean(2)
    x = generator.standard_normal((3 * LANES, 12, 2)) + 8.0
    x[::2] *= 0.1  # replicas whose bounds are sound beside those
    expected = computed("velocity", law, space, x, backend="reference")
    together = computed("velocity", law, space, x)
    np.testing.assert_allclose(together, expected, rtol=1e-10)
    for r in range(len(x)):
        np.testing.assert_array_equal(together[r], computed("velocity", law, space, x[r : r + 1])[0])


def test_a_token_that_is_no_number_spoils_its_own_replica_alone():
    x = Ensemble.uniform(Sphere(2), 9, replicas=2 * LANES + 3, seed=1).positions.copy()
    sound = computed("velocity", Attention(beta=2.0), Sphere(2), x)
    x[4, 3, 0], x[LANES + 2, 8, 1] = np.nan, np.inf
    drift = computed("velocity", Attention(beta=2.0), Sphere(2), x)
    spoilt = np.isin(np.arange(len(x)), (4, LANES + 2))
    np.testing.assert_array_equal(drift[~spoilt], sound[~spoilt])
    assert np.isnan(drift[spoilt]).any(axis=(1, 2)).all()


WAYS = {
    "layers": {"layers": 12, "step": 0.1},
    "layers without residual": {"layers": 5, "step": 1.0, "residual": False},
    "euler": {"t_end": 1.0, "method": "euler", "step": 0.07},
    "rk4": {"t_end": 1.0, "method": "rk4", "step": 0.1, "save_at": [0.33, 1.0]},
    "tsit5": {"t_end": 2.0, "rtol": 1e-6, "atol": 1e-8, "save_at": [0.4, 2.0]},
    "dop853": {"t_end": 2.0, "method": "dop853", "rtol": 1e-9, "save_at": [0.4, 2.0]},
}


def assert_same(run, other):
    assert run.status == other.status == "finished"
    np.testing.assert_array_equal(run.positions, other.positions)
    np.testing.assert_array_equal(run.final, other.final)
    counts = [(s.drift_evaluations, s.accepted, s.rejected) for s in (run.statistics, other.statistics)]
    assert counts[0] == counts[1]


@pytest.fixture
def in_python(monkeypatch):
    """Have `integrate` take its steps in Python from now on."""

    def without_plan(*arguments):
        field = prepare(*arguments)
        field.step_plan = field.replicas_plan = None
        return field

    return lambda: monkeypatch.setattr("attndyn.integrators.way.prepare", without_plan)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("space", [Sphere(2, 1.5), Euclidean(2)], ids=["sphere", "R^d"])
@dtypes
def test_steps_of_blocks_give_the_bits_of_steps_in_python(in_python, way, space, dtype):
    tokens = Ensemble.uniform(Sphere(2), 11, replicas=3 * LANES + 2, seed=3, dtype=dtype).positions
    ensemble = Ensemble(tokens, space)
    options = WAYS[way] | ({"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" and "rtol" in WAYS[way] else {})
    blocks = integrate(Attention(beta=3.0), ensemble, **options)
    in_python()
    assert_same(blocks, integrate(Attention(beta=3.0), ensemble, **options))


@pytest.mark.parametrize("way", WAYS)
def test_any_number_of_threads_gives_the_same_bits(way):
    ensemble = Ensemble.uniform(Sphere(2), 32, replicas=300, seed=2)
    runs = [integrate(Attention(beta=4.0), ensemble, **WAYS[way], threads=threads) for threads in (1, 2, 5)]
    for other in runs[1:]:
        assert_same(runs[0], other)


@pytest.mark.parametrize("way", ["layers", "euler", "rk4"])
def test_with_a_fixed_step_a_replica_moves_as_it_would_alone(way):
    ensemble = Ensemble.uniform(Sphere(2), 10, replicas=2 * LANES + 1, seed=4)
    together = integrate(Attention(beta=4.0), ensemble, **WAYS[way]).final
    for replica in (0, LANES, 2 * LANES):
        alone = Ensemble(ensemble.positions[replica], Sphere(2))
        np.testing.assert_array_equal(together[replica], integrate(Attention(beta=4.0), alone, **WAYS[way]).final[0])


@pytest.mark.parametrize("way", [{"layers": 400}, {"method": "rk4", "t_end": 400.0}], ids=["layers", "rk4"])
def test_a_run_in_which_one_replica_overflows_fails(way):
    x = np.full((2 * LANES, 3, 2), 1e-3)
    x[LANES + 1] = 1.0
    law = Attention(beta=0.0, value=10.0)
    run = integrate(law, Ensemble(x, Euclidean(2)), step=1.0, **way)
    assert run.status.startswith("failed: ")
    assert np.isfinite(run.final).all()
