"""Analyses by name: what `attndyn analyze` knows besides the observables. A new one is a function and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .plateaus import plateaus_of
from .subject import Subject
from .table import Table
from .tree import tree


@dataclass(frozen=True)
class Analysis:
    """A named analysis of one replica over depth, whose result is rows."""

    name: str
    function: Callable[[Subject], Table]
    description: str


_ROWS: tuple[Analysis, ...] = (
    Analysis("tree", tree, "merges and splits of clusters: who joined whom, when"),
    Analysis("plateaus", plateaus_of, "metastable plateaus: start, end, clusters, level"),
)

ANALYSES = {analysis.name: analysis for analysis in _ROWS}
