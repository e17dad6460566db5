"""The figures on a page: pictures in letters, each with what one sees on it in words and numbers."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import AttndynError, InvalidInput
from ...particles.block import Law
from .clusters import Clusters
from .thinning import Choice

MOST_BYTES = 2_000_000  # of all pictures of a page
SHRUNK = 2 / 3  # to which a picture is shown, fine enough for screens of twice the pixels
COLOURS = 256  # of a picture, which take a third of the bytes
ELSEWHERE = ("observables", "similarity", "ridge")  # charts of the page, or beside the tokens in the first figure
MOST_LEAVES = 64  # of a tree
LONG = ("lipschitz",)  # which would take longer than all the others
PORTRAITS = ("circle", "sphere", "line", "plane", "components")  # of these the first that suits: the page has its own

SHOWS = {
    "circle": "The angles of the tokens over depth; observables; histograms of the similarity of pairs",
    "line": "The coordinates of the tokens over depth",
    "sphere": "The paths of the tokens on the sphere, light at the start and dark at the end",
    "plane": "The paths of the tokens in the plane, light at the start and dark at the end",
    "components": "The paths of the tokens in the first two principal components of the first and the last frame",
    "energy": "The energy and the number of clusters over the logarithm of depth",
    "tree": "The tree of clusters: which joined which, and when",
    "attention": "Attention matrices at some depths, of some heads: dark where a token attends to another",
}


@dataclass(frozen=True)
class Picture:
    """A picture: `source`, a data: URL; `caption`; `words`, what is seen on it; the size at which it is shown."""

    source: str
    caption: str
    words: str
    width: int
    height: int


def picture_of(draw: Callable[[Path], Any], caption: str, words: str) -> Picture:
    """What `draw` draws into the .png file that it is given."""
    from PIL import Image  # which matplotlib needs as well

    with tempfile.TemporaryDirectory(prefix="attndyn-") as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        with Image.open(path) as image:
            few = image.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    few.save(stream, "PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(source, caption, words, *(round(SHRUNK * length) for length in few.size))


def pictures_of(
    trajectory: Any, choice: Choice, clusters: Clusters, law_at: Callable[[float], Law] | None
) -> tuple[list[Picture], list[str]]:
    """The figures that suit a trajectory, and sentences about those that could not be drawn or had no room."""
    from ..figures.drawing import draw, kinds_for  # imports matplotlib, which takes a while

    found: list[Picture] = []
    left_out: list[str] = []
    numbers = " ".join(_in_numbers(trajectory, choice, clusters))
    kinds = [kind for kind in kinds_for(trajectory, law_at or _unknown) if kind not in (*ELSEWHERE, *LONG)]
    if len(choice.tokens) > MOST_LEAVES and "tree" in kinds:
        kinds.remove("tree")  # taller than the page
    portraits = [kind for kind in kinds if kind in PORTRAITS]
    for kind in (kind for kind in kinds if kind not in portraits[1:]):
        caption = SHOWS.get(kind, kind.replace("_", " ").capitalize())

        def drawn(path: Path, kind: str = kind) -> None:
            draw(trajectory, kind=kind, out=path, replica=choice.replica, law_at=law_at or _unknown)

        try:
            picture = picture_of(drawn, f"{caption}.", f"{caption}. {numbers}")
        except (AttndynError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            left_out.append(f"The figure {kind} could not be drawn: {error}")
            continue
        if sum(len(other.source) for other in [*found, picture]) > MOST_BYTES:
            left_out.append(f"There was no room for the figure {kind}; attndyn plot --kind {kind} draws it.")
            continue
        found.append(picture)
    return found, left_out


def _unknown(t: float) -> Law:
    """The law, where the scenario is not understood: a trajectory is not to be asked for it again."""
    raise InvalidInput("the law is not known")


def _in_numbers(trajectory: Any, choice: Choice, clusters: Clusters) -> Iterator[str]:
    """How many tokens and clusters there are and when, and from where to where the observables go."""
    times = np.asarray(trajectory.times)[choice.frames]
    yield f"{choice.all_tokens} tokens from depth {times[0]:.4g} to {times[-1]:.4g}."
    known = clusters.counts >= 0
    if known.any():
        counts, depths = clusters.counts[known], times[known]
        changes = np.flatnonzero(np.diff(counts, prepend=-1))
        some = np.unique([*changes[:1], *changes[np.linspace(0, len(changes) - 1, 5).astype(int)]])
        yield "Clusters: " + ", ".join(f"{counts[k]} at depth {depths[k]:.3g}" for k in some) + "."
    for name, values in trajectory.observables.items():
        curve = np.asarray(values)[:, choice.replica]
        finite = curve[np.isfinite(curve)] if curve.ndim == 1 else np.empty(0)
        if len(finite) and name != "clusters":
            way = "stays near" if np.ptp(finite) <= 1e-3 * abs(finite[0]) else "goes from"
            to = f"{finite[0]:.3g}" if way == "stays near" else f"{finite[0]:.3g} to {finite[-1]:.3g}"
            yield f"{name.replace('_', ' ').capitalize()} {way} {to}."
