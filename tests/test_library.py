"""Every bundled scenario runs, and what its comment promises is so."""

import re
from functools import cache

import attndyn
import numpy as np
import pytest
from attndyn import Ensemble, Sphere
from attndyn.particles.merging import plateaus
from attndyn.particles.observables import measure
from attndyn.scenarios.files import listing, source

# oracle 1.2, table 1: softmax, n = 32, beta = 4, from orthonormal tokens
EQUIANGULAR = {
    0.5: 0.014250870866,
    1.0: 0.035441398374,
    2.0: 0.118065652057,
    5.0: 0.952774849743,
    10.0: 0.999997738901,
}


@cache
def ran(name):
    """The trajectory of a bundled scenario."""
    return attndyn.run(name)


def observable(name, of):
    return ran(of).observables[name]


def at(trajectory, depth):
    """The index of the first frame at this depth or after it."""
    return int(np.searchsorted(trajectory.times, depth - 1e-12))


def inner_products(tokens):
    """<x_i, x_j> over pairs i < j of (..., tokens, dimension)."""
    above = np.triu_indices(tokens.shape[-2], 1)
    return (tokens @ np.swapaxes(tokens, -1, -2))[..., above[0], above[1]]


def test_the_ten_scenarios_of_the_first_release_are_bundled():
    assert set(attndyn.names()) >= {
        "minilm-alice",
        "sphere-clusters",
        "circle-metastable",
        "unnormalised-circle",
        "equiangular",
        "causal-sphere",
        "euclidean-polytope",
        "repulsive-sphere",
        "multi-head-random",
        "residual-network",
    }


@pytest.mark.parametrize("row", listing(), ids=lambda row: row["name"])
def test_every_bundled_scenario_says_what_it_is_whence_it_comes_and_what_one_sees(row):
    assert row["title"]
    assert row["source"]
    assert "\n# What one sees: " in source(row["name"])


# what their comments promise is looked at with fewer tokens, or in the tests of limit studies
LONG = (
    "circle-modes", "many-tokens", "minilm-depth", "minilm-fixed-point", "minilm-perturbation", "minilm-regularity",
    "noise-above-critical", "noise-below-critical", "phase-diagram",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in attndyn.names()]
)
def test_every_bundled_scenario_runs_to_its_end(name):
    trajectory = ran(name)
    assert re.fullmatch(r"finished|stopped: .*", trajectory.status)
    assert np.isfinite(trajectory.positions[-1]).all()
    assert all(np.isfinite(values).all() for values in trajectory.observables.values())
    if trajectory.space.name == "sphere":
        radius = np.linalg.norm(trajectory.positions[-1], axis=-1) / trajectory.space.radius
        np.testing.assert_allclose(radius, 1.0, atol=1e-14)


def test_minilm_alice_gathers_to_one_cluster():
    trajectory = ran("minilm-alice")
    assert trajectory.positions.shape[1:] == (1, 134, 384)
    assert trajectory.token_strings[:3] == ["[CLS]", "alice", "was"]
    assert trajectory.status.startswith("stopped: ")
    assert 1.0 < trajectory.times[-1] < 6.0
    clusters = observable("clusters", "minilm-alice")[:, 0]
    assert (clusters[0], clusters[-1]) == (134, 1)
    assert abs(observable("mean_cosine", "minilm-alice")[0, 0] - 0.078) < 0.001
    # the data's README: mean cosine at depth 1 with small steps
    assert abs(observable("mean_cosine", "minilm-alice")[at(trajectory, 1.0), 0] - 0.117) < 0.001
    assert observable("mean_cosine", "minilm-alice")[-1, 0] > 0.99
    rank = observable("effective_rank", "minilm-alice")[:, 0]
    assert 93 < rank[0] < 95
    assert rank.max() > 100
    assert rank[-1] < 10
    entropy = observable("attention_entropy", "minilm-alice")[:, 0]
    assert 2.2 < entropy[0] < 2.4
    assert abs(entropy[-1] - np.log(134)) < 0.05


