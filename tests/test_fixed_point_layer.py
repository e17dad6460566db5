"""One layer as a map of tokens, with and without an injected input, and the bound of its Lipschitz constant."""

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.integrators import LayerMap, fixed_point, integrate, layer_bound, several_starts
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere
from attndyn.particles.backends import Engine


def attended(x, beta):
    """Softmax attention with Q = K = V = I and equal weights, for tokens (tokens, dimension)."""
    p = np.exp(beta * (x @ x.T))
    return p / p.sum(axis=1, keepdims=True) @ x


LAWS = {
    "attention": lambda d: Attention(beta=1.5, value=0.7),
    "heads": lambda d: Attention(heads=2, value=np.diag(np.arange(1.0, d + 1)), mask="causal"),
    "feed-forward": lambda d: Block(Attention(), FeedForward(np.eye(d) + 0.3, 0.5 * np.eye(d), activation="gelu")),
}


@pytest.mark.parametrize("backend", ["numba", "reference", "torch"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("space", [Euclidean(6), Sphere(6)], ids=lambda space: space.name)
@pytest.mark.parametrize("law", LAWS)
def test_a_layer_is_that_of_integrate(oracle_tokens, law, space, residual, backend):
    law, start = LAWS[law](6), Ensemble(oracle_tokens(7, 6), space)
    layer = LayerMap(law, start, step=0.3, residual=residual, engine=Engine(backend=backend))
    expected = integrate(law, start, layers=1, step=0.3, residual=residual, backend=backend).positions[-1]
    np.testing.assert_allclose(layer(start.positions), expected, rtol=0, atol=1e-15)
    assert layer.evaluations == 1


@pytest.mark.parametrize("backend", ["numba", "reference", "torch"])
@pytest.mark.parametrize("space", [Euclidean(3), Sphere(3)], ids=lambda space: space.name)
def test_input_is_added_before_the_retraction(oracle_tokens, space, backend):
    x, u = oracle_tokens(5, 3), oracle_tokens(6, 3, unit=False)[1:]
    engine = Engine(backend=backend)
    layer = LayerMap(Attention(beta=2.0), Ensemble(x, space), step=0.3, residual=True, injection=u, engine=engine)
    f = attended(x, 2.0)
    np.testing.assert_allclose(layer(x[None])[0], space.retract(x + 0.3 * f + u), rtol=0, atol=1e-14)
    feed = FeedForward(np.eye(3), 0.5 * np.eye(3), activation="relu")
    block = Block(Attention(beta=2.0), feed)
    layer = LayerMap(block, Ensemble(x, space), step=0.3, injection=u, engine=engine)
    y = space.retract(0.3 * f)
    np.testing.assert_allclose(layer(x[None])[0], space.retract(0.3 * 0.5 * np.maximum(y, 0.0) + u), rtol=0, atol=1e-14)


@pytest.mark.parametrize("norm", ["pre", "peri"])
def test_blocks_with_normalisation_have_fixed_points(oracle_tokens, norm):
    feed = FeedForward(np.eye(3), -0.3 * np.eye(3), activation="silu")
    block, u = Block(Attention(beta=1.0), feed, norm=norm), 3.0 * oracle_tokens(6, 3)
    found = fixed_point(block, Ensemble(u, Euclidean(3)), injection=u, method="anderson")
    assert found.converged
    once = LayerMap(block, found.ensemble, injection=u)(found.positions)
    np.testing.assert_allclose(once, found.positions, rtol=0, atol=1e-11)
    assert "normalisation" in found.unbounded


# The bound


def bounded_layers():
    """Laws, spaces, inputs, weights and further options with a bound, drawn at random."""
    generator = np.random.default_rng(5)
    for number in range(12):
        n, d = int(generator.integers(2, 8)), 3
        query, value = generator.standard_normal((2, d, d))
        value *= generator.uniform(0.1, 0.8) / np.linalg.norm(value, 2)
        kinds = {"mask": "causal"} if number % 3 == 1 else {"score": "gaussian"} if number % 3 == 2 else {}
        law = Attention(beta=generator.uniform(0.05, 0.6), value=value, **kinds)
        if not kinds:
            law = Attention(beta=law.beta, query=query, value=value)
        weights = generator.dirichlet(np.ones(n)) if number % 2 else None
        u = generator.standard_normal((n, d))
        if number % 4 < 2:
            yield law, Ensemble(u, Euclidean(d), weights), u, False
        else:
            u *= 6.0 / np.linalg.norm(u, axis=1, keepdims=True)
            yield law, Ensemble(u / 6.0, Sphere(d), weights), u, bool(number % 4 == 3)


@pytest.mark.parametrize("case", list(bounded_layers()), ids=range(12))
def test_no_pair_of_ensembles_comes_nearer_less_than_the_bound_says(case):
    law, start, u, residual = case
    found = layer_bound(law, start, residual=residual, injection=u)
    layer = LayerMap(law, start, residual=residual, injection=u, engine=Engine(backend="reference"))
    generator, space = np.random.default_rng(0), start.space
    weights, radius = np.ravel(start.weights), min(found.radius, 5.0)
    for scale in (1.0, 0.1, 1e-3):
        for _ in range(20):
            x = generator.standard_normal(layer.shape)
            x *= radius / np.linalg.norm(x, axis=-1, keepdims=True)
            if isinstance(space, Euclidean):
                x *= generator.random((*layer.shape[:2], 1))
            y = (1.0 - scale) * x + scale * generator.permutation(x[0])[None]
            y = space.retract(y)
            before, after = (found.size(change, weights) for change in (x - y, layer(x) - layer(y)))
            assert after <= found.value * before * (1.0 + 1e-9)
            assert np.linalg.norm(layer(x), axis=-1).max() <= found.radius * (1.0 + 1e-12)


def test_on_a_sphere_a_strong_input_makes_a_contraction_even_with_residual(oracle_tokens):
    tokens = oracle_tokens(6, 3)
    options = {"injection": 12.0 * tokens, "residual": True}
    found = several_starts(Attention(), Ensemble(tokens, Sphere(3)), starts=4, **options)
    assert found.distinct == 1
    for point in found.points:
        assert point.kind == "unique by the bound"
        assert np.nanmax(point.factors) <= point.bound.value == pytest.approx(0.69, abs=0.01)


@pytest.mark.parametrize(
    ("law", "options", "reason"),
    [
        (Attention(value=1.5), {"injection": np.ones((4, 2))}, r"h \|V\| must be below 1; got 1.5"),
        (Attention(value=1.5), {}, r"h \|V\| = 1.5 must be at most 1"),
        (Attention(value=0.5), {"residual": True}, "never below 1"),
        (Attention(value=0.5, normalisation="linear"), {"injection": np.ones((4, 2))}, "linear"),
        (Attention(beta=900.0, value=0.5, normalisation="none"), {}, "rows must sum to 1"),
        (Attention(beta=5.0, normalisation="none"), {"injection": np.ones((4, 2))}, "grows beyond every one"),
        (Block(Attention(), norm="pre"), {}, "normalisation"),
    ],
)
def test_where_there_is_no_bound_the_reason_is_said(law, options, reason):
    start = Ensemble(np.arange(8.0).reshape(4, 2) / 10, Euclidean(2))
    found = fixed_point(law, start, most=20, **options)
    assert found.bound is None
    assert found.error == np.inf
    with pytest.raises(InvalidInput, match=reason):
        raise InvalidInput(found.unbounded)
