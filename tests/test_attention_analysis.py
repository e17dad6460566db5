"""Attention matrices of any law against the reference backend, and what is read off them."""

import numpy as np
import pytest
from attndyn.data.analysis.attention import attention_matrix, attention_of_token
from attndyn.data.analysis.registry import ANALYSES
from attndyn.data.analysis.subject import Subject
from attndyn.data.reading import open_trajectory
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere, observables
from attndyn.particles.multipliers import Multipliers
from ensembles import circle, random_ensemble
from hand_made import hand_made

ANY = np.random.default_rng(0).standard_normal((4, 4))
LAWS = {
    "softmax": Attention(beta=2.0, query=ANY),
    "causal": Attention(beta=2.0, mask="causal"),
    "without-self": Attention(beta=-1.0, mask="without-self"),
    "heads": Attention(beta=2.0, heads=2, query=ANY, key=ANY.T, score="scaled-dot"),
    "sparsemax": Attention(beta=3.0, normalisation="sparsemax"),
    "sinkhorn": Attention(beta=1.0, normalisation="sinkhorn"),
    "hardmax": Attention(beta=np.inf),
    "alibi": Attention(beta=1.0, prior="alibi", mask="causal"),
    "gaussian": Attention(beta=1.0, score="gaussian"),
    "random": Attention(beta=1.0, multipliers=Multipliers("gamma", variation=0.5, seed=3)),
}


def pulled(law, tokens, head, replica):
    """sum_j w_ij x_j by the reference backend, whose values are the tokens themselves."""
    heads = law.heads
    values = np.zeros((heads * 4, 4))
    values[head * 4 : head * 4 + 4] = np.eye(4)
    output = np.tile(np.eye(4), heads)
    law = Attention(**{**vars(law), "value": values, "output": output})
    # in R^d nothing is projected
    return law.drift(tokens.positions, space=Euclidean(4), weights=tokens.weights, backend="reference")[replica]


@pytest.mark.parametrize("name", LAWS)
def test_rows_are_those_of_the_reference(name):
    law, tokens = LAWS[name], random_ensemble(5, Euclidean(4), tokens=9, replicas=2, zeros=1)
    for replica in range(2):
        for head in range(law.heads):
            matrix = attention_matrix(law, tokens, head, replica)
            assert matrix.shape == (9, 9)
            expected = pulled(law, tokens, head, replica)
            np.testing.assert_allclose(matrix @ tokens.positions[replica], expected, rtol=1e-9, atol=1e-11)
            if name != "random":  # token 0 has no weight: under a causal mask it sees nobody, not even itself
                sums = np.append(0.0 if law.mask.name == "causal" else 1.0, np.ones(8))
                np.testing.assert_allclose(matrix.sum(axis=1), sums, rtol=1e-9)
            alone = Ensemble(tokens.positions[replica], tokens.space, tokens.weights[replica])
            np.testing.assert_allclose(attention_of_token(law, alone, 4, head, replica), matrix[4], rtol=1e-12)


def test_softmax_is_what_is_written():
    tokens, beta = circle(np.array([0.0, 0.4, 2.0]), np.array([0.5, 0.3, 0.2])), 1.7
    weights = tokens.weights * np.exp(beta * tokens.positions[0] @ tokens.positions[0].T)
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(attention_matrix(Attention(beta=beta), tokens), expected, rtol=1e-14)


def test_a_block_sees_normalised_tokens():
    law, tokens = Attention(beta=3.0), random_ensemble(1, Euclidean(3), replicas=1)
    on_sphere = tokens.at(Sphere(3).retract(tokens.positions), Sphere(3))
    expected = attention_matrix(law, on_sphere)
    np.testing.assert_allclose(attention_matrix(Block(law, norm="pre"), tokens), expected, rtol=1e-13)
    assert abs(attention_matrix(Block(law), tokens) - expected).max() > 0.01


def test_what_is_not_there_is_refused():
    tokens = circle(np.arange(3.0))
    with pytest.raises(InvalidInput, match=r"head must be one of 0 ... 1; got 2"):
        attention_matrix(Attention(heads=2), tokens, head=2)
    with pytest.raises(InvalidInput, match=r"token must be one of 0 ... 2; got 3"):
        attention_of_token(Attention(), tokens, 3)
    many = circle(np.linspace(0.0, 6.0, 4001))
    with pytest.raises(InvalidInput, match="at most 4000 tokens; got 4001: take that of one token"):
        attention_matrix(Attention(), many)
    assert attention_of_token(Attention(), many, 4000).sum() == pytest.approx(1.0)


def described(path, tokens, law, space, **options):
    with open_trajectory(hand_made(path, [tokens, tokens], space, **options)) as trajectory:
        return ANALYSES["attention"].function(Subject(trajectory, lambda t: law, depths=[0.0])).columns


def test_uniform_attention_has_all_entropy_and_rank_one(tmp_path):
    found = described(tmp_path / "a.h5", np.eye(4), Attention(beta=0.0), Sphere(4))
    assert found["entropy"].tolist() == pytest.approx([np.log(4)])
    assert found["rank"].tolist() == [1.0]
    assert found["effective_rank"][0] == pytest.approx(1.0, abs=1e-10)
    assert found["received"][0] == pytest.approx(0.25)


def test_cold_attention_is_boolean_and_has_leaders(tmp_path):
    # on the line x > 0 follows the largest, x < 0 the smallest: two leaders, a matrix of rank two
    tokens = np.array([[0.5], [2.0], [1.0], [-3.0], [-0.5]])
    strings = ["a", "b", "c", "d", "e"]
    found = described(tmp_path / "a.h5", tokens, Attention(beta=200.0), Euclidean(1), strings=strings)
    assert found["leaders"].tolist() == [2]
    assert found["rank"].tolist() == [2.0]
    assert found["entropy"][0] == pytest.approx(0.0, abs=1e-9)
    assert (found["leader"].tolist(), found["leader_token"].tolist()) == ([1], ["b"])
    assert found["received"][0] == pytest.approx(0.6)
    # tokens of weight zero neither lead nor follow
    weights = np.array([0.3, 0.0, 0.2, 0.4, 0.1])
    found = described(tmp_path / "b.h5", tokens, Attention(beta=200.0), Euclidean(1), weights=weights)
    assert (found["leader"].tolist(), found["leaders"].tolist()) == ([2], [2])


def test_the_entropy_is_that_of_the_observable_for_every_head(tmp_path):
    law, tokens = LAWS["heads"], random_ensemble(2, Euclidean(4), tokens=300, replicas=1)
    found = described(tmp_path / "a.h5", tokens.positions[0], law, Euclidean(4), weights=tokens.weights[0])
    assert found["head"].tolist() == [0, 1]
    expected = observables.measure(["attention_entropy"], tokens, law, backend="reference")["attention_entropy"]
    assert found["entropy"].mean() == pytest.approx(expected[0], rel=1e-10)


def test_without_a_law_there_is_no_attention(tmp_path):
    with (
        open_trajectory(hand_made(tmp_path / "a.h5", [np.eye(2)], Sphere(2))) as trajectory,
        pytest.raises(InvalidInput, match="attention needs the law of the run"),
    ):
        ANALYSES["attention"].function(Subject(trajectory))