def test_minilm_network_collapses_beyond_the_depth_of_the_model():
    cosine, clusters, rank = (
        observable(name, "minilm-network")[:, 0] for name in ("mean_cosine", "clusters", "effective_rank")
    )
    assert abs(cosine[0] - 0.078) < 0.001 and abs(cosine[6] - 0.843) < 0.001
    assert rank[6] < 0.5 * rank[0]
    assert clusters[6] == 134 and clusters[9] == 1
    apart = 1.0 - cosine
    assert apart[16] < 1e-8
    np.testing.assert_allclose(apart[10:16] / apart[11:17], 7.2, rtol=0.06)


def test_sphere_clusters_pauses_at_two_clusters_before_one():
    trajectory = ran("sphere-clusters")
    clusters = observable("clusters", "sphere-clusters")[:, 0]
    assert trajectory.status.startswith("stopped: ")
    assert 66 < trajectory.times[-1] < 68
    assert (clusters[at(trajectory, 20.0) : at(trajectory, 66.0)] == 2).all()
    assert clusters[-1] == 1
    assert (np.diff(observable("energy", "sphere-clusters")[:, 0]) > 0).all()  # oracle 3.1


def test_circle_metastable_keeps_seven_clusters():
    trajectory = ran("circle-metastable")
    clusters = observable("clusters", "circle-metastable")[:, 0]
    assert clusters[0] > 50
    assert (clusters[at(trajectory, 100.0) :] == 7).all()
    assert trajectory.times[-1] == 1000.0


def test_unnormalised_circle_conserves_the_mean_angle_and_climbs_in_energy():
    x = ran("unnormalised-circle").positions[:][:, 0]
    angles = np.unwrap(np.arctan2(x[..., 1], x[..., 0]), axis=0)
    assert np.abs(angles - angles[0]).max() > 1.0
    np.testing.assert_allclose(angles.mean(axis=1), angles[0].mean(), atol=1e-9)  # oracle 2.3
    assert (np.diff(observable("energy", "unnormalised-circle")[:, 0]) > 0).all()  # oracle 3.1
    assert observable("clusters", "unnormalised-circle")[-1, 0] == 2


def test_equiangular_follows_the_closed_form():
    trajectory = ran("equiangular")
    cosines = inner_products(trajectory.positions[:][:, 0])
    assert np.ptp(cosines, axis=1).max() < 1e-13
    for depth, cosine in EQUIANGULAR.items():
        assert abs(cosines[at(trajectory, depth)].mean() - cosine) < 1e-9


def test_causal_sphere_follows_the_first_token_which_does_not_move():
    x = ran("causal-sphere").positions[:][:, 0]
    assert np.abs(x[:, 0] - x[0, 0]).max() < 1e-14  # oracle 12.1
    assert np.linalg.norm(x[0] - x[0, 0], axis=-1).max() > 1.0
    assert np.linalg.norm(x[-1] - x[0, 0], axis=-1).max() < 1e-3  # oracle 12.2


def test_euclidean_polytope_shrinks_to_four_corners():
    trajectory = ran("euclidean-polytope")
    z = trajectory.positions[:][:, 0] * np.exp(-trajectory.times)[:, None, None]
    areas = [_hull_area(points) for points in z]
    assert (np.diff(areas) < 1e-9).all()  # oracle 4.1 (a)
    corners = np.unique(z[-1].round(2), axis=0)
    assert len(corners) == 4
    residual = (z[-1] @ z[-1].T).max(axis=1) - np.sum(z[-1] ** 2, axis=1)
    assert residual.max() < 5 * np.exp(-12.0) * np.ptp(z[-1])  # oracle 4.1 (b)
    assert observable("attention_entropy", "euclidean-polytope")[-1, 0] < 1e-12
    assert trajectory.observables["radius"][-1, 0] > 1e5


