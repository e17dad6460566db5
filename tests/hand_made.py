"""Trajectory files of which every token's place is known."""

import numpy as np
from attndyn.data import TrajectoryWriter
from attndyn.particles import Ensemble


def hand_made(path, positions, space, times=None, weights=None, strings=None, observables=None, scenario=""):
    """A file of these positions (frames, replicas, tokens, dimension); the replicas' axis may be left out.

    observables : name -> (frames, replicas) or (frames, replicas, k)
    """
    positions = np.asarray(positions, np.float64)
    positions = positions[:, None] if positions.ndim == 3 else positions
    times = np.arange(len(positions)) if times is None else times
    observables = observables or {}
    with TrajectoryWriter(
        path,
        ensemble=Ensemble(positions[0], space, weights),
        scenario=scenario,
        observables={name: np.shape(values)[2:] for name, values in observables.items()},
        token_strings=strings,
    ) as writer:
        for row, (time, frame) in enumerate(zip(times, positions, strict=True)):
            writer.append(row, float(time), frame, {name: values[row] for name, values in observables.items()})
    return path
