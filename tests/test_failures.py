"""A run that cannot go on says where, which token, and why: every method, every backend."""

import json
import warnings

import attndyn
import numpy as np
import pytest
from attndyn import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere, integrate
from attndyn.cli import main
from attndyn.integrators import METHODS
from attndyn.integrators.failures import Setting, not_finite, step_too_small
from attndyn.integrators.fixed_point import fixed_point
from attndyn.integrators.implicit import UNSOLVED

BACKENDS = ["numba", "reference", "torch"]
SPLIT = {"lie-trotter", "strang"}
ONE = np.ones((1, 1, 3))
RAISING = FeedForward(inner=20.0 * np.eye(3), outer=np.eye(3), activation="relu")


def way_of(method):
    """The arguments of `integrate` for a method, or "layers", that suit every law here."""
    if method == "layers":
        return {"layers": 700}
    fixed = method in SPLIT or not METHODS[method].adaptive
    noise = {"noise": 1e-6} if method in METHODS and METHODS[method].stochastic else {}
    return {"method": method, "t_end": 700.0, "rtol": 1e-3} | ({"step": 0.5} if fixed else {}) | noise


@pytest.fixture(autouse=True)
def no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", [*METHODS, "layers"])
def test_a_token_without_bound_is_named_with_the_growth_of_the_value_matrix(method, backend):
    # x' = x is infinite nowhere, but its square overflows
    tokens = np.concatenate([1e-3 * ONE, 1e140 * ONE])  # the second replica is there first
    run = integrate(
        Attention(),
        Ensemble(tokens, Euclidean(3)),
        backend=backend,
        save_at=[0.0, 1.0],
        **way_of(method) | ({"layers": 700} if method == "layers" else {}),
    )
    assert run.status.startswith("failed: a token grew beyond all bounds at depth ")
    assert (run.failure.replica, run.failure.token) == (1, 0)
    assert 1e150 < run.failure.size < 1e155
    assert "(replica 1, token 0, |x| = " in run.status
    assert "tokens in R^d may run away, as the value matrix stretches like exp(1 t)" in run.status
    assert ("a step shorter than 0.5" in run.status) == (run.failure.layer is None and "step" in way_of(method))
    assert (", layer " in run.status) == (method == "layers")
    np.testing.assert_array_equal(run.times[:2], [0.0, 1.0])
    assert np.isfinite(run.positions).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", [*METHODS, "layers"])
def test_unnormalised_attention_is_blamed_at_its_beta_with_the_token(method, backend):
    tokens = np.full((2, 3, 3), 0.1)
    tokens[1, 2] = [9.0, 0.0, 0.0]
    law = Attention(beta=9.0, normalisation="none")  # exp(729) is too much for float64
    run = integrate(law, Ensemble(tokens, Euclidean(3)), backend=backend, **way_of(method))
    assert run.status.startswith("failed: ") and run.statistics.accepted == 0
    assert "not finite at depth " in run.status
    assert "(replica 1, token 2, |x| = 9 before the step)" in run.status
    assert "unnormalised attention grows like exp(beta |x|^2), here beta = 9" in run.status
    np.testing.assert_array_equal(run.final, tokens)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["euler", "tsit5", "kencarp4", "layers", *sorted(SPLIT)])
def test_a_feed_forward_map_that_raises_tokens_is_blamed(method, backend):
    law = Block(Attention(), feed_forward=RAISING)
    run = integrate(law, Ensemble(ONE, Euclidean(3)), backend=backend, **way_of(method))
    assert run.status.startswith("failed: a token grew beyond all bounds at depth ")
    assert "its feed-forward map is 20 times as long as the token" in run.status


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_in_single_precision_says_that_double_reaches_further(backend):
    tokens = Ensemble(np.ones((1, 2, 3), np.float32), Euclidean(3))
    run = integrate(Attention(), tokens, t_end=200.0, rtol=1e-3, backend=backend)
    assert "a token grew beyond all bounds" in run.status and "float64 reaches further" in run.status
    assert run.t < 90.0  # exp(89) is beyond float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sphere_bounds_tokens_but_not_what_unnormalised_attention_gives(backend):
    law = Attention(beta=800.0, normalisation="none")
    run = integrate(law, Ensemble.uniform(Sphere(3), 4, seed=0), t_end=1.0, backend=backend)
    assert "the drift is not finite at depth 0 (replica 0, token " in run.status
    assert "exp(beta r^2), here beta = 800: shift rescales its time" in run.status and "a sphere" not in run.status


