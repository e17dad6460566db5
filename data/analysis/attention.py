"""Attention matrices at chosen depths: their entropy, their rank, and the tokens that lead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.attention_matrix import attention_parts, attention_rows, some_attention_rows
from ...particles.block import Law, attention_of, seen_by
from ...particles.ensemble import Ensemble
from ...particles.shape import RANKED
from ..excerpt import frames_along, frames_at, journey
from .ensembles import ensembles
from .subject import Subject
from .table import Table

Array = NDArray[np.float64]
LARGEST = 4000  # tokens of which a whole matrix is written out, 128 MB
LARGEST_RANKED = 1500  # tokens of which singular values are taken, in about a second
FRAMES = 4  # looked at by default, evenly along the way of the tokens


def attention_matrix(law: Law, ensemble: Ensemble, head: int = 0, replica: int = 0) -> Array:
    """w_ij of one replica and head, (tokens, tokens): how much of its attention token i pays to token j.

    As the attention in the law sees the tokens: with its mask, prior and normalisation, after that of its block. Its
    rows sum to 1 for softmax and others that make probabilities. The weights a_j are in it.

    replica : the number of the replica; the ensemble is of it alone or of all

    Raises InvalidInput for more than 4000 tokens, of which `attention_of_token` gives one row, and for a head that is
    not there.
    """
    if ensemble.tokens > LARGEST:
        raise InvalidInput(
            f"an attention matrix is for at most {LARGEST} tokens; got {ensemble.tokens}: take that of one token"
        )
    return _rows(law, ensemble, 0, ensemble.tokens, head, replica)


def attention_of_token(law: Law, ensemble: Ensemble, token: int, head: int = 0, replica: int = 0) -> Array:
    """Row `token` of the attention matrix, (tokens,), at any number of tokens. Arguments as in `attention_matrix`."""
    if not 0 <= token < ensemble.tokens:
        raise InvalidInput(f"token must be one of 0 ... {ensemble.tokens - 1}; got {token}")
    return _rows(law, ensemble, token, token + 1, head, replica)[0]


def attention_of_tokens(
    law: Law, ensemble: Ensemble, tokens: NDArray[np.integer], head: int = 0, replica: int = 0
) -> Array:
    """Some rows of the attention matrix, (rows, tokens), of these tokens. Arguments as in `attention_matrix`."""
    return some_attention_rows(attention_of(law), seen_by(law, ensemble), tokens, head, replica)


def _rows(law: Law, ensemble: Ensemble, first: int, last: int, head: int, replica: int) -> Array:
    attention = attention_of(law)
    if not 0 <= head < attention.heads:
        raise InvalidInput(f"head must be one of 0 ... {attention.heads - 1}; got {head}")
    return attention_rows(attention, seen_by(law, ensemble), first, last, head, replica)


def attention_table(subject: Subject) -> Table:
    """Entropy, rank and leaders of the attention of a replica at some depths, a row for each depth and head.

    entropy        : sum_i a_i (-sum_j p_ij log p_ij) in nats, p the row divided by its sum
    rank           : the number of singular values of (w_ij) above 1e-6 of the largest: 1 where all rows are alike
    effective_rank : exp of the entropy of the singular values, as of the tokens in `particles.shape`
    leaders        : how many tokens are the first choice, argmax_j w_ij, of some token i
    leader         : the token that receives most attention, and received: how much, sum_i a_i w_ij; 1 is all there is

    Ranks are NaN above 1500 tokens. Where there are few leaders the matrix is near a Boolean one of that rank, as it
    becomes in arXiv:2305.05465.
    """
    trajectory = subject.trajectory
    if subject.law_at is None:
        raise InvalidInput("attention needs the law of the run, which the scenario in the file does not tell")
    if subject.depths is None:
        frames = frames_along(*journey(trajectory, subject.replica), count=FRAMES)
    else:
        frames = frames_at(trajectory.times, subject.depths)
    rows: list[dict[str, Any]] = []
    for frame, ensemble in zip(frames.tolist(), ensembles(trajectory, frames, subject.replica), strict=True):
        depth = float(trajectory.times[frame])
        rows += [{"depth": depth} | head for head in _described(subject.law_at(depth), ensemble, subject.replica)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if trajectory.token_strings is not None:
        columns["leader_token"] = np.array([trajectory.token_strings[leader] for leader in columns["leader"]])
    unranked = trajectory.tokens > LARGEST_RANKED
    remark = f"ranks are those of matrices of at most {LARGEST_RANKED} tokens; here are {trajectory.tokens}"
    return Table("attention", columns, (remark,) if unranked else ())


def _described(law: Law, ensemble: Ensemble, replica: int) -> list[dict[str, Any]]:
    """Entropy, ranks and leaders of the matrix of each head, some rows at a time."""
    attention, weights, tokens = attention_of(law), np.asarray(ensemble.weights, np.float64), ensemble.tokens
    seen = np.flatnonzero(weights > 0)
    entropy, received = np.zeros(attention.heads), np.zeros((attention.heads, tokens))
    first: list[set[int]] = [set() for _ in range(attention.heads)]
    whole = np.zeros((attention.heads, tokens, tokens)) if tokens <= LARGEST_RANKED else None
    for part in attention_parts(attention, seen_by(law, ensemble), replica):
        if whole is not None:
            whole[part.head, part.rows, part.columns] = part.values
        here = weights[part.rows]
        total = part.values.sum(axis=1, keepdims=True)
        share = np.divide(part.values, total, out=np.zeros_like(part.values), where=total > 0)
        entropy[part.head] -= here @ np.sum(share * np.log(share, out=np.zeros_like(share), where=share > 0), axis=1)
        received[part.head, part.columns] += here @ part.values
        follows = (total[:, 0] > 0) & (here > 0)
        first[part.head].update((part.columns.start + part.values[follows].argmax(axis=1)).tolist())
    unknown = [(np.nan, np.nan)] * attention.heads
    ranks = unknown if whole is None else [_ranks(matrix[np.ix_(seen, seen)]) for matrix in whole]
    return [
        {
            "head": head,
            "entropy": float(entropy[head]),
            "rank": ranks[head][0],
            "effective_rank": ranks[head][1],
            "leaders": len(first[head]),
            "leader": int(received[head].argmax()),
            "received": float(received[head].max()),
        }
        for head in range(attention.heads)
    ]


def _ranks(matrix: Array) -> tuple[float, float]:
    """The numerical and the effective rank; NaN of a matrix that is not finite."""
    if not np.isfinite(matrix).all():
        return np.nan, np.nan
    singular = np.linalg.svd(matrix, compute_uv=False)
    share = singular / singular.sum() if singular.any() else singular
    effective = np.exp(-np.sum(share * np.log(share, out=np.zeros_like(share), where=share > 0)))
    return float(np.sum(singular > RANKED * singular[0])), float(effective) if singular.any() else 0.0
