"""Laws put together from every score, normalisation and mask: the numba and torch backends against the reference."""

from functools import partial

import numpy as np
import pytest
from attndyn.errors import AttndynError, InvalidInput
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere, masks, normalisations, priors, scores
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.gates import PLACES, Gate

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
TOKENS, DIMENSION = 37, 6
GENERATOR = np.random.default_rng(5)
SOFT = GENERATOR.random((TOKENS, TOKENS)) * (GENERATOR.random((TOKENS, TOKENS)) < 0.7)
SOFT = 0.45 * (SOFT + SOFT.T) + 0.1 * np.eye(TOKENS)

SCORES = {
    "dot": "dot",
    "scaled-dot": "scaled-dot",
    "cosine": "cosine",
    "gaussian": "gaussian",
    "laplace": "laplace",
    "student": scores.Student(3.0),
    "metric": scores.Metric(GENERATOR.standard_normal((3, DIMENSION)) / 2),
}
NORMALISATIONS = {
    "softmax": "softmax",
    "none": normalisations.Unnormalised(2.0),
    "linear": "linear",
    "sigmoid": normalisations.Sigmoid(-1.0),
    "relu": "relu",
    "sinkhorn": normalisations.Sinkhorn(1e-13),
    "sparsemax": "sparsemax",
    "entmax": normalisations.Entmax(1.5),
    "entmax 1.2": normalisations.Entmax(1.2),
    "entmax of densities": normalisations.Entmax(1.5, mean_field=True),
    "top-k": normalisations.TopK(5),
    "hardmax": "hardmax",
}
MASKS = {
    "none": "none",
    "causal": "causal",
    "without-self": "without-self",
    "window": masks.Window(6),
    "causal window": masks.Window(9, causal=True),
    "block": masks.Block(10),
    "random": masks.Random(0.5, seed=3),
    "given": masks.Given(SOFT),
}
BACKENDS = ("numba", "torch")
backends = pytest.mark.parametrize("backend", BACKENDS)


def tokens_of(dtype="float64", replicas=2):
    return np.random.default_rng(1).standard_normal((replicas, TOKENS, DIMENSION)).astype(dtype) * 0.6


def weights_of():
    weights = np.random.default_rng(2).random(TOKENS) + 0.1
    weights[4] = 0.0
    return weights / weights.sum()


def law_of(score="dot", normalisation="softmax", mask="none", **more):
    """A law of these names with random matrices."""
    generator = np.random.default_rng(3)
    matrices = {"value": generator.standard_normal((DIMENSION, DIMENSION)) / 2}
    if score != "metric":
        matrices |= {name: generator.standard_normal((DIMENSION, DIMENSION)) / 2 for name in ("query", "key")}
    options = {"heads": 2, "beta": 1.5} | matrices | more
    if score == "metric":
        options |= {"heads": 1, "value": 0.7}
    return Attention(score=SCORES[score], normalisation=NORMALISATIONS[normalisation], mask=MASKS[mask], **options)


def disagree(law, dtype="float64", space=None):
    """The backends whose drift is not that of the reference in float64."""
    space = space or Euclidean(DIMENSION)
    x = space.retract(tokens_of(dtype)).astype(dtype)
    exact = law.drift(x.astype(np.float64), space=space, weights=weights_of(), backend="reference")
    allowed = TOLERANCE[dtype] * max(np.abs(exact).max(), 1e-2)
    drifts = {backend: law.drift(x, space=space, weights=weights_of(), backend=backend) for backend in BACKENDS}
    assert all(drift.dtype == x.dtype for drift in drifts.values())
    return [backend for backend, drift in drifts.items() if not np.abs(drift - exact).max() <= allowed]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("score", SCORES)
