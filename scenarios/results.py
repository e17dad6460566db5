"""The files that attndyn writes, whichever they are: what a file holds in words, and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.limits import is_limit, open_limit
from ..data.sweeps import is_sweep, open_sweep
from ..errors import InvalidInput
from .limits.summary import table
from .summary import outcome, overview
from .sweep_summary import account, sweep_overview
from .trajectory import open as open_trajectory


def described(path: Path, as_json: bool = False) -> str:
    """What a file holds: that of a run, a sweep or a limit study, in words or as one JSON object."""
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
    observable: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> None:
    """Draw a file into the picture `out`. Raises InvalidInput for what files of its kind do not have."""
    from ..data.figures import draw, draw_study, draw_sweep  # imports matplotlib, which takes a while

    if is_sweep(path):
        with open_sweep(path) as sweep:
            draw_sweep(sweep, kind=kind, out=out, observable=observable, depths=depths, at=at)
        return
    if observable or at:
        raise InvalidInput(f"--observable and --at belong to sweep files; {path} is none")
    if is_limit(path):
        with open_limit(path) as study:
            draw_study(study, kind=kind, out=out)
        return
    with open_trajectory(path) as trajectory:
        draw(trajectory, kind=kind, out=out, depths=depths, replica=replica)
