"""Pictures of the site: small files, and whether two of them show the same."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

MOST_BYTES = 60_000
QUALITIES = ((0.6, 96), (0.6, 64), (0.5, 64), (0.4, 64), (0.3, 64))  # of the picture's size, and colours
COARSE = (48, 32)  # the cells in which pictures are compared: fonts may differ a little, paths not
TOLERANCE = 4.0  # the root mean square of their differences, of 255


def reduce(path: Path) -> None:
    """Write a picture anew in as many pixels and colours as fit in MOST_BYTES."""
    with Image.open(path) as picture:
        large = picture.convert("RGB")
    for scale, colours in QUALITIES:
        size = (round(scale * large.width), round(scale * large.height))
        small = io.BytesIO()
        resized = large.resize(size, Image.Resampling.LANCZOS)
        # those that cover most, so that colours of which there is little stay, and then nearer to the others
        few = resized.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        few.save(small, "png", optimize=True)
        if small.tell() <= MOST_BYTES:
            break
    path.write_bytes(small.getvalue())


def difference(one: Path, other: Path) -> float:
    """How far two pictures are from each other: the root mean square of the difference of their cells, of 255."""
    cells = []
    for path in (one, other):
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize(COARSE, Image.Resampling.BOX)
            cells.append(np.asarray(small, np.float64))
    return float(np.sqrt(np.mean((cells[0] - cells[1]) ** 2)))
