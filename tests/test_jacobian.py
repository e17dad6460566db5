"""Products with the Jacobian: every backend against torch's derivatives, differences and complex steps."""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere
from attndyn.particles.gates import Gate
from attndyn.particles.masks import Window
from attndyn.particles.normalisations import Entmax, Sigmoid, TopK
from attndyn.particles.regularity import jacobian, jacobian_matrix
from attndyn.particles.scores import Metric, Student

SPACES = pytest.mark.parametrize("space", [Sphere(3, 1.5), Euclidean(3)], ids=["sphere", "euclidean"])
MASKS = pytest.mark.parametrize("mask", ["none", "causal", "without-self"])
WEIGHTS = np.array([0.0, 0.2, 0.1, 0.05, 0.15, 0.0, 0.1, 0.1, 0.1, 0.2])


def matrix(rows, columns, seed):
    return np.random.default_rng(seed).standard_normal((rows, columns)) / 2.0


def matrices(biases=True, head=2, value=3):
    """Of two heads with so many components."""
    rows, width = 2 * head, 2 * value
    found = {"heads": 2, "query": matrix(rows, 3, 1), "key": matrix(rows, 3, 2)}
    found |= {"value": matrix(width, 3, 3), "output": matrix(3, width, 4)}
    if biases:
        found |= {"query_bias": matrix(1, rows, 5)[0], "key_bias": matrix(1, rows, 6)[0]}
        found |= {"value_bias": matrix(1, width, 7)[0]}
        found |= {"output_bias": matrix(1, 3, 8)[0]}
    return found


def ensemble(space, tokens=10, replicas=2, weights=None, seed=0):
    x = np.random.default_rng(seed).standard_normal((replicas, tokens, space.dimension))
    return Ensemble(space.retract(x), space, weights)


def products(law, here, backend, of="drift", **engine):
    """The value, J v and J^T g, for three directions."""
    v = np.random.default_rng(9).standard_normal((2, 3, *here.positions.shape))
    derivative = jacobian(law, here, of=of, backend=backend, **engine)
    return derivative.value, derivative.times(v[0]), derivative.transpose_times(v[1])


def agree(first, second, tolerance=1e-12):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max()))


@SPACES
@MASKS
@pytest.mark.parametrize("of", ["drift", "attention"])
@pytest.mark.parametrize(
    "kind", [{"normalisation": "softmax"}, {"normalisation": "none", "shift": 1.0}, {"score": "gaussian"}], ids=str
)
def test_compiled_products_are_those_of_the_reference_and_of_torch(kind, of, mask, space):
    pytest.importorskip("torch")
    law = Attention(beta=1.3, mask=mask, **matrices(), **kind)
    here = ensemble(space, weights=np.stack([WEIGHTS, np.roll(WEIGHTS, 3)]))
    exact = products(law, here, "reference", of)
    agree(products(law, here, "numba", of), exact)
    agree(products(law, here, "torch", of), exact)


LAWS = {
    "cosine": {"score": "cosine", **matrices()},
    "laplace": {"score": "laplace", **matrices()},
    "student": {"score": Student(3.0), **matrices()},
    "metric": {"score": Metric(matrix(3, 3, 11)), "heads": 1, "value": matrix(3, 3, 12)},
    "linear": {"normalisation": "linear", **matrices()},
    "sigmoid": {"normalisation": Sigmoid(0.3), **matrices()},
    "relu": {"normalisation": "relu", **matrices()},
    "entmax": {"normalisation": Entmax(1.5), **matrices()},
    "mean-field entmax": {"normalisation": Entmax(1.2, mean_field=True), **matrices()},
    "sparsemax": {"normalisation": "sparsemax", **matrices()},
    "top-k": {"normalisation": TopK(4), **matrices()},
    "hardmax": {"normalisation": "hardmax", **matrices()},
    "places": {"mask": Window(3), "prior": "alibi", "rotary": 100.0, **matrices()},
    "scaled dot": {"score": "scaled-dot", **matrices(biases=False)},
}


@SPACES
@pytest.mark.parametrize("name", LAWS)
def test_the_reference_has_products_of_laws_of_any_parts(name, space):
    pytest.importorskip("torch")
    law, here = Attention(beta=1.3, **LAWS[name]), ensemble(space)
    agree(products(law, here, "reference"), products(law, here, "torch"))