def _hull_area(points):
    """Area of the convex hull of points in the plane: Andrew's monotone chain and the shoelace formula."""

    def turns_left(a, b, c):
        return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]) > 0

    def half(ordered):
        chain = []
        for point in ordered:
            while len(chain) > 1 and not turns_left(chain[-2], chain[-1], point):
                chain.pop()
            chain.append(point)
        return chain[:-1]

    ordered = points[np.lexsort(points.T[::-1])]
    x, y = np.array(half(ordered) + half(ordered[::-1])).T
    return 0.5 * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))


@pytest.mark.parametrize(
    ("tokens", "products", "energy"),  # oracle 3.4
    [
        (12, [-1.0, -1 / np.sqrt(5), 1 / np.sqrt(5)], 0.454130659495),
        (6, [-1.0, 0.0], 0.480182974257),
        (4, [-1 / 3], 0.558081716002),
    ],
)
def test_repulsive_sphere_settles_in_the_regular_solids(tokens, products, energy):
    scenario = attndyn.load("repulsive-sphere")
    trajectory = attndyn.run(scenario.override({"tokens.count": tokens}))
    found = inner_products(trajectory.positions[-1][0])
    distance = np.abs(found[:, None] - products)
    assert distance.min(axis=1).max() < 1e-3
    assert set(distance.argmin(axis=1)) == set(range(len(products)))
    energies = trajectory.observables["energy"][:, 0]
    assert abs(energies[-1] - energy) < 1e-6
    assert (np.diff(energies) < 1e-12).all()  # oracle 3.1 with V = -B


def test_multi_head_random_forms_one_moving_cluster_in_every_replica():
    trajectory = ran("multi-head-random")
    assert trajectory.positions.shape[1:] == (4, 64, 16)
    clusters = observable("clusters", "multi-head-random")
    assert (clusters[0] == 64).all()
    assert (clusters[at(trajectory, 10.0) :] == 1).all()
    x = trajectory.positions[-2:]
    assert (np.linalg.norm(x[1] - x[0], axis=-1) > 0.01).all()


def test_residual_network_loses_the_rank_of_its_tokens():
    trajectory = ran("residual-network")
    np.testing.assert_array_equal(trajectory.times, np.arange(25.0))
    cosine, rank = (observable(name, "residual-network")[:, 0] for name in ("mean_cosine", "effective_rank"))
    assert (np.diff(cosine) > 0).all()
    assert (np.diff(rank) < 0).all()
    assert abs(cosine[0]) < 0.01
    assert cosine[-1] > 0.99
    assert rank[0] > 29
    assert rank[-1] < 1.2


def test_residual_network_without_its_residual_connection_loses_it_at_once():
    scenario = attndyn.load("residual-network")
    trajectory = attndyn.run(scenario.override({"depth.residual": False, "depth.layers": 4}))
    assert trajectory.observables["effective_rank"][-1, 0] < 1.2


def test_phase_diagram_gathers_most_starts_in_two_clusters():
    trajectory = ran("phase-diagram")
    share = trajectory.observables["aligned_pairs"]
    assert trajectory.positions.shape[1:] == (256, 32, 2)
    # on the circle two random tokens have a cosine of at least 1 - 1e-3 with probability acos(1 - 1e-3) / pi
    assert share[0].mean() == pytest.approx(np.arccos(1.0 - 1e-3) / np.pi, rel=0.05)
    assert share[at(trajectory, 6.0)].mean() == pytest.approx(0.29, abs=0.005)
    assert share[at(trajectory, 10.0)].mean() == pytest.approx(0.44, abs=0.005)
    assert 0.45 < share[-1].mean() < 0.55
    assert (share[-1] > 0.999).mean() < 0.02


