"""The table depth.schedule of scenario files: what it builds and refuses, and runs through the whole house."""

import attndyn
import numpy as np
import pytest
from attndyn import Ensemble, Sphere
from attndyn.errors import ScenarioError
from attndyn.particles.observables import measure
from attndyn.particles.weights import draw
from attndyn.scenarios.build import build
from attndyn.scenarios.schema import Scenario

BASE = """
title = "a test"
[tokens]
count = 6
dimension = 3
seed = 4
[attention]
beta = 2.0
query = { law = "gaussian" }
value = { law = "gaussian", scale = 2.0 }
[depth]
time = 1.0
weights = "schedule"
schedule = { kind = "piecewise", every = 0.25 }
[save]
every = 0.25
observables = ["mean_cosine", "attention_entropy"]
"""


def scenario(**changes):
    return Scenario.parse(BASE).override({key.replace("__", "."): value for key, value in changes.items()})


def process(correlation, **more):
    return {"depth__schedule": {"kind": "ornstein-uhlenbeck", "correlation": correlation, **more}}


def values(plan):
    return np.array([law.value for law in plan.laws])


def test_matrices_are_drawn_at_every_depth_and_what_is_given_stays():
    plan = build(scenario())
    assert plan.schedule.depths == (0.0, 0.25, 0.5, 0.75)
    assert not plan.schedule.interpolated
    np.testing.assert_array_equal(values(plan), [2.0 * draw("gaussian", 3, 3, 4, (k, 2)) for k in range(4)])
    assert all(law.key == 1.0 for law in plan.laws)
    plan = build(scenario(depth__schedule={"kind": "interpolated", "depths": [0.3, 2.0]}))
    assert plan.schedule.depths == (0.0, 0.3, 2.0)
    assert plan.schedule.interpolated
    assert build(scenario(depth__schedule={"kind": "interpolated", "every": 0.3})).schedule.depths[-1] >= 1.0


def test_a_process_lies_between_shared_and_independent():
    shared = build(scenario(depth__weights="shared")).laws[0]
    plan = build(scenario(**process(1e9, every=0.25)))
    np.testing.assert_allclose(values(plan), np.broadcast_to(shared.value, (5, 3, 3)), rtol=0, atol=2e-4)
    plan = build(scenario(**process(1e-3, every=0.25)))
    np.testing.assert_allclose(values(plan)[:4], values(build(scenario())), rtol=0, atol=1e-15)
    assert all(law.key == 1.0 for law in plan.laws)
    one, again = (values(build(scenario(**process(0.5)))) for _ in range(2))
    assert len(one) == 21
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - values(build(scenario(**process(0.5), tokens__seed=5)))).max() > 0.1


def test_by_default_the_depths_of_a_process_are_whole_steps():
    plan = build(scenario(**process(0.32), depth__method="rk4", depth__step=0.05))
    np.testing.assert_allclose(np.diff(plan.schedule.depths), 0.05, rtol=1e-12)
    layers = {"depth__layers": 8, "depth__step": 0.5, "save__every": 0.5}
    assert build(scenario(**process(2.0), **layers)).schedule.depths == tuple(0.5 * np.arange(9))


def test_the_feed_forward_map_follows_the_process():
    feed = {"block__feed_forward": {"hidden": 4}}
    laws = build(scenario(**process(0.5, every=0.5), **feed)).laws
    inner = [law.feed_forward.inner for law in laws]
    expected = np.exp(-1.0) * inner[0] + np.sqrt(1 - np.exp(-2.0)) * draw("gaussian", 4, 3, 4, (1, 4))
    np.testing.assert_allclose(inner[1], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "table", [{"kind": "piecewise", "every": 0.25}, {"kind": "ornstein-uhlenbeck", "correlation": 0.5}]
)
def test_a_run_measures_with_the_law_at_its_depth(table, tmp_path):
    one = scenario(depth__schedule=table)
    plan = build(one)
    with attndyn.run(one, out=tmp_path / "run.h5") as trajectory:
        solution = attndyn.integrate(plan.schedule, plan.ensemble, t_end=1.0, save_at=trajectory.times)
        np.testing.assert_array_equal(trajectory.positions[:], solution.positions)
        for frame, t in enumerate(trajectory.times):
            tokens = Ensemble(trajectory.positions[frame], Sphere(3))
            expected = measure(["attention_entropy"], tokens, plan.schedule.at(t))["attention_entropy"]
            np.testing.assert_array_equal(trajectory.observables["attention_entropy"][frame], expected)


