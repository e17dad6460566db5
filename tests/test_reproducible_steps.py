"""The same bits however a run is computed: compiled steps or not, any number of threads, in parts, alone or not."""

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere, integrate
from attndyn.integrators import METHODS
from attndyn.particles.backends import prepare

FIXED = [name for name, method in METHODS.items() if not method.adaptive]
MATRICES = np.random.default_rng(7).standard_normal((3, 4, 3))
LAWS = {
    "softmax": Attention(beta=3.0),
    "unnormalised": Attention(beta=1.0, normalisation="none", value=-1.0),
    "causal, two heads": Attention(
        beta=1.0, heads=2, mask="causal", query=MATRICES[0], key=MATRICES[1], value=MATRICES[2], output=MATRICES[2].T
    ),
}


def way_of(method, end=2.0, steps=20):
    """The arguments of integrate for this method, with frames between the steps."""
    if method == "layers":
        return {"layers": steps, "step": end / steps}
    way = {"t_end": end, "method": method, "save_at": np.array([0.0, 0.13, 0.77, 1.0]) * end}
    return way | ({"rtol": 1e-6, "atol": 1e-8} if METHODS[method].adaptive else {"step": end / steps})


def assert_same(run, other):
    assert run.status == other.status == "finished"
    np.testing.assert_array_equal(run.times, other.times)
    np.testing.assert_array_equal(run.positions, other.positions)
    np.testing.assert_array_equal(run.final, other.final)
    counts = [(s.drift_evaluations, s.accepted, s.rejected) for s in (run.statistics, other.statistics)]
    assert counts[0] == counts[1]


@pytest.fixture
def uncompiled(monkeypatch):
    """Have `integrate` prepare fields that compiled steps cannot use."""
    with_plan = []

    def without_plan(*arguments):
        field = prepare(*arguments)
        with_plan.append(field.step_plan is not None)
        field.step_plan = None
        return field

    def switch():
        monkeypatch.setattr("attndyn.integrators.way.prepare", without_plan)
        return with_plan

    return switch


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "R^d"])
def test_compiled_steps_of_small_systems_give_the_bits_of_those_in_python(uncompiled, space, law):
    tokens = Ensemble(Ensemble.uniform(Sphere(3), 11, replicas=2, seed=3).positions, space)
    # along geodesics there are no compiled steps
    methods = [method for method in METHODS if method not in ("geodesic-euler", "euler-maruyama")]
    compiled = [integrate(LAWS[law], tokens, **way_of(method)) for method in methods]
    with_plan = uncompiled()
    for method, run in zip(methods, compiled, strict=True):
        assert_same(run, integrate(LAWS[law], tokens, **way_of(method)))
    assert with_plan == [True] * len(methods)


def test_compiled_steps_in_float32_give_the_bits_of_those_in_python(uncompiled):
    tokens = Ensemble.draw("uniform", Sphere(3), tokens=11, seed=3, dtype=np.float32)
    way = {"t_end": 2.0, "rtol": 1e-4, "atol": 1e-4, "save_at": [0.3, 2.0]}
    compiled = integrate(Attention(beta=2.0), tokens, **way)
    assert uncompiled() == []
    assert_same(compiled, integrate(Attention(beta=2.0), tokens, **way))


@pytest.mark.parametrize(
    ("tokens", "dimension", "method"),
    [(12, 3, "tsit5"), (12, 3, "rk4"), (800, 3, "tsit5"), (400, 8, "dop853"), (400, 8, "layers"), (800, 2, "rk4")],
)
def test_any_number_of_threads_gives_the_same_bits(tokens, dimension, method):
    ensemble = Ensemble.uniform(Sphere(dimension), tokens, seed=1)
    way = way_of(method, end=0.5, steps=4)
    runs = [integrate(Attention(beta=2.0), ensemble, **way, threads=threads) for threads in (1, 2, 3)]
    for other in runs[1:]:
        assert_same(runs[0], other)


@pytest.mark.parametrize("step", [0.125, 0.1])  # tenths are no numbers of float64, eighths are
@pytest.mark.parametrize("method", [*FIXED, "layers"])
def test_a_run_in_two_halves_is_the_whole_run(method, step):
    tokens = Ensemble.uniform(Sphere(3), 9, replicas=2, seed=4)
    law = Attention(beta=2.0)

    def run(ensemble, steps):
        way = {"layers": steps} if method == "layers" else {"t_end": steps * step, "method": method}
        return integrate(law, ensemble, **way, step=step).final

    half = run(tokens, 8)
    np.testing.assert_array_equal(run(tokens.at(half), 8), run(tokens, 16))


def test_a_network_in_two_parts_with_its_own_law_for_every_layer_is_the_whole_network():
    generator = np.random.default_rng(1)
    laws = [Attention(beta=2.0, value=generator.standard_normal((3, 3))) for _ in range(7)]
    tokens = Ensemble.uniform(Sphere(3), 9, seed=4)
    first = integrate(laws[:3], tokens, layers=3, step=0.5).final
    second = integrate(laws[3:], tokens.at(first), layers=4, step=0.5).final
    np.testing.assert_array_equal(second, integrate(laws, tokens, layers=7, step=0.5).final)


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("method", [*FIXED, "layers"])
def test_every_replica_moves_as_it_would_alone_under_its_own_weights(method, backend):
    generator = np.random.default_rng(6)
    positions = Ensemble.uniform(Sphere(3), 9, replicas=3, seed=4).positions
    weights = generator.dirichlet(np.ones(9), size=3)
    law, way = Attention(beta=2.0), way_of(method) | {"backend": backend}
    together = integrate(law, Ensemble(positions, Sphere(3), weights), **way).final
    for replica in range(3):
        alone = Ensemble(positions[replica], Sphere(3), weights[replica])
        np.testing.assert_array_equal(together[replica], integrate(law, alone, **way).final[0])
    # weights that differ must make a difference
    assert np.abs(together - integrate(law, Ensemble(positions, Sphere(3), weights[0]), **way).final)[1:].max() > 1e-3


def test_an_adaptive_run_keeps_to_the_tolerance_in_every_replica():
    positions = Ensemble.uniform(Sphere(3), 9, replicas=3, seed=4).positions
    weights = np.random.default_rng(6).dirichlet(np.ones(9), size=3)
    way = {"t_end": 2.0, "rtol": 1e-9, "atol": 1e-9}
    together = integrate(Attention(beta=2.0), Ensemble(positions, Sphere(3), weights), **way).final
    for replica in range(3):
        alone = Ensemble(positions[replica], Sphere(3), weights[replica])
        one = integrate(Attention(beta=2.0), alone, **way).final[0]
        np.testing.assert_allclose(together[replica], one, atol=1e-8)
