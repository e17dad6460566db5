"""What a study of perturbations does to an ensemble: one token replaced, all displaced, some left out, the worst moved.

The adversary: displacements dx_i that are small beside the distances of tokens have W1 = sum_i a_i |dx_i|, and what it
becomes under a flow with the differential D is convex in them. So its largest ratio is that of one token alone,

    max over i, |u| = 1 of (1 / a_i) sum_j a_j |D_ji u|,

found by u <- sum_j a_j D_ji^T D_ji u / |D_ji u|, normalised, which never descends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.token_strings import place_of
from ...errors import InvalidInput
from ...particles import Ensemble
from ...particles.backends import Engine
from ..build import Plan, build
from ..schema import Scenario
from .course import even_depths, followed, quiet
from .keys import PerturbationKeys

Array = NDArray[np.floating]
LARGEST = 512  # components of an ensemble whose differential is written out
DIFFERENCE = 1e-5  # of the tokens' size: the error of a central difference is its square, beside rounding over it
ASCENTS = 200
SAME = 1e-12  # relatively, by which two tokens may differ that are the same
SHARE = 0.01  # of the tokens' size, by which they are displaced where nothing is said
COMPARED = 20  # depths


@dataclass(frozen=True)
class Swap:
    """The token `number` is replaced by the point `by` (dimension,); its text and that of what comes are the name."""

    name: str
    number: int
    by: Array


def swaps(keys: PerturbationKeys, plan: Plan) -> list[Swap]:
    """The replacements of a study. Raises InvalidInput, which begins with the key, for tokens that there are not."""
    here = np.asarray(plan.ensemble.positions[0], np.float64)
    assert keys.token is not None and keys.by is not None
    number = _number("limit.token", keys.token, len(here), plan.strings)
    source, strings = here, plan.strings
    if keys.rows is not None:
        given = plan.scenario.files.array(keys.rows.file, keys.rows.array)
        if given.ndim != 2 or given.shape[1] != here.shape[1] or not np.isfinite(given).all():
            raise InvalidInput(f"limit.rows: must hold (rows, {here.shape[1]}) finite numbers; got {given.shape}")
        source, strings = np.asarray(plan.ensemble.space.retract(given.astype(np.float64))), None
        if keys.row_strings is not None:
            strings = plan.scenario.files.strings(keys.row_strings.file, keys.row_strings.array)
            if len(strings) != len(source):
                raise InvalidInput(
                    f"limit.row_strings: must hold a text for each of {len(source)} rows; got {len(strings)}"
                )
    found: list[Swap] = []
    for one in keys.by:
        row = _number("limit.by", one, len(source), strings)
        by = source[row]
        if any((each.by == by).all() for each in found):
            raise InvalidInput(f"limit.by: {one!r} is named twice")
        if np.abs(by - here[number]).max() <= SAME * np.abs(here[number]).max():
            raise InvalidInput(f"limit.by: {one!r} is what is there already")
        # a / would be a group of the file
        name = f"{_text(number, plan.strings)} by {_text(row, strings)}".replace("/", "|")
        found.append(Swap(name if all(each.name != name for each in found) else f"{name} ({row})", number, by))
    return found


def changed(scenario: Scenario, plan: Plan, number: int, engine: Engine) -> Ensemble:
    """The ensemble after the change with this number, of those of `swaps` or of the samples."""
    keys = scenario.limit
    assert isinstance(keys, PerturbationKeys)
    here = plan.ensemble
    x: Array = np.array(here.positions, np.float64)
    generator = np.random.default_rng([scenario.tokens.seed if keys.seed is None else keys.seed, number])
    if keys.change == "swap":
        swap = swaps(keys, plan)[number]
        x[0, swap.number] = swap.by
    elif keys.change == "noise":
        x = here.space.retract(x + displacement(keys, here) * generator.standard_normal(x.shape))
    elif keys.change == "adversarial":
        token, direction = worst(scenario, engine)
        x[0, token] += displacement(keys, here) * direction
        x = here.space.retract(x)
    else:
        kept = np.sort(generator.permutation(here.tokens)[: kept_of(keys, here.tokens)])
        weights = _weights(here)[kept]
        if weights.sum() == 0.0:
            raise InvalidInput("all tokens of a positive weight are left out")
        return Ensemble(here.positions[:, kept], here.space, weights / weights.sum())
    return here.at(x.astype(here.positions.dtype))


def displacement(keys: PerturbationKeys, ensemble: Ensemble) -> float:
    """By how much tokens are displaced."""
    return SHARE * _size(ensemble) if keys.size is None else keys.size


def kept_of(keys: PerturbationKeys, tokens: int) -> int:
    """How many tokens are kept."""
    return -(-tokens // 2) if keys.keep is None else keys.keep


def compared_at(scenario: Scenario) -> Array:
    """The depths at which ensembles are compared, 0 the first."""
    keys = scenario.limit
    assert isinstance(keys, PerturbationKeys)
    if keys.depths is not None:
        return np.array([0.0, *sorted(set(keys.depths))])
    return even_depths(scenario, COMPARED)


def worst(scenario: Scenario, engine: Engine) -> tuple[int, Array]:
    """The token, and the unit direction (dimension,), in which a small displacement grows most at a compared depth."""
    plan = build(quiet(scenario))  # displaced tokens go in the same steps, whose errors cancel
    here = plan.ensemble
    tokens, dimension = here.positions.shape[1:]
    step = DIFFERENCE * _size(here)
    moves = step * np.eye(tokens * dimension).reshape(-1, tokens, dimension)
    x = np.asarray(here.positions, np.float64)
    both = Ensemble(here.space.retract(np.concatenate([x + moves, x - moves])), here.space, _weights(here))
    frames = followed(plan, engine, compared_at(scenario)[1:], both).positions
    best = (0.0, 0, np.zeros(dimension))
    for ahead, behind in zip(*np.split(frames, 2, axis=1), strict=True):
        differential = ((ahead - behind) / (2.0 * step)).reshape(tokens, dimension, tokens, dimension)
        growth, directions = steepest(differential, _weights(here))
        token = int(growth.argmax())
        best = max(best, (float(growth[token]), token, directions[token]), key=lambda each: each[0])
    return best[1], here.space.project(x[0, best[1]], best[2])


def steepest(differential: Array, weights: Array) -> tuple[Array, Array]:
    """For each token the largest growth of W1 by a displacement of it alone, (tokens,), and its unit direction.

    differential : (tokens, dimension, tokens, dimension), what a displacement of token i along k does to token j
    """
    maps = np.moveaxis(differential, 1, -1)  # (token i, token j, component, along k)
    each = np.sqrt(weights)[:, None, None] * maps
    stacked = each.reshape(len(maps), -1, maps.shape[-1])
    u = np.linalg.svd(stacked, full_matrices=False)[2][:, 0]
    for _ in range(ASCENTS):
        moved = np.einsum("ijck,ik->ijc", maps, u)
        lengths = np.linalg.norm(moved, axis=-1, keepdims=True)
        pull = weights[:, None] * np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > 0)
        u = np.einsum("ijck,ijc->ik", maps, pull)
        u /= np.maximum(np.linalg.norm(u, axis=-1, keepdims=True), 1e-300)
    moved = np.linalg.norm(np.einsum("ijck,ik->ijc", maps, u), axis=-1)
    growth = np.divide(moved @ weights, weights, out=np.zeros(len(weights)), where=weights > 0)
    return growth, u


def _number(key: str, token: int | str, count: int, strings: list[str] | None) -> int:
    if isinstance(token, str):
        if strings is None:
            raise InvalidInput(f"{key}: must be a number, for there are no texts; got {token!r}")
        if (place := place_of(token, strings)) is not None:
            return place
        raise InvalidInput(f"{key}: must be a token's text; {token!r} is none")
    if not 0 <= token < count:
        raise InvalidInput(f"{key}: must be from 0 to {count - 1}; got {token}")
    return token


def _text(number: int, strings: list[str] | None) -> str:
    return str(number) if strings is None else strings[number]


def _weights(ensemble: Ensemble) -> Array:
    return np.asarray(np.broadcast_to(np.asarray(ensemble.weights, np.float64), ensemble.positions.shape[:2])[0])


def _size(ensemble: Ensemble) -> float:
    """The root mean square of the lengths of tokens; 1 where all are 0."""
    squares = np.square(np.asarray(ensemble.positions, np.float64)).sum(axis=-1).mean()
    return float(np.sqrt(squares)) or 1.0
