"""The staircase of the energy: long plateaus of a fixed number of clusters, and quick rises where two of them merge."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.block import attention_of
from ...particles.observables import check_names, measure
from ..analysis.plateaus import Plateau, plateaus
from ..analysis.tree import ClusterTree
from .depths import DepthScale, mark
from .look import Look, Sheet
from .panels import changes_scale, power_of_ten, scale_values
from .tree import tree_of

Array = NDArray[np.float64]

MOST_FRAMES, FEWEST = 300, 8  # that are measured where the file does not hold the energy
MOST_WORK = 1e10  # multiplications for that
SMALL = 200  # tokens up to which NumPy measures: no kernel is compiled for so few
ENERGIES = ("energy", "log_energy")
LABELS = {"energy": "energy $E$", "log_energy": r"$\log (2 \beta E)$"}


def why_no_energy(look: Look) -> str | None:
    """Why there is no energy: neither does the file hold it, nor is it defined for the law."""
    if any(name in look.measured for name in ENERGIES):
        return None
    try:
        check_names(("energy",), look.law())
    except InvalidInput as error:
        return str(error)
    return None


def draw_energy(look: Look) -> Sheet:
    """The energy over log depth, as the file holds it or measured here, and below it the number of clusters.

    Plateaus are shaded, each with the number of its clusters of more than one token: see `data.analysis.plateaus`.
    """
    scale = DepthScale(look.times, marks=look.scale.marks, logarithmic=True)
    name, frames, energy, remarks = _energy(look, scale)
    tree = tree_of(look, scale)
    found = _plateaus(look, name, frames, energy, tree)
    figure = Figure(figsize=(5.0, 3.7))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.8, 1.0))
    _draw_energy(upper, name, look.times[frames], energy, scale)
    if "clusters" in look.measured:
        _draw_clusters(lower, look.times, look.observable("clusters"), scale)
    else:
        _draw_clusters(lower, tree.times, tree.counts().astype(np.float64), scale)
    scale.along_x(upper, label=False, ticks=8)
    scale.along_x(lower, ticks=8)
    _shade((upper, lower), found)
    shaded = ["shaded: plateaus, with their clusters of more than one token"] if found else ["no plateaus"]
    return Sheet(figure, [*remarks, *shaded])


def _energy(look: Look, scale: DepthScale) -> tuple[str, NDArray[np.intp], Array, list[str]]:
    """Which energy, the frames (k,) in which it is known, its values (k,), and what is to be said of it."""
    for name in ENERGIES:
        if name in look.measured and np.isfinite(look.observable(name)).any():
            return name, np.arange(len(look.times)), look.observable(name), []
    frames = _affordable(look, scale)
    backend = "reference" if look.tokens <= SMALL else "numba"
    values = {name: np.full(len(frames), np.nan) for name in ENERGIES}
    for place, frame in enumerate(frames):
        ensemble = look.ensemble(int(frame))
        if np.isfinite(ensemble.positions).all():
            measured = measure(ENERGIES, ensemble, look.law(int(frame)), backend=backend)
            for name in ENERGIES:
                values[name][place] = measured[name][0]
    name = "log_energy" if np.isinf(values["energy"]).any() else "energy"
    if not np.isfinite(values[name]).any():
        raise InvalidInput("the energy is not finite at any depth")
    some = "" if len(frames) == len(look.times) else f" at {len(frames)} of {len(look.times)} frames"
    return name, frames, values[name], [f"energy computed from the tokens{some}"]


def _affordable(look: Look, scale: DepthScale) -> NDArray[np.intp]:
    work = look.tokens**2 * attention_of(look.law()).heads * max(look.space.dimension, 8)
    return look.spread(int(np.clip(MOST_WORK / work, FEWEST, MOST_FRAMES)), scale)


def _plateaus(look: Look, name: str, frames: NDArray[np.intp], energy: Array, tree: ClusterTree) -> list[Plateau]:
    """By the energy where it is known in the frames of the tree, else at the depths between interpolated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = energy if name == "log_energy" else np.log(np.abs(energy))
    known = np.isfinite(levels)
    return plateaus(tree.times, tree.counts(2), np.interp(tree.times, look.times[frames][known], levels[known]))


def _draw_energy(axes: Axes, name: str, times: Array, energy: Array, scale: DepthScale) -> None:
    finite = np.isfinite(energy)
    power = power_of_ten(energy[finite])
    energy = energy / 10.0**power
    marker = "o" if len(times) <= 40 else None
    axes.plot(times[finite], energy[finite], color="C0", marker=marker, markersize=2.5)
    axes.set_ylabel(LABELS[name] + (rf" ($\times 10^{{{power}}}$)" if power else ""))
    scale_values(axes, energy[finite], whole=False, ticks=5)
    at = np.unique(np.abs(times[None, :] - scale.marks[:, None]).argmin(axis=1))
    mark(axes, times[at], energy[at], scale)


def _draw_clusters(axes: Axes, times: Array, clusters: Array, scale: DepthScale) -> None:
    axes.plot(times, clusters, color="0.25", drawstyle="steps-post")
    axes.set_ylabel("clusters")
    if changes_scale(clusters):
        scale_values(axes, clusters, whole=True)
    else:
        axes.set_ylim(0.0, 1.1 * float(np.nanmax(clusters)) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True, min_n_ticks=2))
    at = np.unique(np.abs(times[None, :] - scale.marks[:, None]).argmin(axis=1))
    mark(axes, times[at], clusters[at], scale)


def _shade(panels: tuple[Axes, ...], found: list[Plateau]) -> None:
    for plateau in found:
        for axes in panels:
            axes.axvspan(plateau.start, plateau.end, color="0.93", linewidth=0, zorder=0)
        middle = 0.5 * sum(panels[0].transData.transform([(plateau.start, 0), (plateau.end, 0)])[:, 0])
        at = panels[0].transData.inverted().transform((middle, 0))[0]
        panels[0].text(
            at, 0.97, str(plateau.clusters), transform=panels[0].get_xaxis_transform(), ha="center", va="top",
            fontsize=8, color="0.4",
        )  # fmt: skip
