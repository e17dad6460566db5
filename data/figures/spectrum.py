"""The eigenvalues of every layer and head in the complex plane, small multiples: layers down, heads across."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from ...errors import InvalidInput
from ...particles.regularity.spectra import Spectrum
from ..analysis.spectra import MATRICES, Spectra
from ..excerpt import evenly
from .page import Style, checked_out, inscribe, save, styled

MOST_LAYERS, MOST_HEADS = 12, 16
WIDE = 6  # panels beside each other: heads of a single layer stand in rows of so many
NAMES = {"values": "O_h V_h", "scores": "beta Q_h^T K_h"}


def draw_spectra(
    spectra: Spectra, *, of: str = "values", out: str | Path | None = None, style: Style | None = None
) -> Figure:
    """Draw the eigenvalues of the "values" or "scores" and, when `out` is given, save the figure.

    All panels have the same axes; the leading eigenvalue is full, the circle is that of its modulus, and heads whose
    values are those of a good triple have a coloured title. Source: arXiv:2305.05465.
    Raises InvalidInput for another matrix, and for a file that cannot be written.
    """
    if of not in MATRICES:
        raise InvalidInput(f"eigenvalues are drawn of {' or '.join(MATRICES)}; got {of!r}")
    out = checked_out(out)
    layers = [[*spectra.heads][place] for place in evenly(len(spectra.heads), MOST_LAYERS)]
    count = len(spectra.heads[layers[0]])
    heads = [int(head) for head in evenly(count, MOST_HEADS)]
    cells = [(layer, head) for layer in layers for head in heads]
    across = len(heads) if len(layers) > 1 else min(WIDE, len(heads))
    down = -(-len(cells) // across)
    side = max(0.8, min(1.9, 12.0 / across))
    reach = 1.08 * max(getattr(spectra.heads[layer][head], of).radius for layer, head in cells) or 1.0
    with styled(style):
        figure = Figure(figsize=(max(4.0, 0.7 + side * across), 0.9 + (side + 0.16) * down))
        panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(cells) :]:
            axes.set_visible(False)
        for axes, (layer, head) in zip(panels.flat, cells, strict=False):
            one = spectra.heads[layer][head]
            _panel(axes, getattr(one, of), reach)
            name = f"head {head}" if len(layers) == 1 else f"{layer}.{head}"
            axes.set_title(name, fontsize=7, pad=2, color="C2" if one.good_triple else "black")
        figure.supylabel("imaginary part", fontsize=8)
        panels[-1, 0].set_xlabel("real part")
        shown = [] if len(cells) == count * len(spectra.heads) else [f"{len(cells)} of {count * len(spectra.heads)}"]
        what = "layer.head" if len(layers) > 1 else f"layer {layers[0]}"
        facts = [f"eigenvalues of the {of}, {NAMES[of]}", what, *shown]
        good = sum(one.good_triple for every in spectra.heads.values() for one in every)
        inscribe(figure, spectra.title, [*facts, f"green: the {good} good triples", *spectra.remarks])
        if out is not None:
            save(figure, out)
    return figure


def _panel(axes: Axes, spectrum: Spectrum, reach: float) -> None:
    values = spectrum.eigenvalues
    axes.axhline(0.0, color="0.8", linewidth=0.5, zorder=0)
    axes.axvline(0.0, color="0.8", linewidth=0.5, zorder=0)
    axes.add_patch(Circle((0.0, 0.0), spectrum.radius, fill=False, edgecolor="0.7", linewidth=0.5, zorder=0))
    leading = np.abs(values) >= (1.0 - 1e-9) * spectrum.radius
    axes.plot(values[~leading].real, values[~leading].imag, "o", markersize=2.0, mfc="none", mec="C0", mew=0.6)
    axes.plot(values[leading].real, values[leading].imag, "o", markersize=3.2, color="C1")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=6, length=1.5)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