def test_every_law_agrees_with_the_reference(score, normalisation):
    """Under every mask; those under which a backend does not agree are listed."""
    more, allowed, wrong = {"beta": 0.5} if normalisation == "sinkhorn" else {}, MASKS, {}
    if normalisation == "sinkhorn":
        allowed = [mask for mask in MASKS if mask not in ("causal", "causal window", "random")]
        for mask in MASKS.keys() - {*allowed}:
            with pytest.raises(InvalidInput, match="sinkhorn needs a symmetric mask"):
                law_of(score, normalisation, mask)
    for mask in allowed:
        if backends := disagree(law_of(score, normalisation, mask, **more)):
            wrong[mask] = backends
    assert wrong == {}


@pytest.mark.parametrize("normalisation", ["softmax", "none", "sigmoid"])
@pytest.mark.parametrize("score", [name for name in SCORES if name not in ("scaled-dot", "student")])
def test_a_negative_beta_agrees_with_the_reference(score, normalisation):
    assert disagree(law_of(score, normalisation, beta=-0.7)) == []


@pytest.mark.slow  # kernels of float32 take as long to compile as those of float64
@pytest.mark.parametrize("normalisation", [name for name in NORMALISATIONS if name not in ("top-k", "hardmax")])
@pytest.mark.parametrize("score", SCORES)
def test_float32_agrees_with_the_reference_in_float64(score, normalisation):
    assert disagree(law_of(score, normalisation, beta=0.5), dtype="float32", space=Sphere(DIMENSION)) == []


@pytest.mark.parametrize("rotary", [None, 100.0])
@pytest.mark.parametrize("prior", ["alibi", "matrix", "matrices"])
@pytest.mark.parametrize("normalisation", ["softmax", "sigmoid", "entmax", "sinkhorn"])
def test_priors_and_rotary_positions_agree_with_the_reference(normalisation, prior, rotary):
    pi = {"alibi": "alibi", "matrix": priors.Matrix(SOFT + 0.1), "matrices": priors.Matrix([SOFT + 0.1, SOFT + 0.4])}
    matrices = {name: np.random.default_rng(3).standard_normal((8, DIMENSION)) / 3 for name in ("query", "key")}
    more = {"beta": 0.5} if normalisation == "sinkhorn" else {}
    assert disagree(law_of(normalisation=normalisation, prior=pi[prior], rotary=rotary, **matrices, **more)) == []


@backends
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_gates_agree_with_the_formula(place, bias, backend):
    generator = np.random.default_rng(8)
    rows = {"output": DIMENSION, "values": 4, "heads": 2}[place]
    gate = Gate(generator.standard_normal((rows, DIMENSION)), generator.standard_normal(rows) if bias else None, place)
    value, output = generator.standard_normal((4, DIMENSION)), generator.standard_normal((DIMENSION, 4))
    # heads of two components, which other tests compile kernels for as well
    law_of_pairs = partial(law_of, output=output, query=value[::-1] / 2, key=value / 2)
    law = law_of_pairs(value=value, gate=gate)
    assert disagree(law) == []
    x = tokens_of()[:1]
    opened = 1.0 / (1.0 + np.exp(-(x[0] @ gate.matrix.T + (0.0 if gate.bias is None else gate.bias))))
    heads = [law_of_pairs(value=value * mine[:, None]) for mine in (np.repeat([1.0, 0.0], 2), np.repeat([0.0, 1.0], 2))]
    drifts = [head.drift(x, space=Euclidean(DIMENSION), backend=backend)[0] for head in heads]
    ours = law.drift(x, space=Euclidean(DIMENSION), backend=backend)[0]
    if place == "output":
        np.testing.assert_allclose(ours, opened * (drifts[0] + drifts[1]), atol=1e-12)
    if place == "heads":
        np.testing.assert_allclose(ours, opened[:, :1] * drifts[0] + opened[:, 1:] * drifts[1], atol=1e-12)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("score", ["dot", "student"])
