"""Draw a file: a trajectory, a sweep, a limit study; one figure of it, or every one that suits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ...errors import AttndynError
from ...particles.block import Law
from ..excerpt import title_of
from ..limits import Limit
from .kinds import KINDS, SWEEP_KINDS, checked_kind, chosen, study_kinds, suiting
from .look import Look
from .page import Style, checked_out, facts_of, inscribe, made_folder, save, styled
from .phase import facts_of as facts_of_sweep

if TYPE_CHECKING:
    from ..reading import Trajectory
    from ..sweeps import Sweep


def draw(
    trajectory: Trajectory,
    *,
    kind: str | None = None,
    out: str | Path | None = None,
    depths: Sequence[float] | None = None,
    replica: int = 0,
    heads: Sequence[int] | None = None,
    law_at: Callable[[float], Law] | None = None,
    style: Style | None = None,
) -> Figure:
    """Draw one replica of a trajectory and, when `out` is given, save it.

    kind   : a name of `KINDS`, by default the first that suits the space: tokens in their space on the left; beside
             them the observables over depth (the range over replicas in grey) and histograms of inner products
    out    : a .png, .pdf or .svg file, which is overwritten
    depths : to be looked at closely; by default the first and the last, and where a token has gone a third and two
             thirds of its way
    heads  : of the attention, by default the first few
    law_at : the law at a depth, for the kinds that need it; by default the trajectory's own, where it knows it
    style  : a style file of matplotlib, or settings of it by name, laid over attndyn's

    Large trajectories are sampled; what was sampled stands below the figure. No state of matplotlib's is changed, and
    no window or display is needed.

    Raises InvalidInput for a kind that does not suit the trajectory, a depth outside it, a replica or head that is not
    there, and a file that cannot be written.
    """
    out = checked_out(out)
    look = Look(trajectory, law_at or getattr(trajectory, "law_at", None), replica, depths, heads)
    with styled(style):
        return _drawn(look, chosen(look, kind).name, out)


def draw_all(
    trajectory: Trajectory,
    folder: str | Path,
    *,
    name: str | None = None,
    suffix: str = ".png",
    depths: Sequence[float] | None = None,
    replica: int = 0,
    heads: Sequence[int] | None = None,
    law_at: Callable[[float], Law] | None = None,
    style: Style | None = None,
) -> tuple[list[Path], dict[str, str]]:
    """Draw every kind that suits a trajectory into a folder, as NAME-kind.png; arguments as for `draw`.

    name : by default that of the trajectory's file

    Returns the files that were written, and for every kind that was left out the sentence why. Raises InvalidInput for
    arguments that suit no kind.
    """
    folder = made_folder(folder, suffix)
    look = Look(trajectory, law_at or getattr(trajectory, "law_at", None), replica, depths, heads)
    name = trajectory.path.stem if name is None else name
    written, left_out = [], {}
    with styled(style):
        for kind in KINDS.values():
            out = folder / f"{name}-{kind.name}{suffix}"
            try:
                reason = kind.why_not(look)
                if reason is None:
                    _drawn(look, kind.name, out)
                    written.append(out)
            except AttndynError as error:
                reason = str(error)
            if reason is not None:
                left_out[kind.name] = reason
    return written, left_out


def kinds_for(trajectory: Trajectory, law_at: Callable[[float], Law] | None = None) -> tuple[str, ...]:
    """The kinds of figure that suit a trajectory; the first is the one that is drawn by default."""
    return suiting(Look(trajectory, law_at or getattr(trajectory, "law_at", None)))


def draw_sweep(
    sweep: Sweep,
    *,
    kind: str | None = None,
    out: str | Path | None = None,
    observable: str | None = None,
    depths: Sequence[float] | None = None,
    at: Mapping[str, Any] | None = None,
    style: Style | None = None,
) -> Figure:
    """Draw a sweep and, when `out` is given, save it: kind "phase", the only one, is `draw_phase`.

    Raises InvalidInput for what the sweep does not have, and for a file that cannot be written.
    """
    function = checked_kind(SWEEP_KINDS, kind, "a sweep").draw
    out = checked_out(out)
    with styled(style):
        figure = function(sweep, observable, depths, at)
        return _finished(figure, title_of(sweep), facts_of_sweep(sweep, at or {}), out)


def draw_study(
    study: Limit, *, kind: str | None = None, out: str | Path | None = None, style: Style | None = None
) -> Figure:
    """Draw a limit study and, when `out` is given, save it: kind "rates" is `draw_limit`, and a study
    of regularity has "growth" first, `draw_growth`.

    Raises InvalidInput for another kind, and for a file that cannot be written.
    """
    function = checked_kind(study_kinds(study.kind), kind, "this limit study").draw
    out = checked_out(out)
    facts = [f"limit study: {study.kind}", f"{len(study.runs)} runs", *study.remarks]
    with styled(style):
        return _finished(function(study), title_of(study), facts, out)


def _drawn(look: Look, kind: str, out: Path | None) -> Figure:
    sheet = KINDS[kind].draw(look)
    facts = [*facts_of(look.trajectory, look.replica), *sheet.remarks]
    return _finished(sheet.figure, title_of(look.trajectory), facts, out)


def _finished(figure: Figure, title: str, facts: Sequence[str], out: Path | None) -> Figure:
    inscribe(figure, title, facts)
    if out is not None:
        save(figure, out)
    return figure
