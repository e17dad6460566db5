"""The limit of many gaussian tokens: tables, closed forms, and weighted tokens moved by the real integrator."""

import numpy as np
import pytest
from attndyn import AttndynError, InvalidInput
from attndyn.integrators.gaussian_closure import blow_up, gaussian_flow
from attndyn.particles import Attention, Block, Euclidean, gates, masks, priors, scores
from attndyn.particles.gaussian import GaussianMeasure, affine_drift
from attndyn.particles.normalisations import Sinkhorn
from scipy.special import lambertw

MEAN = np.array([1.0, -0.5])
COVARIANCE = np.array([[0.5, 0.1], [0.1, 0.3]])
START = GaussianMeasure(MEAN, COVARIANCE)
QUERY, KEY = np.array([[1.0, 0.2], [0.0, 0.8]]), np.array([[0.9, 0.0], [-0.3, 1.1]])
VALUE = np.array([[0.5, -0.3], [0.2, 0.4]])
EXAMPLE = {"query": QUERY, "key": KEY, "value": VALUE}
LAWS = {
    "softmax": Attention(beta=0.5, **EXAMPLE),
    "distances": Attention(beta=1.0, score="gaussian", **EXAMPLE),  # beta/2 in the score: the table's beta is 0.5
    "linear": Attention(beta=0.5, normalisation="linear", **EXAMPLE),
    "sinkhorn": Attention(beta=1.0, normalisation=Sinkhorn(1e-13)),
}
TABLES = {  # depth: m1 m2 S11 S12 S22
    "softmax": {
        0.5: [1.443051932830, -0.448667229629, 0.551554725516, 0.123039293718, 0.326348923156],
        1.0: [2.033150753427, -0.299174113280, 0.613837163699, 0.154063299988, 0.360058468838],
        1.5: [2.807793203613, 0.011569985792, 0.690365675150, 0.196940905486, 0.404986461297],
        2.0: [3.809999160211, 0.583377851515, 0.786311930637, 0.258150121217, 0.468059484679],
    },
    "distances": {
        0.5: [1.345946076281, -0.456437491303, 0.573464765155, 0.134676554206, 0.340910607742],
        1.0: [1.778195958907, -0.348731433052, 0.664885980304, 0.184102403957, 0.396872400498],
        1.5: [2.311064463453, -0.146954847504, 0.779824719219, 0.255617512960, 0.476629405848],
        2.0: [2.958744897463, 0.189389182609, 0.925492140557, 0.360561407143, 0.595244093659],
    },
    "linear": {
        0.5: [1.340506825748, -0.455888774984, 0.795227136158, 0.129788514112, 0.326608544793],
        1.0: [2.260343875870, -0.182824795387, 2.073412412410, 0.427465767986, 0.415517090707],
    },
    "sinkhorn": {
        0.5: [1.648721270700, -0.824360635350, 0.819392515237, 0.198627388606, 0.422137738025],
        1.0: [2.718281828459, -1.359140914230, 1.580517773064, 0.454337929155, 0.671841914753],
        2.0: [7.389056098931, -3.694528049465, 8.877640275229, 3.075684070175, 2.726272134879],
    },
}