def test_noise_that_throws_tokens_away_is_blamed():
    run = integrate(
        Attention(value=0.0), Ensemble(ONE, Euclidean(3)), t_end=30.0, method="euler-maruyama", step=1.0, noise=1e307
    )
    assert "noise of temperature 1e+307 moves it by " in run.status


@pytest.mark.parametrize(("normalisation", "said"), [("hardmax", "hardmax attention jumps"), ("softmax", "allow more")])
def test_a_run_of_too_many_steps_says_how_long_they_were_and_what_to_do(normalisation, said):
    tokens = Ensemble.uniform(Sphere(3), 8, seed=0)
    run = integrate(Attention(normalisation=normalisation), tokens, t_end=10.0, max_steps=3, backend="reference")
    assert run.status.startswith("failed: max_steps = 3 steps were taken, the last of ")
    assert said in run.status and "(replica 0, token " in run.status
    fixed = integrate(Attention(), tokens, t_end=10.0, max_steps=3, method="rk4", step=0.1, backend="reference")
    assert "the last of 0.1, at depth 0.3" in fixed.status and "allow more steps, or a longer step" in fixed.status


def test_what_shrank_the_step_is_told_apart():
    tokens = np.ones((1, 2, 3))
    setting = Setting(Attention(), Euclidean(3), None, None, 0.0)
    said = lambda error, speed=tokens: step_too_small(setting, 1.0, tokens, speed, error).told()  # noqa: E731
    assert said(2.0).startswith("the step size fell to the spacing of numbers at depth 1 ")
    assert said(np.nan).startswith("the drift is not finite at depth 1 ")
    assert said(UNSOLVED).startswith("the rounds of the implicit step converged for no length of the step")
    jumping = Setting(Attention(normalisation="hardmax"), Euclidean(3), None, None, 0.0)
    assert "take a fixed step" in step_too_small(jumping, 1.0, tokens, tokens, 2.0).told()
    broken = tokens.copy()
    broken[0, 1] = np.nan
    assert step_too_small(setting, 1.0, tokens, broken, np.nan).token == 1
    assert not_finite(setting, 1.0, tokens, broken).token == 1
    assert "token 1 'two\\nlines'" in not_finite(setting, 1.0, tokens, broken).told(["one", "two\nlines"])


RUNAWAY = """
[tokens]
initial = {{ law = "file", file = "tokens.npz", array = "x" }}
strings = {{ file = "words.txt" }}
[space]
kind = "euclidean"
[attention]
beta = 4.0
normalisation = "none"
[depth]
time = 30.0
{way}
[save]
every = {every}
"""


@pytest.mark.parametrize(
    ("way", "every"),
    [
        ("", 0.05),
        ('method = "rk4"\nstep = 0.05', 0.05),
        ('method = "heun-stratonovich"\nstep = 0.05\nnoise = 1e-9', 0.05),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_run_keeps_its_frames_and_ends_with_one_line_that_has_the_tokens_string(
    tmp_path, monkeypatch, capfd, backend, way, every
):
    monkeypatch.chdir(tmp_path)
    x = np.full((3, 3), 0.01)
    x[1] = [0.2, 0.3, 0.1]
    np.savez("tokens.npz", x=x)
    (tmp_path / "words.txt").write_text("the\nCheshire\ncat\n", "utf-8")
    (tmp_path / "away.toml").write_text(RUNAWAY.format(way=way, every=every), "utf-8")
    assert main(["run", "away.toml", "--backend", backend, "--json"]) == 1
    out, err = capfd.readouterr()
    assert err.count("\n") == 1 and err.startswith("attndyn: failed: ")
    assert "token 1 'Cheshire', |x| = " in err and "here beta = 4" in err
    with attndyn.open("away.h5") as run:
        assert json.loads(out)["status"] == run.status and "'Cheshire'" in run.status
        assert len(run) > 3
        assert np.isfinite(run.positions[:]).all()
        np.testing.assert_allclose(run.times[:4], every * np.arange(4))
    assert sorted(path.name for path in tmp_path.glob("away.h5*")) == ["away.h5"]


@pytest.mark.parametrize("method", ["picard", "anderson"])
def test_an_infinitely_deep_network_whose_tokens_run_away_names_the_layer_and_the_token(method):
    tokens = Ensemble(np.array([[[1.0, 0.0], [0.9, 0.1]]]), Euclidean(2))
    found = fixed_point(Attention(value=1e40), tokens, method=method, backend="reference")
    assert not found.converged
    assert found.status.startswith("failed: a token grew beyond all bounds at depth ")
    assert ", layer " in found.status and "(replica 0, token " in found.status
    assert "the value matrix stretches like exp(1e+40 t)" in found.status