def test_layers_take_the_schedule_and_the_root_scaling():
    layers = {"depth__layers": 4, "depth__step": 0.25, "save__every": 0.25}
    by_schedule = attndyn.run(scenario(**layers)).positions[:]
    one = scenario(**layers, depth__weights="independent", depth__scaling="1/sqrt(L)")
    assert one.depth.schedule is None
    np.testing.assert_array_equal(attndyn.run(one.override({"depth.scaling": None})).positions[:], by_schedule)
    x = build(one).ensemble.positions[0]
    for law in build(one).laws:
        x = x + np.sqrt(0.25) * np.asarray(_attention(law, x))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(attndyn.run(one).positions[-1][0], x, rtol=0, atol=1e-13)


def _attention(law, x):
    scores = law.beta * (x @ law.query.T) @ x.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ x @ law.value.T


def test_overrides_keep_a_schedule_or_take_it_away():
    assert scenario(depth__time=3.0).depth.schedule is not None
    assert scenario(depth__layers=3, depth__step=0.25).depth.schedule is not None
    assert scenario(depth__weights="shared").depth.schedule is None
    assert scenario(depth__schedule__depths=[0.5]).depth.schedule.every is None


FIXED = {"depth__method": "rk4", "depth__step": 0.1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth__schedule": None}, "depth.schedule: missing"),
        (
            {"depth__weights": "shared", "depth__schedule": {"kind": "piecewise", "every": 1.0}},
            "depth.schedule: belongs",
        ),
        ({"attention__query": 1.0, "attention__value": 1.0}, "depth.weights: .*needs a matrix to draw"),
        ({"depth__schedule": {"kind": "piecewise"}}, "depth.schedule.every: missing"),
        (
            {"depth__schedule": {"kind": "piecewise", "every": 1.0, "depths": [1.0]}},
            "depth.schedule.every: give either",
        ),
        ({"depth__schedule": {"kind": "interpolated", "depths": [1.0, 0.5]}}, "depth.schedule.depths: must increase"),
        ({"depth__schedule": {"kind": "interpolated", "depths": [-1.0]}}, "depth.schedule.depths.* at least 0"),
        ({"depth__schedule": {"kind": "sudden", "every": 1.0}}, "depth.schedule.kind: must be"),
        ({"depth__schedule": {"kind": "ornstein-uhlenbeck"}}, "depth.schedule.correlation: missing"),
        ({"depth__schedule": {"kind": "piecewise", "every": 1.0, "correlation": 1.0}}, "correlation: belongs to kind"),
        (process(1.0) | {"attention__value": {"law": "orthogonal"}}, "attention.value: must be of one of the laws"),
        (process(1e-9), "depth.schedule.every: must leave at most 100000"),
        (FIXED, "depth.schedule.every: must lie on multiples of the step 0.1; got 0.25"),
        (process(1.0) | {"depth__sums": "auto"}, 'depth.sums: must be "exact"'),
        ({"depth__scaling": "1/sqrt(L)"}, "depth.scaling: .* needs depth.layers"),
        ({"space__kind": "euclidean", "block__norm": "mix", "block__tau": 0.5}, "block.norm: .*depth of its own"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        build(scenario(**changes))
    assert "\n" not in str(caught.value)


def test_an_interpolated_schedule_needs_one_process():
    with pytest.raises(attndyn.InvalidInput, match="needs a run in one process"):
        attndyn.run(scenario(**process(1.0)), processes=2)
