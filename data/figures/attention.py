"""Attention matrices as heat maps: rows are the tokens that attend, columns those that they attend to."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.block import attention_of
from ..analysis.attention import attention_matrix, attention_of_tokens
from ..analysis.tree import cluster_tree
from ..excerpt import evenly
from .look import Look, Sheet
from .panels import number

Array = NDArray[np.float64]

MOST_HEADS, MOST_DEPTHS = 2, 4  # of which panels are drawn when none are asked for
MOST_PANELS = 24
WHOLE = 250  # tokens up to which all rows and columns are drawn
SHOWN = 160  # of more tokens so many, evenly
SINKHORN = 4000  # tokens up to which a normalisation that needs all rows for one is computed
POINTS = 72.0  # to the inch
LARGE, SMALL = 7.0, 4.5  # points: the sizes of letters for token strings; below, they do not fit
LARGEST_SIDE = 10.0  # inches
MOST_LEADERS = 8  # whose strings stand below a map


def why_no_attention(look: Look) -> str | None:
    """Why there are no attention matrices: the law is not known, or there are too many tokens for its rows."""
    try:
        attention = attention_of(look.law())
    except InvalidInput as error:
        return str(error)
    if attention.normalisation.name == "sinkhorn" and look.tokens > SINKHORN:
        return f"rows of sinkhorn hang together: at most {SINKHORN} tokens; the file has {look.tokens}"
    return None


def draw_attention(look: Look) -> Sheet:
    """A heat map for every head (down) and depth (across), all in the same colours.

    Token strings stand along all rows and columns where they fit; else below every map those of the tokens that get
    most attention in it. Tokens without strings that all see one another alike are put in the order of their clusters.
    """
    heads, frames = _heads(look), _frames(look)
    if len(heads) * len(frames) > MOST_PANELS:
        raise InvalidInput(f"at most {MOST_PANELS} panels are drawn; got {len(heads)} heads at {len(frames)} depths")
    tokens = np.arange(look.tokens) if look.tokens <= WHOLE else evenly(look.tokens, SHOWN)
    sorted_by_cluster = _may_sort(look)
    if sorted_by_cluster:
        tokens = _by_cluster(look, tokens)
    matrices = [[_matrix(look, int(frame), head, tokens) for frame in frames] for head in heads]
    norm, colours = _colours(np.array(matrices))
    strings = look.trajectory.token_strings
    names = None if strings is None else [str(strings[token]) for token in tokens]
    side = _side(len(heads), len(frames), names)
    beside = 0.45 if names is not None else 0.15
    size = (1.0 + beside + 1.04 * side * len(frames), 0.6 + (side + 0.2 + beside) * len(heads))
    width, height = (float(np.ceil(5.0 * length) / 5.0) for length in size)
    figure = Figure(figsize=(width, height), layout="compressed")
    panels = figure.subplots(len(heads), len(frames), squeeze=False)
    for head, row, row_panels in zip(heads, matrices, panels, strict=True):
        for frame, matrix, axes in zip(frames, row, row_panels, strict=True):
            edges = np.arange(len(tokens) + 1) - 0.5
            axes.pcolormesh(edges, edges, matrix, norm=norm, cmap=colours, rasterized=True, linewidth=0)
            axes.set_aspect("equal")
            axes.invert_yaxis()
            _name_axes(axes, matrix, names, side, first=axes is row_panels[0])
            title = f"$t = {number(look.times[frame])}$"
            axes.set_title(f"{title}, head {head}" if _count(look) > 1 else title)
            if sorted_by_cluster:
                axes.set_xticks([])
                axes.set_yticks([])
    mappable = ScalarMappable(norm, matplotlib.colormaps[colours])
    bar = figure.colorbar(mappable, ax=list(panels.flat), pad=0.02, aspect=25, shrink=0.9)
    bar.set_label("attention $w_{ij}$ of row $i$ to column $j$")
    bar.outline.set_linewidth(0.6)
    return Sheet(figure, _remarks(look, tokens, heads, sorted_by_cluster))


def _remarks(look: Look, tokens: NDArray[np.intp], heads: Sequence[int], sorted_by_cluster: bool) -> list[str]:
    remarks = [f"{len(tokens)} of {look.tokens} tokens are shown"] if len(tokens) < look.tokens else []
    remarks += [f"{len(heads)} of {_count(look)} heads"] if len(heads) < _count(look) else []
    return remarks + (["tokens in the order of their clusters"] if sorted_by_cluster else [])


def _side(heads: int, frames: int, names: list[str] | None) -> float:
    """The side of a map in inches: a single one is as large as the strings of its tokens need, if that is possible."""
    if heads * frames > 1:
        return 2.9 if frames <= 2 else 1.9
    needed = 0.0 if names is None else 1.1 * SMALL * len(names) / POINTS
    return max(4.2, needed) if needed <= LARGEST_SIDE else 4.2


def _may_sort(look: Look) -> bool:
    """Whether the order of tokens says nothing."""
    attention = attention_of(look.law())
    alike = attention.mask.name == "none" and attention.prior is None and attention.rotary is None
    return alike and look.trajectory.token_strings is None


def _by_cluster(look: Look, tokens: NDArray[np.intp]) -> NDArray[np.intp]:
    """Tokens that are together at the last of the depths beside one another, of these those before, and so on."""
    found = cluster_tree(look.trajectory, look.replica, distance=look.cluster_distance, frames=look.frames)
    return tokens[np.lexsort(found.labels[:, tokens])]


def _count(look: Look) -> int:
    return attention_of(look.law()).heads


def _heads(look: Look) -> list[int]:
    count = _count(look)
    if look.heads is None:
        return list(range(min(count, MOST_HEADS)))
    wrong = [head for head in look.heads if not (float(head).is_integer() and 0 <= head < count)]
    if wrong or not len(look.heads):
        raise InvalidInput(f"heads must be among 0 ... {count - 1}; got {', '.join(f'{head:g}' for head in wrong)}")
    return [int(head) for head in look.heads]


def _frames(look: Look) -> NDArray[np.intp]:
    return look.frames if look.chosen is not None else look.frames[evenly(len(look.frames), MOST_DEPTHS)]


def _matrix(look: Look, frame: int, head: int, tokens: NDArray[np.intp]) -> Array:
    law, ensemble = look.law(frame), look.ensemble(frame)
    if len(tokens) == look.tokens:
        return attention_matrix(law, ensemble, head, look.replica)[np.ix_(tokens, tokens)]
    return attention_of_tokens(law, ensemble, tokens, head, look.replica)[:, tokens]


def _colours(values: Array) -> tuple[Normalize, str]:
    """One scale for all: light is little and dark is much; where weights have signs, two colours around white."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    if low < 0:
        reach = max(-low, high)
        return TwoSlopeNorm(0.0, -reach, reach), "PuOr"
    return PowerNorm(0.5, 0.0, high or 1.0), "YlGnBu"