@pytest.mark.parametrize("name", LAWS)
def test_the_tables(name):
    table = TABLES[name]
    flow = gaussian_flow(LAWS[name], START, max(table), save_at=list(table))
    s = flow.covariances
    ours = np.column_stack([flow.means, s[:, 0, 0], s[:, 0, 1], s[:, 1, 1]])
    np.testing.assert_allclose(ours, list(table.values()), rtol=2e-11, atol=2e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_closed_form_for_scalar_matrices(sign):
    """S = S0 (I - 2 c beta t S0)^-1, m = e^(ct) (I - 2 c beta t S0)^(-1/2) m0."""
    t = 1.2
    end = gaussian_flow(Attention(beta=0.5, value=sign), START, t)[-1]
    sizes, axes = np.linalg.eigh(COVARIANCE)
    shrink = 1 - sign * t * sizes
    np.testing.assert_allclose(end.covariance, axes * (sizes / shrink) @ axes.T, rtol=1e-10)
    np.testing.assert_allclose(end.mean, np.exp(sign * t) * (axes * shrink**-0.5) @ axes.T @ MEAN, rtol=1e-10)


def test_closed_form_of_squared_distances_on_the_line():
    """s' = 2 beta c s^2 / (1 + beta s) for the score -beta/2 |x - y|^2, by Lambert's W."""
    beta, c, s0, t = 1.4, 0.7, 0.6, 1.5
    law = Attention(beta=beta, value=c, score="gaussian")
    end = gaussian_flow(law, GaussianMeasure([0.0], [[s0]]), t)[-1]
    y0 = 1 / (beta * s0)
    exact = 1 / (beta * lambertw(y0 * np.exp(y0 - 2 * c * t)).real)
    np.testing.assert_allclose(end.covariance[0, 0], exact, rtol=1e-11)


@pytest.mark.parametrize("query, key, depth", [(1.0, 1.0, 1.8469903125906), (QUERY, KEY, 2.1067129659722)])
def test_the_depth_of_the_blow_up(query, key, depth):
    law = Attention(beta=0.5, query=query, key=key)
    assert blow_up(law, START) == pytest.approx(depth, rel=1e-12)
    before = gaussian_flow(law, START, 0.99 * depth)[-1]
    assert np.linalg.eigvalsh(before.covariance)[-1] > 20
    with pytest.raises(AttndynError, match=f"at about depth {depth:.6g}"):
        gaussian_flow(law, START, 1.01 * depth)


def test_the_blow_up_knows_scale_sign_and_output():
    assert blow_up(Attention(beta=0.5, value=-1.0), START) == np.inf
    split = Attention(beta=0.5, value=2.0 * np.eye(2), output=0.5 * np.eye(2))
    assert blow_up(split, START) == pytest.approx(1.8469903125906, rel=1e-12)
    four = Attention(beta=0.5, query=4.0 * np.eye(2), score="scaled-dot")
    assert blow_up(four, START) == pytest.approx(1.8469903125906 * np.sqrt(2) / 4, rel=1e-12)
    with pytest.raises(InvalidInput, match="value c times the identity"):
        blow_up(LAWS["softmax"], START)
    with pytest.raises(AttndynError, match=r"at about depth 1\.331"):  # linear attention, by the equation itself
        gaussian_flow(LAWS["linear"], START, 2.0)


GENERAL = {
    "query": np.array([[0.4, 0.2], [0.1, 0.3], [-0.2, 0.5], [0.3, 0.0]]),
    "key": np.array([[0.3, -0.1], [0.2, 0.4], [0.5, 0.1], [0.0, 0.2]]),
    "value": np.array([[0.5, -0.3], [0.2, 0.4], [0.1, 0.6], [-0.4, 0.2]]),
    "output": np.array([[0.5, 0.1, -0.2, 0.3], [0.0, 0.4, 0.6, -0.1]]),
    "query_bias": np.array([0.1, -0.2, 0.3, 0.05]),
    "key_bias": np.array([-0.1, 0.3, 0.2, 0.1]),
    "value_bias": np.array([0.2, 0.1, -0.3, 0.4]),
    "output_bias": np.array([0.1, -0.1]),
    "heads": 2,
}


@pytest.mark.parametrize(
    "kind",
    [
        {"score": "dot"},
        {"score": "scaled-dot"},
        {"score": "gaussian"},
        {"normalisation": "linear"},
        {"normalisation": Sinkhorn(1e-13)},
        {"normalisation": Sinkhorn(1e-13), "score": "gaussian"},
    ],
    ids=["dot", "scaled-dot", "gaussian", "linear", "sinkhorn", "sinkhorn of distances"],
)
def test_the_affine_drift_is_that_of_quadrature_tokens(kind):
    """Two heads, every bias, matrices of any shape."""
    law = Attention(beta=0.8, **GENERAL, **kind)
    tokens = START.quadrature(16)
    b, g = affine_drift(law, START)
    x = tokens.positions[0]
    drift = law.drift(x, space=Euclidean(2), weights=tokens.weights)
    seen = np.argsort(tokens.weights)[-60:]  # a quadrature is exact for queries near the middle
    np.testing.assert_allclose(drift[seen], (b + x @ g.T)[seen], rtol=0, atol=1e-9)


def test_a_metric_is_squared_distances_of_its_factor():
    factor = np.array([[0.7, 0.2], [-0.1, 0.5]])
    by_metric = affine_drift(Attention(beta=0.9, score=scores.Metric(factor)), START)
    by_matrices = affine_drift(Attention(beta=0.9, query=factor, key=factor, score="gaussian"), START)
    for ours, theirs in zip(by_metric, by_matrices, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "distances"])
