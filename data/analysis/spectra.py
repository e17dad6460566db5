"""The spectra of every layer and head as tables: a row a head of the scores and of the values, a row an eigenvalue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidInput
from ...particles.regularity.spectra import HeadSpectra, Spectrum
from .table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from ..figures.page import Style

MATRICES = ("scores", "values")


@dataclass(frozen=True, eq=False)
class Spectra:
    """What `attndyn.spectrum` found.

    title   : of the scenario
    heads   : the number of a layer, counted from 0 -> the spectra of its heads
    remarks : sentences: what is not in the matrices
    """

    title: str
    heads: Mapping[int, Sequence[HeadSpectra]]
    remarks: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, Table]:
        """The tables "scores", "values" and "eigenvalues" by their names."""
        return {
            "scores": Table("scores", self._summary("scores")),
            "values": Table("values", self._summary("values") | self._triples()),
            "eigenvalues": Table("eigenvalues", self._eigenvalues()),
        }

    def plot(self, out: str | Path | None = None, *, of: str = "values", style: Style | None = None) -> Figure:
        """Draw the eigenvalues of the values or scores of every head: see `data.figures.spectrum.draw_spectra`."""
        from ..figures.spectrum import draw_spectra  # imports matplotlib, which takes a while

        return draw_spectra(self, of=of, out=out, style=style)

    def each(self, matrix: str) -> Iterator[tuple[int, int, Spectrum]]:
        """Layer, head and the spectrum of its "scores" or "values". Raises InvalidInput for another name."""
        if matrix not in MATRICES:
            raise InvalidInput(f"spectra are of {' or '.join(MATRICES)}; got {matrix!r}")
        for layer, heads in self.heads.items():
            for head, spectra in enumerate(heads):
                yield layer, head, getattr(spectra, matrix)

    def _summary(self, matrix: str) -> dict[str, Any]:
        rows = [*self.each(matrix)]
        spectra = [spectrum for _, _, spectrum in rows]
        return {
            "layer": np.array([layer for layer, _, _ in rows]),
            "head": np.array([head for _, head, _ in rows]),
            "rank": np.array([one.rank for one in spectra]),
            "norm": np.array([one.norm for one in spectra]),
            "radius": np.array([one.radius for one in spectra]),
            "leading": np.array([one.eigenvalues[0].real for one in spectra]),
            "leading_imaginary": np.array([abs(one.eigenvalues[0].imag) for one in spectra]),
            "kind": np.array([one.kind for one in spectra]),
            "share_positive": np.array([one.to_the_right for one in spectra]),
            "signature_plus": np.array([one.positive for one in spectra]),
            "signature_minus": np.array([one.negative for one in spectra]),
        }

    def _triples(self) -> dict[str, Any]:
        every = [head for heads in self.heads.values() for head in heads]
        return {
            "own_score": np.array([head.own_score for head in every]),
            "good_triple": np.array([head.good_triple for head in every]),
        }

    def _eigenvalues(self) -> dict[str, Any]:
        rows = [(layer, head, name, one) for name in MATRICES for layer, head, one in self.each(name)]
        counts = [len(one.eigenvalues) for *_, one in rows]
        values = np.concatenate([one.eigenvalues for *_, one in rows])
        return {
            "matrix": np.repeat([name for _, _, name, _ in rows], counts),
            "layer": np.repeat([layer for layer, *_ in rows], counts),
            "head": np.repeat([head for _, head, *_ in rows], counts),
            "number": np.concatenate([np.arange(count) for count in counts]),
            "real": values.real,
            "imaginary": values.imag,
            "singular": np.concatenate([one.singular for *_, one in rows]),
        }
