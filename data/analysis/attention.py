"""Attention matrices at chosen depths: their entropy, their rank, and the tokens that lead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.attention_matrix import attention_rows
from ...particles.block import Law, attention_of, seen_by
from ...particles.ensemble import Ensemble

Array = NDArray[np.float64]
LARGEST = 4000  # tokens of which a whole matrix is written out, 128 MB


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


def _rows(law: Law, ensemble: Ensemble, first: int, last: int, head: int, replica: int) -> Array:
    attention = attention_of(law)
    if not 0 <= head < attention.heads:
        raise InvalidInput(f"head must be one of 0 ... {attention.heads - 1}; got {head}")
    return attention_rows(attention, seen_by(law, ensemble), first, last, head, replica)
