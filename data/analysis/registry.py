"""Analyses by name: what `attndyn analyze` knows besides the observables. A new one is a function and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .attention import attention_table
from .members import members
from .plateaus import plateaus_of
from .similarity import similarity
from .subject import Subject
from .table import Table
from .tree import tree
from .wasserstein import distances


@dataclass(frozen=True)
class Analysis:
    """A named analysis of one replica over depth, whose result is rows."""

    name: str
    function: Callable[[Subject], Table]
    description: str


_ROWS: tuple[Analysis, ...] = (
    Analysis("tree", tree, "merges and splits of clusters: who joined whom, when"),
    Analysis("members", members, "which tokens every cluster holds, the largest first"),
    Analysis("plateaus", plateaus_of, "metastable plateaus: start, end, clusters, level"),
    Analysis("wasserstein", distances, "Wasserstein distances W1 and W2 between depths"),
    Analysis("similarity", similarity, "histograms of the cosines of pairs of tokens by depth"),
    Analysis("attention", attention_table, "entropy, rank and leaders of the attention matrices"),
)

ANALYSES = {analysis.name: analysis for analysis in _ROWS}
