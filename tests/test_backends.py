"""The numba and torch backends against the reference backend: every law, shape and number type.

How close. The drift is compared token by token, relative to the largest |f_i| before the projection (that of one
token alone is zero after it): within 1e-12 in float64 and 1e-5 in float32, both against the reference in float64.

Where scores are large, no arithmetic can do that. A score computed in numbers of unit roundoff u is off by up to
delta = C u |beta| max_i |q_i| max_j |k_j|, whoever computes it, and moves the attention by up to, to first order,

    softmax       2 delta sum_j P_ij |v_j - f_i|        (a common change of a row's scores changes nothing)
    unnormalised    delta sum_j a_j exp(s_ij - shift) |v_j|

per head. So that much is allowed beside the flat tolerance, with C = 4, in the tests at beta = 1e4 alone. On a
sphere with Q = K = V = I and tokens well apart the softmax sum is zero and the flat tolerance stays as it is.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from attndyn.particles import Attention, Euclidean, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.ensemble import checked_weights
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
BACKENDS = ("numba", "torch")
NORMALISATIONS, MASKS = ("softmax", "none"), ("none", "causal", "without-self")

# replicas, tokens, dimension, beta, weights, positions. Heads of up to 4 components and larger ones are computed by
# different kernels; 256 rows and 128 keys make a tile; vectors hold 4 to 16 numbers
SHAPES = [
    (1, 1, 1, 1.5, "equal", "apart"),
    (2, 9, 1, -2.0, "zeros", "in pairs"),
    (3, 1, 2, 1.5, "equal", "apart"),
    (1, 2, 2, 1.5, "random", "apart"),
    (5, 17, 2, -2.0, "per replica", "in pairs"),
    (1, 265, 2, 6.0, "zeros", "apart"),
    (1, 33, 3, 1.5, "one token", "apart"),
    (4, 50, 3, 0.0, "random", "apart"),
    (1, 270, 3, 1.5, "random", "in pairs"),
    (2, 40, 4, 1.5, "zeros", "all the same"),
    (2, 31, 4, -2.0, "equal", "apart"),
    (1, 1, 5, 1.5, "equal", "apart"),
    (3, 70, 5, 1.5, "per replica", "in pairs"),
    (2, 40, 6, -2.0, "one token", "apart"),
    (1, 260, 16, 1.5, "zeros", "apart"),
    (2, 65, 20, 0.0, "random", "all the same"),
    (1, 280, 20, -2.0, "random", "apart"),
    (2, 90, 64, 4.0, "zeros", "in pairs"),
]


def tokens_at(generator, shape, space, positions, dtype):
    """(replicas, tokens, dimension) tokens of about unit length."""
    x = generator.standard_normal(shape) / np.sqrt(shape[2])
    half = shape[1] // 2
    if positions == "in pairs":
        x[:, half : 2 * half] = x[:, :half]
    if positions == "all the same":
        x[:] = x[:, :1]
    return space.retract(x).astype(dtype)


def token_weights(generator, replicas, tokens, kind):
    """Weights of one of the kinds of SHAPES."""
    if kind == "equal":
        return None
    weights = generator.random((replicas, tokens) if kind == "per replica" else tokens) + 0.1
    if kind == "one token":
        weights[...] = np.arange(tokens) == tokens // 2
    if kind in ("zeros", "per replica"):
        weights[..., : tokens // 3] = 0.0
        weights[..., tokens // 3 :: 5] = 0.0
        weights[..., -1] = 0.3
    return weights / weights.sum(axis=-1, keepdims=True)


def law_of(generator, dimension, *, matrices, heads=1, widths=None, **options):
    """A law with the identity, or with random matrices, an output matrix and all biases."""
    if matrices == "identity":
        return Attention(heads=heads, **options)
    head, value = widths or _widths(dimension)

    def gaussian(rows, columns):
        return generator.standard_normal((rows, columns)) / np.sqrt(columns)

    def bias(rows):
        return 0.3 * generator.standard_normal(rows)

    return Attention(
        heads=heads,
        query=gaussian(heads * head, dimension),
        key=gaussian(heads * head, dimension),
        value=gaussian(heads * value, dimension),
        output=gaussian(dimension, heads * value),
        query_bias=bias(heads * head),
        key_bias=bias(heads * head),
        value_bias=bias(heads * value),
        output_bias=bias(dimension),
        **options,
    )


def _widths(dimension):
    """Rows of query and value per head: small heads of wide tokens, and values wider than a panel, among them."""
    return {16: (3, 2), 20: (6, 5), 64: (8, 40)}.get(dimension, (dimension, dimension))


def differences(law, space, weights, x):
    """|backend_i - reference_i| (replicas, tokens) by backend and max_i |f_i|, the reference in float64."""
    drifts = {backend: law.drift(x, space=space, weights=weights, backend=backend) for backend in BACKENDS}
    assert all(drift.dtype == x.dtype and drift.shape == x.shape for drift in drifts.values())
    points = space.retract(x.astype(np.float64))
    f = np.empty_like(points)
    weights = checked_weights(weights, x.shape[:2])
    prepare(law, space, weights, x.shape, points.dtype, Engine("reference")).attention(0.0, points, f)
    exact = space.project(points, f)
    errors = {backend: np.linalg.norm(drift - exact, axis=-1) for backend, drift in drifts.items()}
    return errors, np.linalg.norm(f, axis=-1).max()


def laws_and_shapes():
    """Every normalisation x mask x heads x matrices x space x number type x shape that exist together."""
    for shape, space, matrices, heads, normalisation, mask, dtype in itertools.product(
        SHAPES, ("sphere", "euclidean"), ("identity", "random"), (1, 2), NORMALISATIONS, MASKS, TOLERANCE
    ):
        if (space == "sphere" and shape[2] == 1) or (matrices == "identity" and shape[2] % heads):
            continue
        words = (normalisation, f"mask {mask}", f"{heads} heads", matrices, space, dtype)
        name = "-".join((*words, "{}x{}x{}".format(*shape[:3])))
        yield pytest.param(shape, space, matrices, heads, normalisation, mask, dtype, id=name)


def marks_of(dimension, dtype):
    """Small heads have kernels for every length and number type: all lengths are there in float64, one in float32."""
    return pytest.mark.slow if dtype == "float32" and dimension in (1, 2, 4, 16) else ()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param(shape, dtype, id="{}x{}x{}-{}".format(*shape[:3], dtype), marks=marks_of(shape[2], dtype))
        for shape in SHAPES
        for dtype in TOLERANCE
    ],
)
def test_the_backends_agree_with_the_reference(shape, dtype):
    """Every law of this shape and number type; those that do not agree are listed."""
    replicas, tokens, dimension, beta, kind, positions = shape
    cases = [case for case in laws_and_shapes() if case.values[0] == shape and case.values[-1] == dtype]
    wrong = []
    for case in cases:
        _, space, matrices, heads, normalisation, mask, _ = case.values
        generator = np.random.default_rng(7)
        space = Sphere(dimension, radius=1.5) if space == "sphere" else Euclidean(dimension)
        law = law_of(
            generator, dimension, matrices=matrices, heads=heads, beta=beta, normalisation=normalisation, mask=mask
        )
        x = tokens_at(generator, (replicas, tokens, dimension), space, positions, dtype)
        errors, scale = differences(law, space, token_weights(generator, replicas, tokens, kind), x)
        wrong += [
            f"{backend}-{case.id}" for backend in BACKENDS if not errors[backend].max() <= TOLERANCE[dtype] * scale
        ]
    assert len(cases) >= 18
    assert wrong == []


def scores_and_values(law, x):
    """One replica's scores at beta = 1 (heads, tokens, tokens), values (heads, tokens, value dimension), and the
    largest |q_i| |k_j| of each head: the law as it is written, a second time."""
    p = law.projections(x.shape[1])

    def mapped(matrix, bias, scale=1.0):
        y = scale * x[None] if matrix is None else np.einsum("hcd,nd->hnc", matrix, x)
        return y if bias is None else y + bias[:, None, :]

    query, key = mapped(p.query, p.query_bias, p.score_scale), mapped(p.key, p.key_bias)
    longest = np.linalg.norm(query, axis=-1).max(axis=1) * np.linalg.norm(key, axis=-1).max(axis=1)
    return np.einsum("hic,hjc->hij", query, key), mapped(p.value, p.value_bias, p.value_scale), longest


def moved_by_rounding(law, space, weights, x, unit_roundoff):
    """How much rounding of the scores may move the attention of the tokens of one replica, (tokens,)."""
    x = space.retract(x.astype(np.float64))
    scores, values, longest = scores_and_values(law, x)
    tokens = x.shape[0]
    seen = {
        "none": np.ones((tokens, tokens), bool),
        "causal": np.tri(tokens, dtype=bool),
        "without-self": ~np.eye(tokens, dtype=bool),
    }[law.mask.name] & (weights > 0)
    with np.errstate(divide="ignore"):
        exponents = np.where(seen, law.beta * scores + np.log(weights), -np.inf)
    highest = np.maximum(exponents.max(axis=-1, keepdims=True), -1e300)
    terms = np.exp(exponents - highest)
    if law.normalisation.name == "softmax":
        rows = terms / np.maximum(terms.sum(axis=-1, keepdims=True), 1e-300)
        apart = np.linalg.norm(values[:, None] - (rows @ values)[:, :, None], axis=-1)
        spread = 2.0 * np.sum(rows * apart, axis=-1)
    else:
        spread = np.exp(highest[..., 0] - law.shift) * (terms @ np.linalg.norm(values, axis=-1)[..., None])[..., 0]
    delta = unit_roundoff * abs(law.beta) * longest
    output = 1.0 if law.output is None else np.linalg.norm(law.output, 2)
    return output * np.linalg.norm(delta[:, None] * spread, axis=0)


@pytest.mark.parametrize(
    ("tokens_and_dimension", "dtype"),
    [
        pytest.param(size, dtype, id=f"{size}-{dtype}", marks=marks_of(size[1], dtype))
        for size in [(1, 3), (40, 2), (300, 3), (300, 20), (60, 64)]
        for dtype in TOLERANCE
    ],
)
@pytest.mark.parametrize("space", ["sphere", "euclidean"])
def test_the_backends_agree_at_beta_1e4_up_to_the_rounding_of_the_scores(tokens_and_dimension, space, dtype):
    tokens, dimension = tokens_and_dimension
    space = Sphere(dimension) if space == "sphere" else Euclidean(dimension)
    wrong = []
    for case in itertools.product(("identity", "random"), NORMALISATIONS, MASKS):
        matrices, normalisation, mask = case
        generator = np.random.default_rng(11)
        law = law_of(generator, dimension, matrices=matrices, beta=1e4, normalisation=normalisation, mask=mask)
        x = tokens_at(generator, (1, tokens, dimension), space, "apart", dtype)
        weights = token_weights(generator, 1, tokens, "zeros" if tokens > 1 else "equal")
        if normalisation == "none":
            softmax = replace(law, normalisation="softmax")
            points = space.retract(x.astype(np.float64))
            highest = softmax.statistics(points, space=space, weights=weights, backend="reference")[0].max()
            if np.isfinite(highest):  # so that the fastest token moves at about unit speed
                law = replace(law, shift=float(highest))
        errors, scale = differences(law, space, weights, x)
        unit_roundoff = np.finfo(dtype).eps / 2
        rounding = moved_by_rounding(law, space, checked_weights(weights, (1, tokens)), x[0], unit_roundoff)
        allowed = TOLERANCE[dtype] * scale + 4 * rounding
        wrong += [(backend, *case) for backend in BACKENDS if not (errors[backend][0] <= allowed).all()]
    assert wrong == []


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 70), st.sampled_from([3, 7, 20, 24])),
    space=st.sampled_from(["sphere", "euclidean"]),
    matrices=st.sampled_from(["identity", "random"]),
    heads=st.integers(1, 4),
    beta=st.floats(-6, 6),
    normalisation=st.sampled_from(NORMALISATIONS),
    mask=st.sampled_from(MASKS),
    weights=st.sampled_from(["equal", "random", "zeros", "one token", "per replica"]),
    positions=st.sampled_from(["apart", "in pairs", "all the same"]),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_the_backends_agree_with_the_reference_on_any_law(
    seed, shape, space, matrices, heads, beta, normalisation, mask, weights, positions, dtype
):
    generator = np.random.default_rng(seed)
    replicas, tokens, dimension = shape
    space = Sphere(dimension) if space == "sphere" else Euclidean(dimension)
    law = law_of(
        generator,
        dimension,
        matrices=matrices,
        heads=1 if matrices == "identity" else heads,
        beta=beta,
        normalisation=normalisation,
        mask=mask,
    )
    x = tokens_at(generator, shape, space, positions, dtype)
    errors, scale = differences(law, space, token_weights(generator, replicas, tokens, weights), x)
    # without an output bias the sum of a few tokens may nearly cancel: then |V x| is the scale
    assert all(errors[backend].max() <= TOLERANCE[dtype] * max(scale, 1.0) for backend in BACKENDS), errors


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 70, 3), (1, 300, 3), (2, 1, 20), (2, 70, 20), (1, 300, 20)], ids=str)
@pytest.mark.parametrize("matrices", ["identity", "random"])
def test_statistics_agree_with_the_reference(shape, matrices, dtype):
    """log Z and entropy within the tolerance relative to the largest score: both are differences of its size."""
    space = Sphere(shape[2])
    heads = 1 if matrices == "identity" else 2
    widths = (3, 3) if shape[2] == 3 else None
    for beta, mask in itertools.product((0.0, 1.5, -2.0, 1e4), MASKS):
        generator = np.random.default_rng(3)
        law = law_of(generator, shape[2], matrices=matrices, heads=heads, widths=widths, beta=beta, mask=mask)
        x = tokens_at(generator, shape, space, "in pairs", dtype)
        weights = token_weights(generator, *shape[:2], "per replica" if shape[1] > 1 else "equal")
        exact = law.statistics(x.astype(np.float64), space=space, weights=weights, backend="reference")
        sees_nobody = exact[0] == -np.inf
        tolerance = TOLERANCE[dtype] * (1.0 + np.abs(exact[0][~sees_nobody]).max(initial=0.0))
        for backend in BACKENDS:
            case = f"beta {beta}, mask {mask}, {backend}"
            log_partition, entropy = law.statistics(x, space=space, weights=weights, backend=backend)
            assert log_partition.shape == entropy.shape == (shape[0], heads, shape[1]), case
            np.testing.assert_array_equal(log_partition == -np.inf, sees_nobody, case)
            np.testing.assert_array_equal(entropy[sees_nobody], 0.0, case)
            np.testing.assert_allclose(log_partition, exact[0], rtol=0, atol=tolerance, err_msg=case)
            np.testing.assert_allclose(entropy, exact[1], rtol=0, atol=tolerance, err_msg=case)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_statistics_of_known_rows(backend):
    """beta = 0: log Z = 0 and the entropy of the weights; equal tokens: log Z = beta |x|^2 and log n."""
    weights = np.array([0.5, 0.25, 0.25, 0.0])
    x = np.random.default_rng(0).standard_normal((1, 4, 3))
    log_partition, entropy = Attention(beta=0.0).statistics(x, space=Euclidean(3), weights=weights, backend=backend)
    np.testing.assert_allclose(log_partition, 0.0, atol=1e-15)
    np.testing.assert_allclose(entropy, 1.5 * np.log(2.0), rtol=1e-14)
    same = np.ones((1, 4, 3))
    log_partition, entropy = Attention(beta=2.0).statistics(same, space=Euclidean(3), backend=backend)
    np.testing.assert_allclose(log_partition, 6.0, rtol=1e-14)
    np.testing.assert_allclose(entropy, np.log(4.0), rtol=1e-14)


def test_queries_may_have_more_components_than_tokens_where_value_is_a_number():
    generator = np.random.default_rng(8)
    x = Sphere(2).uniform(generator, (1, 7))
    law = Attention(beta=2.0, query=generator.standard_normal((3, 2)), key=generator.standard_normal((3, 2)), value=0.5)
    expected = law.drift(x, space=Sphere(2), backend="reference")
    np.testing.assert_allclose(law.drift(x, space=Sphere(2)), expected, atol=1e-14)
