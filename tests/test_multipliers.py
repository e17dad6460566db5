"""Random multipliers of attention weights: their law, their seed, every backend, and networks that have them."""

from dataclasses import replace

import attndyn
import numpy as np
import pytest
from attndyn.errors import InvalidInput, ScenarioError
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere, masks, normalisations
from attndyn.particles.multipliers import LAWS, LEAST, MOST, Multipliers, weibull_exponent
from attndyn.particles.observables import attention_entropy, energy
from attndyn.scenarios.build import build
from attndyn.scenarios.schema import Scenario
from scipy import special, stats

TOKENS, DIMENSION = 41, 6
laws = pytest.mark.parametrize("law", LAWS)
backends = pytest.mark.parametrize("backend", ["numba", "torch"])


def exact_law(law, variation):
    """The distribution as scipy.stats has it, with mean 1."""
    if law == "lognormal":
        sigma = np.sqrt(np.log1p(variation**2))
        return stats.lognorm(sigma, scale=np.exp(-(sigma**2) / 2))
    if law == "gamma":
        return stats.gamma(variation**-2, scale=variation**2)
    inverse = weibull_exponent(variation)
    return stats.weibull_min(1 / inverse, scale=1 / special.gamma(1 + inverse))


def tokens_of(tokens=TOKENS, replicas=2, dtype="float64"):
    return np.random.default_rng(1).standard_normal((replicas, tokens, DIMENSION)).astype(dtype) * 0.6


def law_of(multipliers, **options):
    generator = np.random.default_rng(3)
    names = ("query", "key", "value")
    matrices = {name: generator.standard_normal((DIMENSION, DIMENSION)) / 2 for name in names}
    return Attention(multipliers=multipliers, **({"heads": 2, "beta": 1.5} | matrices | options))


def drift_of(law, x=None, space=None, **engine):
    return law.drift(tokens_of() if x is None else x, space=space or Euclidean(DIMENSION), **engine)


@laws
@pytest.mark.parametrize("variation", [0.01, 0.5, 1.0, MOST])
def test_the_distribution_is_that_of_scipy(law, variation):
    xi = Multipliers(law, variation, seed=2).factors(0, 0, 0, 400, 0, 500).ravel()
    exact = exact_law(law, variation)
    assert exact.mean() == pytest.approx(1.0, rel=1e-12)
    assert exact.std() == pytest.approx(variation, rel=1e-9)
    assert stats.kstest(xi, exact.cdf).pvalue > 1e-6  # five standard deviations
    assert abs(xi.mean() - 1.0) < 5 * variation / np.sqrt(xi.size)
    assert xi.min() >= LEAST


@laws
@pytest.mark.parametrize("variation", [1e-200, 1e-12, 1e-8, 0.99e-4, 1.01e-4, 1e-2])
def test_small_variations_are_what_they_say(law, variation):
    uniform = (np.arange(4000) + 0.5) / 4000
    quantiles = LAWS[law](uniform, variation)
    assert np.isfinite(quantiles).all()
    # between numbers as far apart as roundings of 1
    assert quantiles.std() == pytest.approx(variation, rel=1e-3, abs=1e-15)


def test_the_exponent_of_weibull_goes_over_from_its_series():
    below, above = weibull_exponent(1e-4 * (1 - 1e-12)), weibull_exponent(1e-4)
    assert below == pytest.approx(above, rel=1e-7)
    assert weibull_exponent(1.0) == pytest.approx(1.0, abs=1e-14)  # the exponential law