@pytest.mark.parametrize("backend", ["numba", "reference", "torch"])
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "euclidean"])
def test_products_are_those_of_differences_along_the_space(space, backend):
    """Of order four: the step is large, and the error is far below that of plain differences."""
    if backend == "torch":
        pytest.importorskip("torch")
    # heads that the tests of the backends compile the drift for as well
    law, here = Attention(beta=2.0, **matrices(head=3, value=2)), ensemble(space)
    v = space.project(here.positions, np.random.default_rng(3).standard_normal(here.positions.shape))
    h = 3e-4

    def moved(t):
        return law.drift(space.exponential(here.positions, t * v), space=space, backend="reference")

    difference = (8.0 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12.0 * h)
    derivative = jacobian(law, here, backend=backend)
    np.testing.assert_allclose(derivative.times(v), difference, rtol=0, atol=1e-9)
    np.testing.assert_allclose(derivative.value, law.drift(here.positions, space=space), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_products_are_those_of_a_complex_step(backend):
    """Im f(x + i h v) / h has no cancellation: for softmax in R^d the drift is an analytic function."""
    query, key, value = matrix(3, 3, 1), matrix(3, 3, 2), matrix(3, 3, 3)
    here = ensemble(Euclidean(3), replicas=1)
    v = np.random.default_rng(3).standard_normal((1, 10, 3))

    def f(x):
        weights = np.exp(0.7 * (x @ query.T) @ (x @ key.T).T)
        return weights / weights.sum(axis=1, keepdims=True) @ (x @ value.T)

    exact = f(here.positions[0] + 1e-30j * v[0]).imag / 1e-30
    derivative = jacobian(Attention(0.7, query=query, key=key, value=value), here, backend=backend)
    np.testing.assert_allclose(derivative.times(v)[0], exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "tokens, dimension, mask", [(1, 2, "without-self"), (3, 2, "none"), (300, 5, "causal"), (301, 40, "none")]
)
def test_any_number_of_tokens_and_dimensions(tokens, dimension, mask):
    law, here = Attention(beta=1.5, mask=mask), ensemble(Sphere(dimension), tokens, replicas=1)
    agree(products(law, here, "numba"), products(law, here, "reference"))


def test_the_bits_do_not_depend_on_the_number_of_threads():
    law, here = Attention(beta=2.0, **matrices(biases=False)), ensemble(Sphere(3), tokens=1500, replicas=1)
    one, three = (products(law, here, "numba", threads=threads) for threads in (1, 3))
    for first, second in zip(one, three, strict=True):
        np.testing.assert_array_equal(first, second)


def test_scores_that_are_large_do_not_overflow():
    law, here = Attention(beta=900.0, mask="causal"), ensemble(Euclidean(2), weights=WEIGHTS)
    agree(products(law, here, "numba"), products(law, here, "reference"), 1e-11)


def test_on_a_sphere_what_is_normal_counts_as_nothing():
    here = ensemble(Sphere(3))
    derivative = jacobian(Attention(2.0), here)
    np.testing.assert_allclose(derivative.times(here.positions), 0.0, rtol=0, atol=1e-15)
    back = derivative.transpose_times(np.random.default_rng(0).standard_normal(here.positions.shape))
    np.testing.assert_allclose((back * here.positions).sum(axis=-1), 0.0, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "law",
    [
        Attention(1.3, gate=Gate(matrix(3, 3, 1))),
        Attention(1.3, normalisation="sinkhorn"),
        Block(Attention(1.3), norm="pre"),
        Block(Attention(1.3), FeedForward(matrix(5, 3, 1), matrix(3, 5, 2))),
    ],
    ids=["gate", "sinkhorn", "pre", "feed-forward"],
)
def test_torch_has_every_law(law):
    pytest.importorskip("torch")
    here = ensemble(Euclidean(3), replicas=1)
    for backend in ("numba", "reference"):
        with pytest.raises(InvalidInput, match='backend = "torch"'):
            jacobian(law, here, backend=backend)
    derivative = jacobian(law, here, backend="torch")
    v, g = np.random.default_rng(3).standard_normal((2, *here.positions.shape))
    h = 1e-3

    def moved(t):
        return law.drift(here.positions + t * v, space=here.space, backend="reference")

    difference = (8.0 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12.0 * h)
    np.testing.assert_allclose(derivative.times(v), difference, rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.vdot(g, derivative.times(v)), np.vdot(derivative.transpose_times(g), v), rtol=1e-10)


def test_the_numba_backend_says_who_has_another_law():
    with pytest.raises(InvalidInput, match='"reference" or "torch"'):
        jacobian(Attention(normalisation="sparsemax"), ensemble(Euclidean(3)))


def test_a_block_that_changes_with_depth():
    pytest.importorskip("torch")
    law, here = Block(Attention(2.0), norm="sqrt"), ensemble(Sphere(3), replicas=1)
    v = np.random.default_rng(3).standard_normal(here.positions.shape)
    first, then = (jacobian(law, here, depth=t, backend="torch").times(v) for t in (0.0, 3.0))
    np.testing.assert_allclose(then, 0.5 * first, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(10, 3), (2, 9, 3), (2, 2, 10, 2)])
def test_tangents_of_another_shape_are_refused(shape):
    with pytest.raises(InvalidInput, match="tangents must have the shape"):
        jacobian(Attention(), ensemble(Euclidean(3))).times(np.zeros(shape))


def test_the_matrix_written_out_is_what_the_products_are():
    here = ensemble(Sphere(3), tokens=4)
    law = Attention(2.0)
    v = np.random.default_rng(1).standard_normal(here.positions.shape)
    matrix_of = jacobian_matrix(law, here)
    np.testing.assert_allclose(
        np.einsum("ricjd,rjd->ric", matrix_of, v), jacobian(law, here).times(v), rtol=0, atol=1e-14
    )