def _name_axes(axes: Axes, matrix: Array, names: list[str] | None, side: float, first: bool) -> None:
    """Token strings along rows and columns where they fit; else numbers, and below the strings of the leaders."""
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=LARGE)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    places, room = np.arange(len(matrix)), side * POINTS / len(matrix)
    size = min(LARGE, room / 1.1)
    if names is None:
        pass
    elif size >= 0.99 * SMALL:
        axes.tick_params(length=0)
        axes.set_yticks(places, names, fontsize=size, parse_math=False)
        axes.set_xticks(places, names, fontsize=size, rotation=90, parse_math=False)
    else:
        leaders = _leaders(matrix, names, 1.15 * LARGE / room)
        axes.set_xticks(
            leaders, [_short(names[place]) for place in leaders], fontsize=LARGE, rotation=90, parse_math=False
        )
    axes.tick_params(labelleft=first)


def _leaders(matrix: Array, names: list[str], apart: float) -> list[int]:
    """The columns with most attention, at most 8 that stand so far apart from one another."""
    total = np.nan_to_num(np.abs(matrix)).sum(axis=0)
    chosen: list[int] = []
    for column in np.argsort(-total, kind="stable").tolist():
        if total[column] < 1.5 * total.mean() or len(chosen) == MOST_LEADERS:
            break
        if all(abs(column - other) >= apart for other in chosen):
            chosen.append(column)
    return sorted(chosen)


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "…"
