"""What is true of every drift (oracles 0.5, 12.4): symmetries, causality, and the algebra of the law."""

from dataclasses import replace

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere
from attndyn.particles.weights import orthogonal
from hypothesis import given, settings
from hypothesis import strategies as st

examples = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
# small heads and larger ones are computed by different kernels
shapes = st.tuples(st.integers(1, 2), st.integers(2, 40), st.sampled_from([2, 3, 20]))
betas = st.floats(-4, 4)
normalisations = st.sampled_from(["softmax", "none"])
masks = st.sampled_from(["none", "causal", "without-self"])
spaces = st.sampled_from([Sphere, Euclidean])
backends = st.sampled_from(["numba", "reference"])


def draw(seed, shape, space):
    """A generator, tokens of about unit length and weights (replicas, tokens), one of them zero."""
    generator = np.random.default_rng(seed)
    x = space.retract(generator.standard_normal(shape) / np.sqrt(shape[2]))
    weights = generator.random(shape[:2]) + 0.05
    weights[:, -1] = 0.0
    return generator, x, weights / weights.sum(axis=1, keepdims=True)


def gaussian(generator, *shape):
    return generator.standard_normal(shape) / np.sqrt(shape[-1])


def with_matrices(generator, dimension, **options):
    """A law of one head with random query, key and value."""
    return Attention(
        **{name: gaussian(generator, dimension, dimension) for name in ("query", "key", "value")}, **options
    )