def test_many_tokens_become_four_clusters_then_three_then_two():
    trajectory = ran("many-tokens")
    depths, merged_into = trajectory.merges
    left = {depth: len(np.unique(groups)) for depth, groups in zip(depths, merged_into, strict=True)}
    depth_of = {count: min(depth for depth, clusters in left.items() if clusters <= count) for count in (4, 3, 2)}
    assert depth_of[4] == pytest.approx(32.0, abs=2.0)
    assert depth_of[3] == pytest.approx(290.0, rel=0.02)
    assert depth_of[2] == pytest.approx(2167.0, rel=0.02)
    energy = trajectory.observables["energy"][:, 0]
    assert (np.diff(energy) > -1e-9 * energy[:-1]).all()
    assert trajectory.statistics["sums"] == "harmonics, then exact"
    assert trajectory.statistics["largest_sum_error"] < 1e-10
    x = trajectory.positions[-1][0]
    assert x[0] @ x[merged_into[-1] != merged_into[-1][0]][0] == pytest.approx(-1.0, abs=0.02)


def test_sinkhorn_heat_flow_spreads_at_the_rate_of_heat():
    trajectory = ran("sinkhorn-heat-flow")
    early = slice(at(trajectory, 20.0), at(trajectory, 100.0))

    def rate(run, part):
        return np.polyfit(run.times[part], np.log(run.observables["order"][part, 0]), 1)[0]

    beta = 20.0
    assert rate(trajectory, early) == pytest.approx(-1 / (2 * beta), rel=0.03)
    softmax = attndyn.run(attndyn.load("sinkhorn-heat-flow").override({"attention.normalisation": "softmax"}))
    assert rate(softmax, slice(5, 25)) == pytest.approx(-1 / beta, rel=0.05)


def test_l2_cloud_grows_less_than_under_dot_products():
    def growth(scenario):
        x = attndyn.run(scenario).positions[:][:, 0]
        return np.trace(np.cov(x[-1].T)) / np.trace(np.cov(x[0].T))

    scenario = attndyn.load("l2-cloud")
    assert 2.4 < growth(scenario) < 2.7 < np.exp(2.0)
    assert growth(scenario.override({"attention.score": "dot"})) > 7.0


def test_hardmax_leaders_stand_still_and_every_token_reaches_one():
    trajectory = ran("hardmax-leaders")
    z = trajectory.positions[:][:, 0] * np.exp(-trajectory.times)[:, None, None]
    leads = np.argmax(z[0] @ z[0].T, axis=1) == np.arange(40)
    assert leads.sum() == 6
    np.testing.assert_allclose(z[:, leads], np.broadcast_to(z[0, leads], z[:, leads].shape), atol=1e-7)
    to_leader = np.linalg.norm(z[-1][:, None] - z[-1, leads][None], axis=-1).min(axis=1)
    assert to_leader.max() < 5 * np.exp(-12.0) * np.ptp(z[0])
    assert np.abs(observable("attention_entropy", "hardmax-leaders")).max() == 0.0


def test_sparsemax_clusters_are_final():
    trajectory = ran("sparsemax-clusters")
    assert (observable("clusters", "sparsemax-clusters")[at(trajectory, 25.0) :, 0] == 5).all()
    x = trajectory.positions[:][:, 0]
    assert np.abs(x[-1] - x[at(trajectory, 100.0)]).max() < 1e-6
    softmax = attndyn.run(attndyn.load("sparsemax-clusters").override({"attention.normalisation": "softmax"}))
    assert softmax.observables["clusters"][-1, 0] == 1


def test_linear_antipodes_end_on_one_axis_at_both_ends():
    cosines = inner_products(ran("linear-antipodes").positions[-1][0])
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-12)
    assert 0.3 < (cosines < 0).mean() < 0.6
    assert observable("clusters", "linear-antipodes")[-1, 0] == 2


