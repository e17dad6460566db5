"""The files that attndyn writes, whichever they are: what a file holds in words, and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.limits import is_limit, open_limit
from ..data.sweeps import is_sweep, open_sweep
from ..errors import InvalidInput
from .trajectory import open as open_trajectory


def described(path: Path, as_json: bool = False) -> str:
    """What a file holds: that of a run, a sweep or a limit study, in words or as one JSON object."""
    from .limits.summary import table  # which know scenarios, and so much that a picture does without
    from .summary import outcome, overview
    from .sweep_summary import account, sweep_overview

    if is_limit(path):
        with open_limit(path) as study:
            return json.dumps(study.summary()) if as_json else table(study)
    if is_sweep(path):
        with open_sweep(path) as sweep:
            return json.dumps(account(sweep)) if as_json else sweep_overview(sweep)
    with open_trajectory(path) as trajectory:
        return json.dumps(outcome(trajectory)) if as_json else overview(trajectory)


def drawn(
    path: Path,
    out: Path,
    *,
    kind: str | None = None,
    depths: Sequence[float] | None = None,
    replica: int = 0,
    heads: Sequence[int] | None = None,
    observable: str | None = None,
    at: Mapping[str, Any] | None = None,
    style: Path | None = None,
) -> None:
    """Draw a file into the picture `out`. Raises InvalidInput for what files of its kind do not have."""
    from ..data.figures import draw, draw_study, draw_sweep  # imports matplotlib, which takes a while

    if is_sweep(path):
        with open_sweep(path) as sweep:
            draw_sweep(sweep, kind=kind, out=out, observable=observable, depths=depths, at=at, style=style)
        return
    if observable or at:
        raise InvalidInput(f"--observable and --at belong to sweep files; {path} is none")
    if is_limit(path):
        with open_limit(path) as study:
            draw_study(study, kind=kind, out=out, style=style)
        return
    with open_trajectory(path) as trajectory:
        draw(trajectory, kind=kind, out=out, depths=depths, replica=replica, heads=heads, style=style)


def drawn_all(
    path: Path, folder: Path, suffix: str, *, overwrite: bool = False, **options: Any
) -> tuple[list[Path], dict[str, str]]:
    """Draw every kind of figure that suits a file into a folder, as NAME-kind; options as for `drawn`.

    Returns the pictures and, for every kind that was left out, the sentence why. Raises InvalidInput as `drawn`, and
    for a picture that exists, unless it may be overwritten.
    """
    from ..data.figures import KINDS, SWEEP_KINDS, draw_all
    from ..data.figures.kinds import study_kinds
    from ..data.figures.page import made_folder

    made_folder(folder, suffix)
    kinds: Mapping[str, Any] = SWEEP_KINDS if is_sweep(path) else KINDS
    if is_limit(path):
        with open_limit(path) as study:
            kinds = study_kinds(study.kind)
    pictures = {kind: folder / f"{path.stem}-{kind}{suffix}" for kind in kinds}
    there = [picture for picture in pictures.values() if picture.exists()]
    if there and not overwrite:
        raise InvalidInput(f"--out: {there[0]} exists already; give another folder, or --overwrite to replace it")
    if kinds is not KINDS:
        for kind, picture in pictures.items():
            drawn(path, picture, kind=kind, **options)
        return list(pictures.values()), {}
    if options.pop("observable", None) or options.pop("at", None):
        raise InvalidInput(f"--observable and --at belong to sweep files; {path} is none")
    with open_trajectory(path) as trajectory:
        return draw_all(trajectory, folder, name=path.stem, suffix=suffix, **options)