def test_statistics_agree_with_the_reference(score, normalisation):
    options = {"space": Euclidean(DIMENSION), "weights": weights_of()}
    for mask in ("none", "window", "given"):
        law = law_of(score, normalisation, mask, beta=0.5)
        exact = law.statistics(tokens_of(), **options, backend="reference")
        for backend in BACKENDS:
            ours = law.statistics(tokens_of(), **options, backend=backend)
            for mine, expected in zip(ours, exact, strict=True):
                assert mine.shape == (2, 2, TOKENS)
                np.testing.assert_allclose(mine, expected, atol=2e-12, err_msg=f"mask {mask}, {backend}")


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("mask", ["none", "window", "given"])
def test_any_number_of_threads_gives_the_same_bits(normalisation, mask):
    law = law_of("laplace", normalisation, mask, beta=0.5)
    drifts = [law.drift(tokens_of(), space=Euclidean(DIMENSION), threads=threads) for threads in (1, 2, 5)]
    np.testing.assert_array_equal(drifts[0], drifts[1])
    np.testing.assert_array_equal(drifts[0], drifts[2])


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("score", SCORES)
def test_a_token_split_in_two_changes_nothing_where_the_law_says_so(score, normalisation):
    law = law_of(score, normalisation, beta=0.5)
    weights, x, space = weights_of(), tokens_of(replicas=1)[0], Euclidean(DIMENSION)
    halves = np.concatenate([weights, [weights[9] / 2]])
    halves[9] /= 2
    once = law.drift(x, space=space, weights=weights)
    twice = law.drift(np.concatenate([x, x[9:10]]), space=space, weights=halves)
    change = np.abs(twice[:-1] - once).max()
    assert change < 1e-9 if law.normalisation.splits else change > 1e-4
    np.testing.assert_allclose(twice[-1], twice[9], atol=1e-12)


@pytest.mark.parametrize(
    "mask", [name if name in ("none", "window") else pytest.param(name, marks=pytest.mark.slow) for name in MASKS]
)
@pytest.mark.parametrize("score", SCORES)
def test_gradients_of_laws_are_those_of_finite_differences(score, mask):
    torch = pytest.importorskip("torch")
    smooth = ("softmax", "none", "linear", "sigmoid", "entmax 1.2", "entmax of densities")
    # as few as a window hides one of
    x = torch.tensor(tokens_of(replicas=1)[0, : 5 if mask == "none" else 8], requires_grad=True)
    few = {"given": masks.Given(SOFT[:8, :8])} | {name: value for name, value in MASKS.items() if name != "given"}
    for normalisation in smooth if mask == "none" else ("softmax", "sigmoid"):
        law = law_of(score, normalisation)
        law = Attention(**{**vars(law), "mask": few[mask], "shift": 0.0})

        def drift(x, law=law):
            return law.drift(x, space=Euclidean(DIMENSION), backend="torch")

        assert torch.autograd.gradcheck(drift, (x,), atol=1e-6, fast_mode=True), normalisation


