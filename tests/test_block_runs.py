"""Runs of blocks: splitting, what is measured, merged, and what fails."""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.integrators import SPLITTING_METHODS, integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, RMSNorm, Sphere
from attndyn.particles.observables import measure
from plain_block import ATTENTION, WEIGHTS, D, block_of, norms, space_of, tokens

# splitting


@pytest.mark.parametrize("method", SPLITTING_METHODS)
@norms
def test_the_order_of_splitting(norm, method):
    start = Ensemble(tokens(norm), space_of(norm), WEIGHTS)
    block = block_of(norm, tau=0.25)
    flow = integrate(block, start, t_end=0.5, method="dop853", rtol=1e-12, atol=1e-13).final
    steps, errors = (32, 64, 128), []
    for n in steps:
        solution = integrate(block, start, t_end=0.5, method=method, step=0.5 / n)
        errors.append(np.linalg.norm(solution.final - flow))
        assert solution.statistics.drift_evaluations == n * (1 if method == "lie-trotter" else 2)
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(SPLITTING_METHODS[method].order, abs=0.15)


@pytest.mark.parametrize("method", [*SPLITTING_METHODS, "rk4"])
@norms
def test_runs_by_the_backends_agree(norm, method):
    start = Ensemble(tokens(norm), space_of(norm), WEIGHTS)
    ends = [
        integrate(block_of(norm, tau=0.25), start, t_end=0.5, method=method, step=0.125, backend=backend).final
        for backend in ("reference", "numba", "torch")
    ]
    np.testing.assert_allclose(ends[1:], ends[:1] * 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "pre", "peri"])
def test_lie_trotter_steps_are_the_layers_of_a_transformer_in_r_d(norm):
    start = Ensemble(tokens(norm), Euclidean(D), WEIGHTS)
    layers = integrate(block_of(norm), start, layers=6, step=0.1).final
    steps = integrate(block_of(norm), start, t_end=0.6, method="lie-trotter", step=0.1).final
    np.testing.assert_allclose(steps, layers, rtol=1e-13)


@pytest.mark.parametrize("method", SPLITTING_METHODS)
def test_a_splitting_between_its_steps_is_as_good_as_at_their_end(method):
    start = Ensemble(tokens("post"), space_of("post"), WEIGHTS)
    times, errors = np.array([0.111, 0.222, 0.333]), []
    exact = integrate(block_of("post"), start, t_end=0.5, method="dop853", rtol=1e-12, atol=1e-13, save_at=times)
    for n in (64, 128):
        found = integrate(block_of("post"), start, t_end=0.5, method=method, step=0.5 / n, save_at=times)
        plain = integrate(block_of("post"), start, t_end=0.5, method=method, step=0.5 / n)
        np.testing.assert_array_equal(found.final, plain.final)
        errors.append(np.linalg.norm(found.positions - exact.positions))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(SPLITTING_METHODS[method].order, abs=0.25)


# what is measured, merged, and what fails


def test_the_attention_that_is_measured_is_that_of_the_normalised_tokens():
    ensemble = Ensemble(3.0 * tokens("pre"), Euclidean(D), WEIGHTS)
    names = ["attention_entropy", "energy", "log_energy", "radius", "mean_cosine"]
    found = measure(names, ensemble, block_of("pre"))
    seen = Ensemble(tokens("pre", unit=True), Sphere(D), WEIGHTS)
    for name in names[:3]:
        np.testing.assert_allclose(found[name], measure([name], seen, ATTENTION)[name], rtol=1e-12)
    for name in names[3:]:
        np.testing.assert_array_equal(found[name], measure([name], ensemble)[name])
    zero = Block(Attention(beta=0.0), norm="pre")
    np.testing.assert_allclose(
        measure(["energy"], ensemble, zero)["energy"], measure(["energy"], seen, zero.attention)["energy"]
    )