def test_circle_modes_shows_the_fastest_mode_in_most_replicas():
    x = attndyn.run(attndyn.load("circle-modes").override({"tokens.count": 500})).positions[:]
    angles = np.arctan2(x[..., 1], x[..., 0])
    modes = np.abs(np.exp(1j * np.arange(1, 8)[:, None, None, None] * angles).mean(axis=-1))  # (mode, frames, replicas)
    first = [int(modes[:, np.argmax(modes[:, :, r].max(axis=0) > 0.5), r].argmax()) + 1 for r in range(16)]
    assert max(set(first), key=first.count) == 3  # oracle 10.2
    assert first.count(3) > 8


def test_window_chain_agrees_along_the_text_before_it_agrees_across_it():
    trajectory = ran("window-chain")
    x = trajectory.positions[at(trajectory, 20.0)][0]
    assert np.sum(x[1:] * x[:-1], axis=1).min() > 0.98
    assert (x @ x.T).min() < -0.99


def test_random_weights_choose_the_clusters():
    scenario, runs = attndyn.load("random-weights"), {0.2: ran("random-weights")}
    runs |= {c: attndyn.run(scenario.override({"attention.multipliers.variation": c})) for c in (0.0, 0.02)}
    shifts, clusters = {}, {}
    for c, run in runs.items():
        x = run.positions[:]
        angles = np.arctan2(x[..., 1], x[..., 0])
        shifts[c] = np.sqrt(np.square(np.angle(np.exp(1j * (angles - angles[0])))).mean(axis=(1, 2)))
        clusters[c] = run.observables["clusters"]
    assert shifts[0.0][at(runs[0.0], 20.0)] < 1e-11
    assert (clusters[0.0] == 48).all()
    assert shifts[0.2][10] / shifts[0.02][10] == pytest.approx(10.0, rel=0.03)
    assert set(clusters[0.2][at(runs[0.2], 20.0)]) == {4, 5}
    gathered = {c: np.argmax(clusters[c] <= 8, axis=0).mean() * 0.5 for c in (0.2, 0.02)}
    assert gathered[0.02] - gathered[0.2] == pytest.approx(6.0, abs=1.0)
    x = runs[0.2].positions[-1]
    apart = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) + 9.0 * np.eye(48)
    assert np.median(apart.min(axis=-1)) < 1e-5  # all but clusters that have just met
    assert np.abs(x[0] - x[1]).max() > 0.1


def test_noise_above_critical_keeps_the_order_of_chance_but_not_of_independent_tokens():
    trajectory, order = ran("noise-above-critical"), observable("order", "noise-above-critical")
    kappa, critical = 0.6, 0.4463899658965  # oracle 11.2
    assert order.max() < 0.25
    late = 500 * np.square(order[at(trajectory, 20.0) :]).mean()
    assert late == pytest.approx(kappa / (kappa - critical), rel=0.25)


def test_noise_below_critical_gathers_tokens_in_a_cloud():
    trajectory, order = ran("noise-below-critical"), observable("order", "noise-below-critical")
    assert order[0].max() < 0.1
    late = order[at(trajectory, 50.0) :]
    assert late.min() > 0.6
    assert late.max() < 0.82
    assert late.mean() == pytest.approx(0.714577934512, abs=0.01)  # oracle 11.4


def test_peri_norm_keeps_apart_what_post_norm_joins():
    """At equal depth, from the same tokens: directions an angle of 0.1 apart, and the rank."""
    peri, start = ran("peri-norm"), attndyn.load("peri-norm")
    post = attndyn.run(start.override({"block.norm": "post", "space.kind": "sphere"}))
    pre = attndyn.run(start.override({"block.norm": "pre"}))
    np.testing.assert_allclose(peri.positions[0], post.positions[0], rtol=0, atol=1e-15)

    def directions(trajectory):
        x = trajectory.positions[-1][0]
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return int(measure(["clusters"], Ensemble(x, Sphere(3)))["clusters"][0])

    assert (directions(peri), directions(post)) == (20, 2)
    rank = {name: run.observables["effective_rank"][-1, 0] for name, run in (("peri", peri), ("post", post))}
    assert rank["peri"] == pytest.approx(2.81, abs=0.01)
    assert rank["post"] == pytest.approx(1.82, abs=0.01)
    assert peri.observables["radius"][-1, 0] == pytest.approx(15.9, abs=0.3)
    assert directions(pre) == pytest.approx(20, abs=3)
    entropy = peri.observables["attention_entropy"][:, 0]
    assert (np.diff(entropy) < 0.02).all()