@laws
def test_pairs_are_independent_of_each_other_and_of_who_asks(law):
    drawn = Multipliers(law, 0.5, seed=7)
    whole = drawn.factors(1, 2, 0, 300, 0, 300)
    np.testing.assert_array_equal(drawn.factors(1, 2, 40, 63, 5, 190), whole[40:63, 5:190])
    others = [
        drawn.factors(0, 2, 0, 300, 0, 300),
        drawn.factors(1, 1, 0, 300, 0, 300),
        drawn.factors(2, 1, 0, 300, 0, 300),
        drawn.after(1).factors(1, 2, 0, 300, 0, 300),
        replace(drawn, seed=8).factors(1, 2, 0, 300, 0, 300),
        whole.T,
        np.roll(whole, 1, axis=0),
        np.roll(whole, 1, axis=1),
    ]
    np.testing.assert_array_equal(Multipliers(law, 0.5, seed=7).factors(1, 2, 0, 300, 0, 300), whole)
    for other in others:
        off = ~np.eye(300, dtype=bool)  # a transpose shares its diagonal
        correlation = np.corrcoef(whole[off], other[off])[0, 1]
        # pairs of a transpose count twice
        assert abs(correlation) < 5 * np.sqrt(2 / off.sum())


def test_the_seed_of_a_random_mask_draws_what_it_drew():
    seen = masks.Random(0.5, seed=3).factors(0, 8, 0, 8).astype(int)
    assert ["".join(map(str, row)) for row in seen[:4]] == ["10001100", "11110101", "00100000", "00011101"]


@laws
def test_no_variation_is_the_plain_law(law):
    plain, without = law_of(None), law_of(Multipliers(law, 0.0, seed=4))
    assert (Multipliers(law, 0.0).factors(0, 0, 0, 3, 0, 5) == np.ones((3, 5))).all()
    assert without.plain
    np.testing.assert_array_equal(drift_of(without), drift_of(plain))


@laws
def test_a_small_variation_changes_the_drift_in_proportion(law):
    plain, variations = drift_of(law_of(None)), np.array([1e-2, 1e-3, 1e-4])
    changes = [np.abs(drift_of(law_of(Multipliers(law, c, seed=4))) - plain).max() for c in variations]
    slopes = np.diff(np.log(changes)) / np.diff(np.log(variations))
    np.testing.assert_allclose(slopes, 1.0, atol=0.02)


NORMALISATIONS = {
    "softmax": "softmax",
    "none": normalisations.Unnormalised(2.0),
    "linear": "linear",
    "sigmoid": normalisations.Sigmoid(-1.0),
    "relu": "relu",
    "sparsemax": "sparsemax",
    "entmax of densities": normalisations.Entmax(1.5, mean_field=True),
    "top-k": normalisations.TopK(5),
    "hardmax": "hardmax",
}
MASKS = {"none": "none", "causal": "causal", "window": masks.Window(6), "random": masks.Random(0.5, seed=3)}


@backends
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_backends_agree_with_the_reference(normalisation, mask, backend):
    drawn = Multipliers("gamma", 0.7, seed=1)
    law = law_of(drawn, normalisation=NORMALISATIONS[normalisation], mask=MASKS[mask])
    exact = drift_of(law, backend="reference")
    np.testing.assert_allclose(drift_of(law, backend=backend), exact, atol=1e-12 * np.abs(exact).max())


@pytest.mark.slow
@backends
@laws
def test_float32_agrees_with_the_reference_in_float64(law, backend):
    law, x = law_of(Multipliers(law, MOST, seed=1), mask="causal"), tokens_of(dtype="float32")
    exact = drift_of(law, x.astype(np.float64), backend="reference")
    np.testing.assert_allclose(drift_of(law, x, backend=backend), exact, atol=2e-5 * np.abs(exact).max())


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_the_drift_is_that_of_the_formula(backend):
    """sum_j xi_ij exp(s_ij) v_j / sum_j xi_ij exp(s_ij) for each replica and head."""
    drawn, x = Multipliers("weibull", 0.8, seed=5), tokens_of()
    law = law_of(drawn)
    p, expected = law.projections(DIMENSION), np.empty_like(x)
    for replica in range(2):
        for head in range(2):
            query, key, value = (x[replica] @ matrix[head].T for matrix in (p.query, p.key, p.value))
            terms = drawn.factors(replica, head, 0, TOKENS, 0, TOKENS) * np.exp(1.5 * query @ key.T)
            terms /= terms.sum(axis=1, keepdims=True)
            expected[replica, :, 3 * head : 3 * head + 3] = terms @ value
    np.testing.assert_allclose(drift_of(law, backend=backend), expected, atol=1e-13)


