"""Words that go with their tokens in a movie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_WORDS = 16
ROOM = (0.16, 0.04)  # of the picture, that a word takes


class Words:
    """The strings of some tokens beside their dots: words only, each once, and none over one before it.

    strings : one for each token; places : (tokens, 2 or more) where they are at first, where the outermost ones have
    the first choice
    """

    def __init__(self, axes: Axes, strings: Sequence[str], places: Array) -> None:
        outermost = np.argsort(-np.linalg.norm(np.nan_to_num(places[:, :2]), axis=1), kind="stable")
        size = float(np.abs(np.nan_to_num(places[:, :2])).max(initial=0.0)) or 1.0
        self._tokens: list[int] = []
        for token in outermost.tolist():
            known = [strings[other] for other in self._tokens]
            if len(self._tokens) == MOST_WORDS or strings[token] in known or not any(map(str.isalnum, strings[token])):
                continue
            if not any(_over(places[token], places[other], size) for other in self._tokens):
                self._tokens.append(token)
        self._words = [
            axes.annotate(
                strings[token],
                (0.0, 0.0),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
                color="0.15",
                bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.3},  # faster than an outline
                parse_math=False,
                annotation_clip=True,
                animated=True,
                zorder=5,
            )
            for token in self._tokens
        ]

    def artists(self) -> list[Artist]:
        """What is drawn, on top of the dots."""
        return list(self._words)

    def move(self, places: Array, reach: float) -> None:
        """Put the words beside their tokens at `places` (tokens, 2 or more), in a picture from -reach to reach.

        A word that would lie over an earlier one is left out.
        """
        shown: list[Array] = []
        for token, word in zip(self._tokens, self._words, strict=True):
            place = places[token, :2]
            visible = bool(np.isfinite(place).all()) and not any(_over(place, other, reach) for other in shown)
            word.set_visible(visible)
            if visible:
                word.xy = (float(place[0]), float(place[1]))
                shown.append(place)


def _over(place: Array, other: Array, reach: float) -> bool:
    apart = np.abs(place[:2] - other[:2]) / (2.0 * reach)
    return bool(apart[0] < ROOM[0] and apart[1] < ROOM[1])