def test_weighted_tokens_follow_the_closure(name, reach):
    tokens = START.quadrature(18)
    end = reach(LAWS[name], tokens.positions[0], Euclidean(2), 1.0, tokens.weights, rtol=1e-9, atol=1e-11)[0]
    limit = gaussian_flow(LAWS[name], START, 1.0)[-1]
    mean = tokens.weights @ end
    centred = end - mean
    np.testing.assert_allclose(mean, limit.mean, rtol=0, atol=5e-9)
    np.testing.assert_allclose((tokens.weights * centred.T) @ centred, limit.covariance, rtol=0, atol=5e-9)


def test_linear_attention_closes_for_any_tokens(reach):
    x, weights = np.random.default_rng(3).standard_normal((6, 2)), np.array([0.1, 0.3, 0.05, 0.25, 0.2, 0.1])
    mean = weights @ x
    measure = GaussianMeasure(mean, (weights * (x - mean).T) @ (x - mean))
    law = Attention(beta=0.3, normalisation="linear", **EXAMPLE)
    end = reach(law, x, Euclidean(2), 0.8, weights)[0]
    flow = gaussian_flow(law, measure, 0.8)
    np.testing.assert_allclose(weights @ end, flow[-1].mean, atol=1e-10)
    centred = end - weights @ end
    np.testing.assert_allclose((weights * centred.T) @ centred, flow[-1].covariance, atol=1e-10)


def test_the_quadrature_has_the_moments_of_the_measure():
    tokens = START.quadrature(5)
    mean = tokens.weights @ tokens.positions[0]
    centred = tokens.positions[0] - mean
    np.testing.assert_allclose(mean, MEAN, atol=1e-14)
    np.testing.assert_allclose((tokens.weights * centred.T) @ centred, COVARIANCE, atol=1e-14)
    fourth = tokens.weights @ centred[:, 0] ** 4
    assert fourth == pytest.approx(3 * COVARIANCE[0, 0] ** 2, rel=1e-12)


@pytest.mark.parametrize(
    "law, message",
    [
        (Attention(normalisation="none"), "got none of dot"),
        (Attention(normalisation="relu"), "got relu of dot"),
        (Attention(normalisation="linear", score="gaussian"), "got linear of gaussian"),
        (Attention(score="cosine"), "got softmax of cosine"),
        (Attention(beta=np.inf), "got hardmax of dot"),
        (Attention(mask="causal"), "the mask causal"),
        (Attention(mask=masks.Window(2)), "the mask window"),
        (Attention(prior=priors.Alibi()), "got prior"),
        (Attention(gate=gates.Gate(np.eye(2))), "got gate"),
        (Attention(rotary=100.0), "got rotary"),
        (Block(Attention()), "got Block"),
    ],
)
def test_laws_that_are_not_closed_are_refused(law, message):
    with pytest.raises(InvalidInput, match=message):
        gaussian_flow(law, START, 1.0)


def test_wrong_measures_and_depths_are_refused():
    with pytest.raises(InvalidInput, match="shapes"):
        GaussianMeasure([0.0, 1.0], np.eye(3))
    with pytest.raises(InvalidInput, match="symmetric"):
        GaussianMeasure([0.0, 1.0], [[1.0, 0.5], [0.2, 1.0]])
    with pytest.raises(InvalidInput, match="least eigenvalue is -1"):
        GaussianMeasure([0.0, 1.0], np.diag([1.0, -1.0]))
    with pytest.raises(InvalidInput, match="t_end"):
        gaussian_flow(LAWS["softmax"], START, 0.0)
    with pytest.raises(InvalidInput, match="save_at"):
        gaussian_flow(LAWS["softmax"], START, 1.0, save_at=[0.5, 0.2])
    with pytest.raises(InvalidInput, match="no finite sum"):
        affine_drift(Attention(beta=-4.0, score="gaussian"), START)
    with pytest.raises(InvalidInput, match="nodes"):
        START.quadrature(0)
