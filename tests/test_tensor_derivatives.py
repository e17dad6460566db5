"""Derivatives of the drift of tensors: closed forms, finite differences, both modes, and vmap."""

import numpy as np
import pytest
from attndyn.particles import Attention, Euclidean, Sphere

torch = pytest.importorskip("torch", reason="the torch backend is an extra")

masks = pytest.mark.parametrize("mask", ["none", "causal", "without-self"])
normalisations = pytest.mark.parametrize("normalisation", ["softmax", "none"])
spaces = pytest.mark.parametrize("space", [Sphere(3, radius=1.5), Euclidean(3)], ids=["sphere", "euclidean"])


def two_heads(**options):
    generator = np.random.default_rng(0)

    def matrix(rows, columns):
        return generator.standard_normal((rows, columns)) / 2.0

    matrices = {"query": matrix(4, 3), "key": matrix(4, 3), "value": matrix(6, 3), "output": matrix(3, 6)}
    biases = {"query_bias": matrix(1, 4)[0], "value_bias": matrix(1, 6)[0], "output_bias": matrix(1, 3)[0]}
    return Attention(beta=1.3, heads=2, **matrices, **biases, **options)


def tokens(replicas, count, dimension=3):
    return torch.tensor(np.random.default_rng(1).standard_normal((replicas, count, dimension)), requires_grad=True)


def drift_of(law, space, weights=None):
    return lambda x: law.drift(x, space=space, weights=weights, backend="torch")


@masks
@normalisations
@spaces
@pytest.mark.parametrize("weights", [None, [0.0, 0.2, 0.5, 0.0, 0.3]], ids=["equal", "zeros"])
def test_reverse_and_forward_derivatives_are_those_of_finite_differences(weights, space, normalisation, mask):
    law = two_heads(normalisation=normalisation, mask=mask)
    assert torch.autograd.gradcheck(drift_of(law, space, weights), tokens(2, 5), check_forward_ad=True, fast_mode=True)


@masks
def test_the_jacobian_of_softmax_attention_has_its_closed_form(mask):
    """df_i/dx_j = P_ij V (I + (x_j - g_i) (A x_i)^T) + delta_ij V C_i A, A = beta K^T Q, g_i and C_i the mean and the
    covariance of the tokens under P_i."""
    generator, n, d = np.random.default_rng(3), 6, 3
    query, key, value = generator.standard_normal((3, d, d))
    law = Attention(beta=0.7, query=query, key=key, value=value, mask=mask)
    x = generator.standard_normal((n, d))
    a = 0.7 * key.T @ query
    seen = {"none": np.ones((n, n)), "causal": np.tri(n), "without-self": 1.0 - np.eye(n)}[mask]
    p = seen * np.exp(x @ a.T @ x.T)
    p /= p.sum(axis=1, keepdims=True)
    exact = np.zeros((n, d, n, d))
    for i in range(n):
        apart = x - p[i] @ x
        for j in range(n):
            exact[i, :, j] = p[i, j] * value @ (np.eye(d) + np.outer(apart[j], a @ x[i]))
        exact[i, :, i] += value @ (apart.T * p[i] @ apart) @ a
    function = drift_of(law, Euclidean(d))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        np.testing.assert_allclose(jacobian(function)(torch.tensor(x)), exact, rtol=0, atol=1e-12)


@normalisations
@pytest.mark.parametrize("count", [7, 700])
def test_products_with_the_jacobian_agree_in_both_modes(count, normalisation, monkeypatch):
    """<g, J v> forwards is <J^T g, v> backwards, however many blocks there are."""
    from attndyn.particles.backends.tensor import differentiable

    monkeypatch.setattr(differentiable, "BLOCK", 50 * count)
    function = drift_of(two_heads(normalisation=normalisation, mask="causal"), Sphere(3))
    x, v, g = (tokens(2, count).detach() + shift for shift in (0.0, 0.1, -0.4))
    drift, forwards = torch.func.jvp(function, (x,), (v,))
    _, backwards = torch.func.vjp(function, x)
    torch.testing.assert_close((g * forwards).sum(), (backwards(g)[0] * v).sum(), rtol=1e-11, atol=0)
    torch.testing.assert_close(drift, function(x), rtol=0, atol=0)
    step = 1e-5
    difference = (function(x + step * v) - function(x - step * v)) / (2 * step)
    torch.testing.assert_close(forwards, difference, rtol=0, atol=1e-8 * float(forwards.abs().max()))


def test_second_derivatives_in_reverse_mode():
    function = drift_of(two_heads(mask="causal"), Sphere(3))
    assert torch.autograd.gradgradcheck(function, tokens(1, 4))


def test_a_batch_of_ensembles_by_vmap_is_each_of_them():
    function = drift_of(two_heads(), Sphere(3), [0.1, 0.2, 0.3, 0.4])
    x = torch.randn(5, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.func.vmap(function)(x), torch.stack([function(y) for y in x]), rtol=0, atol=1e-14)


def test_a_row_that_sees_nobody_has_derivative_zero():
    x = tokens(1, 1)
    drift = drift_of(Attention(mask="without-self"), Euclidean(3))(x)
    np.testing.assert_array_equal(drift.detach(), 0.0)
    np.testing.assert_array_equal(torch.autograd.grad(drift.sum(), x)[0], 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_gives_a_tensor_of_its_type_and_shape(dtype):
    x = tokens(1, 8)[0].to(dtype)
    drift = drift_of(Attention(), Sphere(3))(x)
    assert isinstance(drift, torch.Tensor) and drift.dtype == dtype and drift.shape == x.shape
    array = Attention().drift(x.detach().numpy(), space=Sphere(3), backend="torch")
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(drift.detach(), array)
    log_partition, entropy = Attention().statistics(x, space=Sphere(3), backend="torch")
    assert log_partition.shape == entropy.shape == (1, 1, 8) and isinstance(entropy, torch.Tensor)


@spaces
def test_a_space_does_to_tensors_what_it_does_to_arrays(space):
    x, v = np.random.default_rng(2).standard_normal((2, 4, 5, 3))
    x = space.retract(x)
    v = space.project(x, v)
    v[0, 0] = 0.0
    for name in ("project", "exponential", "distance"):
        on_arrays, on_tensors = getattr(space, name)(x, v), getattr(space, name)(torch.tensor(x), torch.tensor(v))
        np.testing.assert_allclose(on_tensors, on_arrays, rtol=0, atol=1e-14)
    np.testing.assert_allclose(space.retract(torch.tensor(x)), x, rtol=0, atol=1e-15)
    at = torch.tensor(x)
    assert torch.autograd.gradcheck(lambda w: space.exponential(at, w), torch.tensor(v, requires_grad=True))