@backends
def test_statistics_agree_with_the_reference(backend):
    law, space = law_of(Multipliers("gamma", 0.7, seed=1)), Euclidean(DIMENSION)
    for mine, exact in zip(
        *(law.statistics(tokens_of(), space=space, backend=which) for which in (backend, "reference")), strict=True
    ):
        np.testing.assert_allclose(mine, exact, atol=2e-12)


def test_any_number_of_threads_gives_the_same_bits():
    law, x = law_of(Multipliers("gamma", 0.7)), tokens_of(tokens=150)
    drifts = [drift_of(law, x, threads=threads) for threads in (1, 2, 5)]
    np.testing.assert_array_equal(drifts[0], drifts[1])
    np.testing.assert_array_equal(drifts[0], drifts[2])


def test_gradients_are_those_of_finite_differences():
    torch = pytest.importorskip("torch")
    x = torch.tensor(tokens_of(tokens=7, replicas=1)[0], requires_grad=True)
    law = law_of(Multipliers("lognormal", 0.7))
    assert torch.autograd.gradcheck(lambda x: drift_of(law, x, backend="torch"), (x,), atol=1e-6, fast_mode=True)


@laws
def test_many_tokens_average_the_multipliers_out(law):
    """The law of large numbers: the difference to the plain law falls like n^(-1/2)."""
    counts = np.array([100, 400, 1600])
    space, changes = Sphere(3), []
    for n in counts:
        x = Ensemble.uniform(space, int(n), seed=1).positions
        drawn, plain = Attention(multipliers=Multipliers(law, 0.5, seed=2)), Attention()
        changes.append(np.sqrt(np.mean((drift_of(drawn, x, space) - drift_of(plain, x, space)) ** 2)))
    slope = np.polyfit(np.log(counts), np.log(changes), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.03)


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("residual", [True, False])
def test_a_network_draws_anew_at_every_layer(backend, residual):
    law, space = law_of(Multipliers("gamma", 0.6, seed=3)), Sphere(DIMENSION)
    x = space.retract(tokens_of())
    network = integrate(law, Ensemble(x, space), layers=3, step=0.5, residual=residual, backend=backend)
    for layer in range(3):
        attention = np.empty_like(x)
        for replica in range(2):
            p = law.projections(DIMENSION)
            for head in range(2):
                query, key, value = (x[replica] @ matrix[head].T for matrix in (p.query, p.key, p.value))
                xi = Multipliers("gamma", 0.6, seed=3, layer=layer).factors(replica, head, 0, TOKENS, 0, TOKENS)
                terms = xi * np.exp(1.5 * query @ key.T)
                attention[replica, :, 3 * head : 3 * head + 3] = terms @ value / terms.sum(axis=1, keepdims=True)
        x = space.retract(0.5 * attention + (x if residual else 0.0))
    np.testing.assert_allclose(network.final, x, atol=1e-12)


def test_a_replica_moves_as_it_would_with_fewer_others_and_a_run_in_two_parts_is_the_whole():
    drawn, space = Multipliers("gamma", 0.6), Sphere(DIMENSION)
    law, x = law_of(drawn), space.retract(tokens_of())
    whole = integrate(law, Ensemble(x, space), layers=4).final
    np.testing.assert_array_equal(integrate(law, Ensemble(x[:1], space), layers=4).final, whole[:1])
    half = integrate(law, Ensemble(x, space), layers=2).final
    rest = integrate(replace(law, multipliers=drawn.after(2)), Ensemble(half, space), layers=2).final
    np.testing.assert_array_equal(rest, whole)
    assert np.abs(integrate(law, Ensemble(half, space), layers=2).final - whole).max() > 1e-3


def test_layers_of_blocks_and_of_independent_laws_draw_as_well():
    drawn, space = Multipliers("gamma", 0.6), Euclidean(DIMENSION)
    law, ensemble = law_of(drawn), Ensemble(tokens_of(), space)
    same = integrate([law, law], ensemble, layers=2).final
    np.testing.assert_array_equal(same, integrate(law, ensemble, layers=2).final)
    block = Block(law, FeedForward(np.eye(DIMENSION), np.zeros((DIMENSION, DIMENSION))))  # which adds nothing
    np.testing.assert_allclose(integrate(block, ensemble, layers=2).final, same, atol=1e-13)


