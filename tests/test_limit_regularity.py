"""The study of regularity: constants of known attention, stacks of layers, masks, steep tokens and the bound."""

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput
from attndyn.cli import main
from attndyn.data.figures import draw_study
from attndyn.integrators import integrate
from attndyn.particles.regularity import bound, jacobian_matrix, local_constant
from attndyn.particles.regularity.bounds import softmax_of_many
from attndyn.particles.regularity.steep import steep_ensemble
from attndyn.scenarios.limits.study import limit, of_kind
from attndyn.scenarios.mistakes import ScenarioError
from attndyn.scenarios.schema import Scenario


def text(attention="", depth="time = 1.0", limit_keys="", space="euclidean", count=16):
    return Scenario.parse(
        f"[tokens]\ncount = {count}\ndimension = 4\nseed = 1\ninitial = {{ law = 'gaussian' }}\n"
        f"[space]\nkind = '{space}'\n[attention]\n{attention}\n[depth]\n{depth}\n"
        f"[limit]\nkind = 'regularity'\n{limit_keys}\n"
    )


def tokens_of(scenario):
    from attndyn.scenarios.build import build

    return build(scenario).ensemble.positions


def test_averaging_has_the_constant_of_its_values_whatever_the_number_of_tokens():
    """beta = 0: f_i = V mean(x), whose Jacobian has the norm |V|; the exponent is 0."""
    study = limit(text("beta = 0.0\nvalue = -1.5", limit_keys="tokens = [2, 4, 8, 16]"))
    np.testing.assert_allclose(study.series[0].error, 1.5, rtol=1e-6)
    assert abs(study.series[0].rate().value) < 1e-6


def test_linear_attention_of_two_dimensions_is_that_of_the_dense_jacobian():
    scenario = text("beta = 0.8\nmask = 'causal'", limit_keys="tokens = [5, 16]\nmasks = ['causal', 'none']")
    study = limit(scenario)
    assert [series.name for series in study.series] == ["depth 0 causal", "depth 0 none"]
    x = tokens_of(scenario)
    for series, mask in zip(study.series, ("causal", "none"), strict=True):
        for count, found in zip((5, 16), series.error, strict=True):
            here = Ensemble(x[:, :count], Euclidean(4))
            matrix = jacobian_matrix(Attention(beta=0.8, mask=mask), here, of="attention")[0]
            expected = np.linalg.norm(matrix.reshape(4 * count, -1), 2)
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert (np.asarray(series.error) <= series.bound).all()


def test_layers_of_a_stack_are_measured_where_the_network_brings_a_text_of_that_length(tmp_path):
    generator = np.random.default_rng(3)
    x, value = generator.standard_normal((12, 4)), 0.5 * generator.standard_normal((2, 4, 4))
    np.savez(tmp_path / "model.npz", x=x, value=value)
    path = tmp_path / "stack.toml"
    path.write_text(
        '[tokens]\ninitial = { law = "file", file = "model.npz", array = "x" }\n[space]\nkind = "euclidean"\n'
        '[attention]\nvalue = { file = "model.npz", array = "value" }\n[block]\nnorm = "pre"\n'
        '[depth]\nweights = "independent"\nlayers = 2\nstep = 1.0\n[limit]\nkind = "regularity"\ntokens = [3, 12]\n'
    )
    study = limit(path)
    assert [series.name for series in study.series] == ["layer 0", "layer 1"]
    unit = lambda y: y / np.linalg.norm(y, axis=-1, keepdims=True)  # noqa: E731
    for place, count in enumerate((3, 12)):
        first = Ensemble(unit(x[:count]), Euclidean(4))
        moved = x[:count] + Attention(value=value[0]).drift(first.positions, space=Euclidean(4))[0]
        for layer, here in enumerate((first, Ensemble(unit(moved), Euclidean(4)))):
            expected = local_constant(Attention(value=value[layer]), here, of="attention").value[0]
            np.testing.assert_allclose(study.series[layer].error[place], expected, rtol=1e-4)


def test_a_flow_is_measured_at_its_depths():
    scenario = text("beta = 0.5", limit_keys="tokens = [4, 8]\ndepths = [0.0, 0.7]")
    study = limit(scenario)
    assert [series.name for series in study.series] == ["depth 0", "depth 0.7"]
    law, x = Attention(beta=0.5), tokens_of(scenario)
    end = integrate(law, Ensemble(x[:, :4], Euclidean(4)), t_end=0.7, rtol=1e-10, atol=1e-12).final
    expected = local_constant(law, Ensemble(end, Euclidean(4)), of="attention").value[0]
    np.testing.assert_allclose(study.series[1].error[0], expected, rtol=1e-3)


def test_parts_of_a_text_are_averaged():
    scenario = text("beta = 0.5", limit_keys="tokens = [4, 8]\nsamples = 3")
    study = limit(scenario)
    x, law = tokens_of(scenario), Attention(beta=0.5)
    parts = [Ensemble(x[:, start : start + 8], Euclidean(4)) for start in (0, 4, 8)]
    values = [local_constant(law, part, of="attention").value[0] for part in parts]
    np.testing.assert_allclose(study.series[0].error[1], np.mean(values), rtol=1e-4)
    np.testing.assert_allclose(study.series[0].spread[1], np.std(values, ddof=1) / np.sqrt(3), rtol=1e-2)