@pytest.mark.parametrize("normalisation", ["sinkhorn", "sparsemax", "relu", "top-k"])
def test_gradients_of_laws_with_kinks_are_those_of_finite_differences_between_them(normalisation):
    torch = pytest.importorskip("torch")
    x = torch.tensor(tokens_of(replicas=1)[0, :8], requires_grad=True)
    law = law_of(normalisation=normalisation, beta=0.5)
    assert torch.autograd.gradcheck(
        lambda x: law.drift(x, space=Euclidean(DIMENSION), backend="torch"), (x,), atol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("score", ["dot", "cosine", "gaussian", "laplace", "student"])
@pytest.mark.parametrize("normalisation", ["softmax", "sinkhorn"])
def test_numbers_for_query_and_key_are_multiples_of_the_identity(score, normalisation, backend):
    identity, options = np.eye(DIMENSION), {"beta": 0.1, "normalisation": normalisation, "score": SCORES[score]}
    drifts = [
        Attention(query=q, key=k, **options).drift(tokens_of(), space=Euclidean(DIMENSION), backend=backend)
        for q, k in ((-2.0, 3.0), (-2.0 * identity, 3.0 * identity))
    ]
    np.testing.assert_allclose(drifts[0], drifts[1], atol=1e-9)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_transforms_of_torch_take_laws(mode):
    torch = pytest.importorskip("torch")
    law, x = law_of("student", "sigmoid", "window"), torch.tensor(tokens_of())
    along = torch.tensor(np.random.default_rng(6).standard_normal(x.shape))

    def drift(x):
        return law.drift(x, space=Euclidean(DIMENSION), backend="torch")

    step = 1e-6
    expected = (drift(x + step * along) - drift(x - step * along)) / (2 * step)
    if mode == "forward":
        found = torch.func.jvp(drift, (x,), (along,))[1]
    else:
        other = torch.tensor(np.random.default_rng(7).standard_normal(x.shape))
        found, expected = (torch.func.vjp(drift, x)[1](other)[0] * along).sum(), (other * expected).sum()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("normalisation", ["entmax", "sigmoid", "sinkhorn"])
def test_memory_is_not_that_of_the_pairs(normalisation):
    import tracemalloc

    tokens = 3000
    x = np.random.default_rng(0).standard_normal((1, tokens, 3))
    law = Attention(beta=0.3, normalisation=normalisation)
    law.drift(x[:, :600], space=Euclidean(3))  # compiles; fewer tokens might take another kernel
    tracemalloc.start()
    law.drift(x, space=Euclidean(3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * tokens**2 / 10


@pytest.mark.parametrize("method", ["tsit5", "layers"])
@backends
def test_a_run_of_a_law_of_many_parts_is_that_of_the_reference(method, backend):
    law = law_of("student", "sigmoid", "causal window", prior="alibi")
    ensemble = Ensemble(Sphere(DIMENSION).retract(tokens_of()), Sphere(DIMENSION))
    options = {"layers": 4} if method == "layers" else {"t_end": 1.0, "rtol": 1e-9, "atol": 1e-11}
    ours, exact = (integrate(law, ensemble, **options, backend=which).final for which in (backend, "reference"))
    np.testing.assert_allclose(ours, exact, atol=1e-10)


def test_sinkhorn_says_how_many_iterations_it_took():
    law, x = law_of(normalisation="sinkhorn", beta=0.5), tokens_of()
    for backend in ("numba", "torch"):
        field = prepare(law, Euclidean(DIMENSION), np.full((1, TOKENS), 1 / TOKENS), x.shape, x.dtype, Engine(backend))
        assert field.record() == {"sinkhorn_iterations": 0}
        field.velocity(0.0, x, np.empty_like(x))
        assert 3 < field.record()["sinkhorn_iterations"] < 200


def test_sinkhorn_that_does_not_converge_says_so():
    law = law_of(normalisation="sinkhorn", beta=5.0)
    law = Attention(**{**vars(law), "normalisation": normalisations.Sinkhorn(1e-13, iterations=2)})
    with pytest.raises(AttndynError, match=r"columns are still off by .* after 2 iterations"):
        law.drift(tokens_of(), space=Euclidean(DIMENSION))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"score": "dots"}, "score must be one of dot, scaled-dot"),
        ({"score": "metric"}, "needs its matrix"),
        ({"score": scores.Metric(np.eye(2)), "query": 2.0}, "query and key must be left out"),
        ({"normalisation": "soft"}, "normalisation must be one of softmax, none"),
        ({"normalisation": "top-k"}, "needs its number"),
        ({"mask": "window"}, "needs its numbers"),
        ({"mask": "square"}, "mask must be one of none, causal"),
        ({"prior": "bias"}, "prior must be none, matrix, alibi"),
        ({"rotary": 1.0}, "rotary must be a base above 1"),
        ({"score": "student", "beta": -1.0}, "beta must be at least 0 with the score student"),
        ({"gate": "open"}, r"gate must be a gates\.Gate"),
        ({"beta": np.inf, "normalisation": "sigmoid"}, "beta = inf is the limit of softmax"),
        ({"beta": -np.inf}, "beta must be a finite number"),
        ({"shift": 1.0, "normalisation": "relu"}, "shift rescales the time of unnormalised attention"),
        ({"normalisation": "sinkhorn", "mask": "causal"}, "sinkhorn needs a symmetric mask"),
        ({"normalisation": "sinkhorn", "prior": priors.Matrix([[1.0, 2.0], [1.0, 1.0]])}, "needs a symmetric prior"),
    ],
)
def test_parts_that_do_not_exist_or_go_together_are_told(options, says):
    with pytest.raises(InvalidInput, match=says):
        Attention(**options)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scores.Student(0.0), "freedom of the student score must be a number above 0; got 0.0"),
        (lambda: scores.Metric.of_matrix(np.diag([1.0, -1.0])), "positive semidefinite; its least eigenvalue is -1"),
        (lambda: scores.Metric.of_matrix([[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
        (lambda: scores.Metric.of_matrix(np.ones((2, 3))), "must be a square matrix"),
        (lambda: normalisations.Entmax(1.0), r"alpha of entmax must be above 1 and at most 2; got 1\.0"),
        (lambda: normalisations.Entmax(2.5), "at most 2; got 2.5"),
        (lambda: normalisations.TopK(0), "must be an integer of at least 1; got 0"),
        (lambda: normalisations.Sinkhorn(1.0), "tolerance of sinkhorn"),
        (lambda: normalisations.Sigmoid(np.nan), "bias of the sigmoid must be a finite number"),
        (lambda: masks.Window(-1), "width of a window mask must be an integer of at least 0; got -1"),
        (lambda: masks.Block(0), "size of a block mask"),
        (lambda: masks.Random(1.5), r"share of a random mask must be between 0 and 1; got 1\.5"),
        (lambda: masks.Given(np.ones((2, 3))), r"must be square; got the shape \(2, 3\)"),
        (lambda: masks.Given([[2.0]]), "must hold numbers between 0 and 1"),
        (lambda: priors.Matrix([[0.0]]), "must hold numbers above 0"),
        (lambda: priors.Matrix(np.ones((2, 3))), r"got the shape \(2, 3\)"),
        (lambda: priors.Alibi([np.inf]), "slopes of alibi must be finite"),
        (lambda: Gate([[1.0]], on="keys"), "a gate must be on one of output, values, heads; got 'keys'"),
        (lambda: Gate([1.0]), "the matrix of a gate must have 2 axes"),
    ],
)
def test_numbers_of_parts_out_of_range_are_told(make, says):
    with pytest.raises(InvalidInput, match=says):
        make()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask": masks.Given(np.eye(5))}, "the matrix of the mask is for 5 tokens; there are 37"),
        ({"prior": priors.Matrix(np.ones((5, 5)))}, r"the prior must be \(37, 37\) or \(1, 37, 37\); got \(5, 5\)"),
        ({"prior": priors.Alibi([1.0, 2.0])}, "alibi needs a slope for each of the 1 heads; got 2"),
        ({"gate": Gate(np.eye(3))}, r'a gate on "output" must be \(6, 6\); got \(3, 3\)'),
        ({"gate": Gate(np.eye(6), np.ones(3))}, "the bias of the gate must have 6 numbers; got 3"),
        ({"rotary": 10.0, "query": np.eye(5, 6), "key": np.eye(5, 6)}, "rotary needs heads of even dimension"),
    ],
)
@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_parts_for_other_tokens_are_told(options, says, backend):
    with pytest.raises(InvalidInput, match=says):
        Attention(**options).drift(tokens_of(), space=Euclidean(DIMENSION), backend=backend)


@pytest.mark.parametrize("engine", [{"sums": "fourier"}, {"sums": "auto"}])
def test_what_only_plain_laws_have_is_told(engine):
    with pytest.raises(InvalidInput, match="exist for dot products under softmax or none"):
        Attention(score="laplace").drift(np.eye(2), space=Sphere(2), **engine)


def test_merging_needs_a_law_for_which_tokens_split():
    ensemble = Ensemble.uniform(Sphere(2), 5)
    for options, says in (
        ({"normalisation": "entmax"}, "two tokens are one of both weights; got entmax"),
        ({"prior": "alibi"}, "without prior"),
        ({"mask": masks.Window(1)}, "without a mask"),
    ):
        with pytest.raises(InvalidInput, match=says):
            integrate(Attention(**options), ensemble, t_end=1.0, merge=1e-9)