def assert_same(actual, expected):
    """To rounding, relative to the largest number there is."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13 * max(1.0, np.abs(expected).max()))


@examples
@given(seeds, shapes, spaces, betas, normalisations, st.sampled_from(["none", "without-self"]), backends)
def test_permuting_the_tokens_permutes_the_drift(seed, shape, space, beta, normalisation, mask, backend):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, normalisation=normalisation, mask=mask)
    order = generator.permutation(shape[1])
    permuted = law.drift(x[:, order], space=space, weights=weights[:, order], backend=backend)
    assert_same(permuted, law.drift(x, space=space, weights=weights, backend=backend)[:, order])


@examples
@given(seeds, shapes, spaces, betas, normalisations, masks, backends)
def test_rotating_the_tokens_rotates_the_drift_for_identity_matrices(
    seed, shape, space, beta, normalisation, mask, backend
):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    rotation = orthogonal(shape[2], shape[2], generator)
    law = Attention(beta=beta, query=0.7, value=-1.3, normalisation=normalisation, mask=mask)
    rotated = law.drift(x @ rotation.T, space=space, weights=weights, backend=backend)
    assert_same(rotated, law.drift(x, space=space, weights=weights, backend=backend) @ rotation.T)


@examples
@given(seeds, st.sampled_from([2, 20]), spaces, betas, normalisations, masks)
def test_rotations_that_commute_with_the_matrices_rotate_the_drift(seed, dimension, space, beta, normalisation, mask):
    """Q, K, V and the rotation are complex numbers, one for each pair of coordinates."""
    space = space(dimension)
    generator, x, weights = draw(seed, (1, 15, dimension), space)

    def complex_diagonal(numbers):
        return np.kron(np.diag(numbers.real), np.eye(2)) + np.kron(np.diag(numbers.imag), [[0, -1], [1, 0]])

    def numbers():
        return generator.standard_normal(dimension // 2) + 1j * generator.standard_normal(dimension // 2)

    rotation = complex_diagonal(np.exp(1j * generator.uniform(0, 2 * np.pi, dimension // 2)))
    matrices = {name: complex_diagonal(numbers()) for name in ("query", "key", "value")}
    law = Attention(beta=0.3 * beta, normalisation=normalisation, mask=mask, **matrices)
    rotated = law.drift(x @ rotation.T, space=space, weights=weights)
    assert_same(rotated, law.drift(x, space=space, weights=weights) @ rotation.T)


@examples
@given(seeds, shapes, spaces, betas, normalisations, st.floats(0, 1), backends)
def test_a_token_may_be_split_into_two_of_its_weight(seed, shape, space, beta, normalisation, part, backend):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, normalisation=normalisation)
    drift = law.drift(x, space=space, weights=weights, backend=backend)
    split = np.concatenate([weights, (1 - part) * weights[:, :1]], axis=1)
    split[:, 0] *= part
    doubled = law.drift(np.concatenate([x, x[:, :1]], axis=1), space=space, weights=split, backend=backend)
    assert_same(doubled, np.concatenate([drift, drift[:, :1]], axis=1))


@examples
@given(seeds, shapes, spaces, betas, normalisations, backends)
def test_a_token_without_weight_moves_nobody(seed, shape, space, beta, normalisation, backend):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, normalisation=normalisation)
    alone = law.drift(x[:, :-1], space=space, weights=weights[:, :-1], backend=backend)
    x[:, -1] *= 7.0  # also one whose key is longer than all others
    assert_same(law.drift(x, space=space, weights=weights, backend=backend)[:, :-1], alone)


@examples
@given(seeds, shapes, spaces, betas, normalisations, masks)
def test_the_drift_depends_on_query_and_key_through_their_product(seed, shape, space, beta, normalisation, mask):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, normalisation=normalisation, mask=mask)
    change = orthogonal(shape[2], shape[2], generator) * generator.uniform(0.5, 2.0, (shape[2], 1))
    same = replace(law, query=change @ law.query, key=np.linalg.inv(change).T @ law.key)
    product = replace(law, query=1.0, key=law.query.T @ law.key)
    drift = law.drift(x, space=space, weights=weights)
    assert_same(same.drift(x, space=space, weights=weights), drift)
    assert_same(product.drift(x, space=space, weights=weights), drift)


@examples
@given(seeds, shapes, betas, masks, backends)
def test_a_key_bias_shifts_the_scores_of_a_row_which_softmax_does_not_see(seed, shape, beta, mask, backend):
    """s_ij + c_i with c_i = beta <q_i, b>: softmax stays, unnormalised attention is multiplied by exp(c_i)."""
    space = Euclidean(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, mask=mask)
    bias = gaussian(generator, shape[2])
    options = {"space": space, "weights": weights, "backend": backend}
    assert_same(replace(law, key_bias=bias).drift(x, **options), law.drift(x, **options))
    law = replace(law, normalisation="none")
    factor = np.exp(beta * (x @ law.query.T @ bias))[..., None]
    assert_same(replace(law, key_bias=bias).drift(x, **options), factor * law.drift(x, **options))


@examples
@given(seeds, shapes, spaces, betas, st.integers(1, 39), backends)
def test_oracle_12_4_under_a_causal_mask_later_tokens_do_not_matter(seed, shape, space, beta, kept, backend):
    space = space(shape[2])
    generator, x, weights = draw(seed, shape, space)
    kept = min(kept, shape[1] - 1)
    first = weights[:, :kept] / weights[:, :kept].sum(axis=1, keepdims=True)
    law = with_matrices(generator, shape[2], beta=beta, mask="causal")
    drift = law.drift(x, space=space, weights=weights, backend=backend)
    assert_same(drift[:, :kept], law.drift(x[:, :kept], space=space, weights=first, backend=backend))


@examples
@given(seeds, shapes, betas, masks, backends)
def test_unnormalised_attention_is_softmax_times_its_partition_function(seed, shape, beta, mask, backend):
    space = Euclidean(shape[2])
    generator, x, weights = draw(seed, shape, space)
    law = with_matrices(generator, shape[2], beta=beta, mask=mask)
    log_partition, _ = law.statistics(x, space=space, weights=weights, backend=backend)
    softmax = law.drift(x, space=space, weights=weights, backend=backend)
    unnormalised = replace(law, normalisation="none").drift(x, space=space, weights=weights, backend=backend)
    assert_same(unnormalised, np.exp(log_partition[:, 0, :, None]) * softmax)


@examples
@given(seeds, shapes, betas, masks, backends)
def test_the_weights_of_a_softmax_row_are_probabilities(seed, shape, beta, mask, backend):
    """Values that are all b give b, and the attention of V = I lies in the box of the tokens that are seen."""
    space = Euclidean(shape[2])
    generator, x, weights = draw(seed, (shape[0], max(shape[1], 3), shape[2]), space)
    law = replace(with_matrices(generator, shape[2], beta=beta, mask=mask), value=0.0)
    bias = gaussian(generator, shape[2])
    constant = replace(law, value_bias=bias).drift(x, space=space, weights=weights, backend=backend)
    assert_same(constant, np.broadcast_to(bias, x.shape))
    f = replace(law, value=1.0).drift(x, space=space, weights=weights, backend=backend)
    seen = x[:, :-1]  # the last has no weight
    assert (f <= seen.max(axis=1, keepdims=True) + 1e-13).all()
    assert (f >= seen.min(axis=1, keepdims=True) - 1e-13).all()


@examples
@given(seeds, st.sampled_from([3, 20]), st.integers(1, 4), betas, normalisations, masks)
def test_many_heads_are_the_sum_of_single_ones(seed, dimension, heads, beta, normalisation, mask):
    space, width = Euclidean(dimension), 3
    generator, x, weights = draw(seed, (2, 25, dimension), space)
    names = ("query", "key", "value")
    split = {name: gaussian(generator, heads, width, dimension) for name in names}
    output = gaussian(generator, dimension, heads, width)
    options = {"beta": beta, "normalisation": normalisation, "mask": mask}
    together = Attention(
        heads=heads,
        **{name: matrix.reshape(-1, dimension) for name, matrix in split.items()},
        output=output.reshape(dimension, -1),
        **options,
    )
    drifts = [
        Attention(**{name: split[name][head] for name in names}, output=output[:, head], **options).drift(
            x, space=space, weights=weights
        )
        for head in range(heads)
    ]
    assert_same(together.drift(x, space=space, weights=weights), np.sum(drifts, axis=0))


@examples
@given(seeds, shapes, betas, normalisations, masks, st.floats(0.3, 20.0), backends)
def test_the_drift_on_a_sphere_is_the_tangential_part_of_the_attention(
    seed, shape, beta, normalisation, mask, radius, backend
):
    sphere = Sphere(shape[2], radius)
    generator, x, weights = draw(seed, shape, sphere)
    law = with_matrices(generator, shape[2], beta=beta / radius**2, normalisation=normalisation, mask=mask)
    f = law.drift(x, space=Euclidean(shape[2]), weights=weights, backend=backend)
    drift = law.drift(x, space=sphere, weights=weights, backend=backend)
    assert_same(drift, sphere.project(x, f))
    assert np.abs(np.sum(drift * x, axis=-1)).max() <= 1e-13 * radius * max(1.0, np.abs(f).max())


@pytest.mark.parametrize("method", ["euler", "heun", "rk4", "tsit5", "geodesic-euler", "layers"])
def test_tokens_stay_on_the_sphere_over_ten_thousand_steps(method):
    """With a V that keeps them moving; |x| = radius to 1e-14 at every saved depth."""
    generator = np.random.default_rng(3)
    tokens = Ensemble.uniform(Sphere(3, radius=2.5), tokens=4, seed=1)
    law = Attention(beta=0.1, value=gaussian(generator, 3, 3) + np.cross(np.eye(3), [0.0, 3.0, 1.0]))
    options = {"step": 0.01, "save_at": np.arange(0, 101, 10.0)}
    if method == "layers":
        options |= {"layers": 10_000}
    elif method == "tsit5":  # an adaptive method takes steps this short when its tolerance is
        options |= {"t_end": 100.0, "method": method, "rtol": 3e-14, "atol": 1e-16}
    else:
        options |= {"t_end": 100.0, "method": method}
    solution = integrate(law, tokens, **options)
    assert solution.status == "finished" and solution.statistics.accepted >= 10_000
    lengths = np.linalg.norm(solution.positions, axis=-1)
    assert np.abs(lengths / 2.5 - 1.0).max() <= 1e-14
    assert np.linalg.norm(solution.positions[-1] - solution.positions[-2], axis=-1).max() > 0.01