def test_feed_forward_memories_hold_four_clusters():
    trajectory = ran("feed-forward-memories")
    clusters = observable("clusters", "feed-forward-memories")[:, 0]
    assert (clusters[at(trajectory, 5.0) :] == 4).all()
    section = attndyn.load("feed-forward-memories").block.feed_forward
    corners = np.array(section.inner) / 4.0
    nearest = (trajectory.positions[-1][0] @ corners.T).max(axis=1)
    assert nearest.min() == pytest.approx(0.992, abs=1e-3)
    weaker = (np.array(section.outer) / 2.0).tolist()
    joined = attndyn.run(attndyn.load("feed-forward-memories").override({"block.feed_forward.outer": weaker}))
    assert joined.observables["clusters"][at(joined, 10.0), 0] == 1


def test_forgetful_weights_keep_tokens_apart_for_longer():
    forgetful, start = ran("forgetful-weights"), attndyn.load("forgetful-weights")
    clusters = forgetful.observables["clusters"][:, 0]
    assert clusters[at(forgetful, 8.0)] == 48
    assert (clusters[at(forgetful, 16.0) :] == 2).all()
    shared = attndyn.run(start.override({"depth.weights": "shared"}))
    assert shared.observables["clusters"][at(shared, 8.0), 0] == 3
    shorter = attndyn.run(start.override({"depth.schedule.correlation": 0.2, "depth.time": 16.0}))
    assert shorter.observables["clusters"][-1, 0] == 48


def test_the_focus_goes_over_to_the_crowd_and_one_cluster_is_left():
    trajectory = ran("token-focus")
    few = trajectory.observables["token_weights"][:, 0, 2::3].sum(axis=-1)
    assert few[0] > 0.99
    assert few[at(trajectory, 3.0)] < 0.01
    assert trajectory.observables["focus_entropy"][[0, -1], 0] == pytest.approx([3.496, np.log(96)], abs=1e-3)
    clusters = observable("clusters", "token-focus")[:, 0]
    assert clusters[at(trajectory, 5.0)] == 2
    assert clusters[-1] == 1
    without = attndyn.run(attndyn.load("token-focus").override({"focus": None}))
    assert without.observables["clusters"][-1, 0] == 2


def test_circle_staircase_climbs_by_plateaus_to_depth_1e12():
    trajectory = ran("circle-staircase")
    assert trajectory.times[-1] == 1e12
    lasting = plateaus(*trajectory.merges, trajectory.times[-1], ratio=1.5)
    assert [plateau.clusters for plateau in lasting] == [50, 4, 3, 2]
    assert [plateau.end for plateau in lasting[1:]] == pytest.approx([650.2, 4.318e5, 6.873e11], rel=1e-3)
    energy, times = trajectory.observables["energy"][:, 0], trajectory.times
    assert (np.diff(energy) > -1e-12 * energy[1:]).all()
    levels = [energy[(times > 3.0 * plateau.start) & (times < plateau.end / 3.0)] for plateau in lasting[1:]]
    assert all(np.ptp(level) < 1e-3 * level[0] for level in levels)
    assert levels[1][0] > 1.1 * levels[0][-1]
    assert levels[2][0] > 1.7 * levels[1][-1]
    assert energy[-1] > 1.7 * levels[2][-1]
    # "flat between these depths": the level of two clusters, over five decades
    assert np.ptp(levels[2]) < 1e-6 * levels[2][0]
    assert trajectory.statistics["merge_drift_change"] < 1e-14