def test_what_does_not_go_with_multipliers_is_told():
    law, ensemble = Attention(multipliers=Multipliers("gamma", 0.5)), Ensemble.uniform(Sphere(3), 5)
    with pytest.raises(InvalidInput, match="multipliers need layers: they are drawn anew at every layer"):
        integrate(law, ensemble, t_end=1.0)
    with pytest.raises(InvalidInput, match="prior, rotary, gate or multipliers"):
        drift_of(law, ensemble.positions, Sphere(3), sums="harmonics")
    with pytest.raises(InvalidInput, match="without random multipliers"):
        energy(ensemble, law)
    with pytest.raises(InvalidInput, match="do not go with sinkhorn"):
        replace(law, normalisation="sinkhorn")
    for options, says in (
        (("beta", 0.5), "must be one of lognormal, gamma, weibull; got 'beta'"),
        (("gamma", -0.1), "variation of the multipliers must be between 0 and 3; got -0.1"),
        (("gamma", np.nan), "between 0 and 3; got nan"),
        (("gamma", 0.5, -1), "seed of the multipliers must be an integer of at least 0; got -1"),
    ):
        with pytest.raises(InvalidInput, match=says):
            Multipliers(*options)
    with pytest.raises(InvalidInput, match=r"must be a multipliers\.Multipliers; got 0\.5"):
        Attention(multipliers=0.5)


FILE = """
[tokens]
count = 20
replicas = 2
seed = 9
[attention]
multipliers = { law = "gamma", variation = 0.5 }
[depth]
layers = 6
[save]
observables = ["attention_entropy"]
"""


def test_a_scenario_of_a_network_is_the_network():
    scenario = Scenario.parse(FILE)
    trajectory = attndyn.run(scenario)
    plan = build(scenario)
    law = Attention(multipliers=Multipliers("gamma", 0.5, seed=9))
    depths = np.arange(7.0)
    network = integrate(law, plan.ensemble, layers=6, save_at=depths)
    np.testing.assert_array_equal(trajectory.positions[:], network.positions)
    np.testing.assert_array_equal(attndyn.run(scenario).positions[:], network.positions)
    for layer in range(7):  # entropies are those of the layer to come
        here = replace(law, multipliers=law.multipliers.after(min(layer, 5)))
        expected = attention_entropy(plan.ensemble.at(network.positions[layer]), here)
        np.testing.assert_allclose(trajectory.observables["attention_entropy"][layer], expected, rtol=1e-12)
    other = attndyn.run(scenario.override({"attention.multipliers.seed": 10}))
    assert np.abs(other.positions[1] - network.positions[1]).max() > 1e-3
    plain = {"attention.multipliers": None}, {"attention.multipliers.variation": 0.0}
    ends = [attndyn.run(scenario.override(change)).positions[-1] for change in plain]
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"depth.layers": None},
            "attention.multipliers: are drawn anew at every layer of a network; give depth.layers",
        ),
        ({"attention.normalisation": "sinkhorn"}, "attention.multipliers: do not go with sinkhorn"),
        ({"attention.multipliers.law": "gama"}, 'attention.multipliers.law: must be one of .* did you mean "gamma"?'),
        ({"attention.multipliers.variation": -1.0}, "attention.multipliers.variation: must be at least 0; got -1"),
        ({"attention.multipliers.variation": 4.0}, "attention.multipliers.variation: must be at most 3; got 4"),
        ({"attention.multipliers.variations": 1.0}, "did you mean attention.multipliers.variation?"),
        ({"attention.multipliers": "gamma"}, "attention.multipliers: must be a table"),
    ],
)
def test_mistakes_in_a_scenario_are_one_line(changes, says):
    with pytest.raises(ScenarioError, match=says) as told:
        Scenario.parse(FILE).override(changes)
    assert "\n" not in str(told.value)