def test_laws_without_a_compiled_jacobian_are_measured_as_well():
    study = limit(text("rotary = 100.0", limit_keys="tokens = [4, 8]"))
    x = tokens_of(text())
    law = Attention(rotary=100.0)
    expected = local_constant(law, Ensemble(x[:, :8], Euclidean(4)), of="attention", backend="reference").value[0]
    np.testing.assert_allclose(study.series[0].error[1], expected, rtol=1e-4)
    assert study.series[0].bound is None


@pytest.mark.parametrize("bias", [None, [0.3, -0.2, 0.5]])
def test_every_other_token_gives_half_of_its_attention_to_a_steep_one(bias):
    law = Attention(beta=2.0, query_bias=bias, value=np.diag([1.0, 3.0, -1.0]))
    here = steep_ensemble(law, 3, 33, 4.0)
    x = here.positions[0]
    assert np.linalg.norm(x, axis=1).max() <= 4.0 * (1 + 1e-12)
    scores = 2.0 * (x + (0.0 if bias is None else np.array(bias))) @ x.T
    rows = np.exp(scores - scores.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows[1:, 0], 0.5, rtol=1e-12)


def test_steep_tokens_reach_a_fair_share_of_the_bound_and_grow_like_its_root():
    """One head, V = I and scores <x, y>: the bound is sqrt(n) (1 + r) + r, and sqrt(n) r / 8 is reached for large r."""
    law, counts = Attention(beta=1.0), np.array([16, 64, 256, 1024])
    found = [
        local_constant(law, steep_ensemble(law, 3, int(n), 30.0), of="attention", tolerance=1e-3).value[0]
        for n in counts
    ]
    limits = softmax_of_many(law, 3, counts, np.full(4, 30.0))
    one = bound("softmax", law, Euclidean(3), tokens=64, radius=30.0, of="attention").value
    np.testing.assert_allclose(limits[1], one, rtol=1e-14)
    assert (np.array(found) < limits).all()
    np.testing.assert_allclose(found / (np.sqrt(counts - 1.0) * 30.0**2 / 8.0), 1.0, atol=0.07)


def test_no_steep_tokens_in_a_small_ball_or_under_a_mask():
    with pytest.raises(InvalidInput, match=r"no two tokens with \|x\| <= 0.1"):
        steep_ensemble(Attention(), 3, 100, 0.1)
    with pytest.raises(InvalidInput, match="without mask"):
        steep_ensemble(Attention(mask="causal"), 3, 100, 1.0)
    with pytest.raises(InvalidInput, match="at least 3 tokens"):
        steep_ensemble(Attention(), 3, 2, 1.0)


def test_the_study_has_steep_tokens_and_its_own_figure():
    study = limit(text("beta = 4.0", limit_keys="tokens = [4, 8, 16]\nadversarial = true\nmasks = ['none', 'causal']"))
    *_, steep = study.series
    assert steep.name == "steepest depth 0"
    assert (np.asarray(steep.error) <= steep.bound).all()
    assert (np.asarray(steep.error) > study.series[0].error).all()
    titles = [axes.get_title("left") or axes.get_title() for axes in draw_study(study).axes]
    assert titles == ["without mask", "causal mask", "steepest tokens", "exponent"]
    assert len(draw_study(study, kind="rates").axes) == 3
    assert any("steepest tokens known" in remark for remark in study.remarks)


@pytest.mark.parametrize(
    ("scenario", "key"),
    [
        (lambda: text(limit_keys="tokens = [4, 17]"), "limit.tokens: must be at most the 16"),
        (lambda: text(count=6), "limit.tokens: must be two numbers"),
        (lambda: text(limit_keys="layers = [0]"), "limit.layers: belongs to a network"),
        (lambda: text(depth="layers = 3", limit_keys="layers = [3]"), "limit.layers: must be from 0 to 2"),
        (lambda: text(depth="layers = 3", limit_keys="depths = [1.0]"), "limit.depths: belongs to a flow"),
        (lambda: text(limit_keys="depths = [2.0]"), "limit.depths: must be at most"),
        (lambda: text("normalisation = 'sinkhorn'"), "attention: must be without gate"),
    ],
)
def test_what_the_study_is_not_for(scenario, key):
    with pytest.raises(ScenarioError, match=key):
        of_kind(scenario(), None)


def test_a_single_token_has_no_constant_of_attention(capsys, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[limit]\nkind = 'regularity'\ntokens = [1, 4]\n")
    assert main(["check", str(path)]) == 2
    assert "at least 2; got 1" in capsys.readouterr().err


@pytest.mark.slow
def test_minilm_regularity_says_what_it_promises():
    study = limit("minilm-regularity")
    free, causal, steep = study.series
    for series in (free, causal):
        assert 20 < series.error[0] < 26
        assert 29 < series.error[-1] < 31
        assert 0.05 < series.rate().value < 0.1
    assert abs(steep.rate().value - 0.49) < 0.01
    assert 60 < steep.error[-1] / free.error[-1] < 120
    assert 25 < steep.bound[-1] / steep.error[-1] < 40