def test_tokens_of_a_block_that_meet_become_one():
    angle = np.array([0.0, 0.3, 0.5, 3.0])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    block = Block(Attention(beta=4.0), FeedForward(np.eye(2), 0.1 * np.eye(2)), "post")
    how = {"t_end": 30.0, "rtol": 1e-9, "atol": 1e-11}
    merged = integrate(block, Ensemble(x, Sphere(2)), merge=1e-6, **how)
    plain = integrate(block, Ensemble(x, Sphere(2)), **how)
    assert len(set(merged.merged_into)) == 2
    np.testing.assert_allclose(merged.final, plain.final, rtol=0, atol=1e-5)


def test_a_part_that_gives_nothing_to_normalise_fails_the_run_and_says_so():
    block = Block(Attention(value=0.0), norm="peri")
    solution = integrate(block, Ensemble(tokens("peri"), Euclidean(D)), layers=3)
    assert solution.status.startswith("failed: the state is not finite")


def test_a_token_at_the_origin_has_no_direction_and_fails_the_run():
    x = tokens("pre")
    x[0, 2] = 0.0
    ensemble = Ensemble(x, Euclidean(D))
    with np.errstate(invalid="ignore"):
        assert np.isnan(measure(["attention_entropy"], ensemble, block_of("pre"))["attention_entropy"][0])
        assert integrate(block_of("pre"), ensemble, layers=2).status.startswith("failed: the state is not finite")


def test_mix_takes_no_step_across_its_switch():
    start = Ensemble(tokens("mix"), Euclidean(D), WEIGHTS)
    depths = []
    integrate(block_of("mix", tau=0.3), start, t_end=1.0, on_progress=lambda t, statistics: depths.append(t))
    assert 0.3 in depths
    frames = integrate(block_of("mix", tau=0.3), start, t_end=1.0, save_at=[0.15, 0.3, 1.0]).positions
    lengths = np.linalg.norm(frames, axis=-1)
    np.testing.assert_allclose(lengths[:2], 1.0, rtol=1e-14)
    assert np.abs(lengths[2] - 1.0).min() > 1e-3


@pytest.mark.parametrize(
    ("block", "space", "how", "message"),
    [
        (Block(ATTENTION, norm="post"), Euclidean(D), {}, '"post" is for tokens on a sphere; got space "euclidean"'),
        (Block(ATTENTION, norm="pre"), Sphere(D), {}, '"pre" is for tokens in R\\^d.*; got space "sphere"'),
        (Block(ATTENTION, norm="mix", tau=0.5), Sphere(D), {}, '"mix" is for tokens in R\\^d'),
        (Block(ATTENTION, norm="mix", tau=0.5), Euclidean(D), {}, "tokens must have length 1; got one of 2"),
        (Block(ATTENTION, norm="pre", normaliser=RMSNorm(np.ones(4))), Euclidean(D), {}, "gain must have 3 numbers"),
        (
            Block(ATTENTION, FeedForward(np.ones((2, 4)), np.ones((4, 2)))),
            Euclidean(D),
            {},
            "inner must have the shape",
        ),
        (Block(ATTENTION), Euclidean(D), {"method": "strang", "step": 0.1}, "'strang' splits attention from a feed"),
        (ATTENTION, Euclidean(D), {"method": "lie-trotter", "step": 0.1}, "'lie-trotter' splits attention from"),
        (block_of("pre"), Euclidean(D), {"method": "strang"}, "method 'strang' needs a step"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(block, space, how, message):
    with pytest.raises(InvalidInput, match=message):
        integrate(block, Ensemble(2.0 * tokens("pre", unit=True), space), t_end=1.0, **how)


def test_a_fixed_step_must_end_at_the_switch():
    start = Ensemble(tokens("mix"), Euclidean(D), WEIGHTS)
    with pytest.raises(InvalidInput, match=r"the depth of a switch must be multiples of the step 0.2 here; got 0.3"):
        integrate(block_of("mix", tau=0.3), start, t_end=1.0, method="rk4", step=0.2)
