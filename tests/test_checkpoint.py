"""A run that goes on from a checkpoint has every bit of the run that was not disturbed."""

import json

import numpy as np
import pytest
from attndyn import Attention, Block, Ensemble, Euclidean, FeedForward, InvalidInput, Schedule, Sphere, integrate
from attndyn.integrators import events
from attndyn.integrators.checkpoint import Checkpoint
from attndyn.particles import Focus, WeightSchedule

CIRCLE, SPHERE, PLANE = Sphere(2), Sphere(3), Euclidean(2)
LAW = Attention(beta=2.0)
MATRIX = np.random.default_rng(5).standard_normal((3, 3))
FEED = FeedForward(0.5 * np.random.default_rng(1).standard_normal((4, 3)), np.full((3, 4), 0.2), activation="gelu")
SAVE = np.linspace(0.0, 2.0, 9)

RUNS = {
    **{name: (LAW, SPHERE, {"method": name, "t_end": 2.0}) for name in ("bs32", "tsit5", "dp54", "dop853", "kencarp4")},
    **{
        name: (LAW, SPHERE, {"method": name, "t_end": 2.0, "step": 0.125})
        for name in ("euler", "heun", "rk4", "geodesic-euler")
    },
    **{
        name: (LAW, SPHERE, {"method": name, "t_end": 2.0, "step": 0.125, "noise": 0.1, "noise_step": 0.5, "seed": 4})
        for name in ("euler-maruyama", "heun-stratonovich")
    },
    **{
        name: (Block(LAW, FEED), SPHERE, {"method": name, "t_end": 2.0, "step": 0.125})
        for name in ("lie-trotter", "strang")
    },
    "a block": (Block(LAW, FEED, norm="peri"), Euclidean(3), {"t_end": 2.0}),
    "plane": (Attention(beta=1.0, value=-np.eye(2)), PLANE, {"t_end": 2.0}),
    "network": (LAW, SPHERE, {"layers": 16, "step": 0.125}),
    "independent layers": ([Attention(beta=b) for b in np.linspace(1, 3, 16)], SPHERE, {"layers": 16, "step": 0.125}),
    "network with noise": (LAW, SPHERE, {"layers": 16, "step": 0.125, "noise": 0.05}),
    "schedule": (
        Schedule((LAW, Attention(beta=4.0), Attention(beta=1.0, value=MATRIX)), (0.0, 0.7, 1.3)), SPHERE, {"t_end": 2.0}
    ),
    "weights in depth": (
        LAW, SPHERE,
        {"t_end": 2.0, "weighting": WeightSchedule(np.random.default_rng(0).dirichlet(np.ones(24), 2), (0.0, 1.0))},
    ),
    "focus": (LAW, SPHERE, {"t_end": 2.0, "weighting": Focus(position=[1.0, 0.0, 0.0], width=0.5)}),
    "exact save times": (LAW, SPHERE, {"t_end": 2.0, "exact": True}),
    "merging": (Attention(beta=6.0), CIRCLE, {"t_end": 60.0, "merge": 1e-3, "save_at": np.linspace(0.0, 60.0, 9)}),
    "fourier": (LAW, CIRCLE, {"t_end": 2.0, "sums": "fourier"}),
    "auto": (Attention(beta=6.0), CIRCLE, {"t_end": 8.0, "sums": "auto", "save_at": np.linspace(0.0, 8.0, 9)}),
    "an event": (Attention(beta=6.0), CIRCLE, {"t_end": 60.0, "stop": "clusters", "save_at": np.linspace(0, 60.0, 9)}),
    "torch": (LAW, SPHERE, {"t_end": 2.0, "backend": "torch"}),
    "reference": (LAW, SPHERE, {"t_end": 2.0, "backend": "reference"}),
}  # fmt: skip


class Stop(Exception):
    """Ends a run as a kill would: nothing is finished."""


def start(name, replicas=1):
    space = RUNS[name][1]
    return Ensemble.uniform(space, 4000 if name == "auto" else 24, replicas=replicas, seed=2)


def run(name, ensemble, frames, resume=None, after=None):
    """One run, or its piece until `after` further steps; frames are appended, the checkpoint there is returned."""
    law, _, options = RUNS[name]
    options = {"save_at": SAVE, **options}
    if options.get("stop"):
        options["stop"] = [events.clusters_left(ensemble, 2)]
    taken = []

    def checkpoint(make):
        taken.append(None)
        if after is not None and len(taken) == after:
            taken.append(make())
            raise Stop

    keep = lambda step, t, frame: frames.append((step, t, frame.positions, np.array(frame.weights)))  # noqa: E731
    try:
        solution = integrate(law, ensemble, on_save=keep, on_checkpoint=checkpoint, resume=resume, **options)
    except Stop:
        return taken[-1]
    return solution


def through_a_file(checkpoint):
    """As it would be read back: JSON and arrays of one's own."""
    arrays = {name: values.copy() for name, values in checkpoint.arrays.items()}
    return Checkpoint(json.loads(json.dumps(checkpoint.record)), arrays)


@pytest.mark.parametrize("pieces", [(1,), (2, 1, 1, 1, 1)], ids=["one interruption", "five interruptions"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_goes_on_has_the_bits_of_the_undisturbed_one(name, pieces):
    ensemble, frames, undisturbed = start(name), [], []
    whole = run(name, ensemble, undisturbed)
    checkpoint = None
    for after in pieces:
        checkpoint = run(name, ensemble, frames, checkpoint, after)
        assert isinstance(checkpoint, Checkpoint), "the run was over before it was interrupted"
        checkpoint = through_a_file(checkpoint)
        del frames[checkpoint.frames :]
    end = run(name, ensemble, frames, checkpoint)
    assert end.status == whole.status
    np.testing.assert_array_equal(end.final, whole.final)
    np.testing.assert_array_equal(end.merged_into, whole.merged_into)
    assert len(frames) == len(undisturbed)
    for one, other in zip(frames, undisturbed, strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_array_equal(one[2], other[2])
        np.testing.assert_array_equal(one[3], other[3])
    counts = ("drift_evaluations", "accepted", "rejected")
    assert [getattr(end.statistics, key) for key in counts] == [getattr(whole.statistics, key) for key in counts]
    assert end.record == whole.record


def test_many_replicas_go_on_to_the_same_bits():
    ensemble, frames, undisturbed = start("tsit5", replicas=7), [], []
    whole = run("tsit5", ensemble, undisturbed)
    checkpoint = run("tsit5", ensemble, frames, after=3)
    np.testing.assert_array_equal(run("tsit5", ensemble, frames, through_a_file(checkpoint)).final, whole.final)


def test_a_checkpoint_of_other_tokens_is_refused():
    checkpoint = run("tsit5", start("tsit5"), [], after=1)
    with pytest.raises(InvalidInput, match=r"state of the shape \(1, 24, 3\), the ensemble \(2, 24, 3\)"):
        run("tsit5", start("tsit5", replicas=2), [], checkpoint)
