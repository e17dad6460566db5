"""What a notebook shows of an open file: a title, a small picture, a table.

Everything in a file may come from strangers: all text is escaped, and no display ever raises. Text has the colours of
the notebook, dark or light; a picture has its own white ground.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from ..errors import printable
from ..particles import Space, Sphere
from .excerpt import title_of
from .layout import STATE

MOST_ROWS = 12  # of observables or statistics
MOST_TEXT = 200  # characters of what a file says
PICTURE = (3.3, 3.4)  # inches
CELL = 'style="text-align: left; padding: 0.1em 1em 0.1em 0"'


def trajectory_html(trajectory: Any) -> str:
    """A trajectory: what was run and how it ended, observables from first to last, its tokens."""
    return _safely(trajectory, _trajectory)


def sweep_html(sweep: Any) -> str:
    """A sweep: its keys and their values, how many points are done, its observables."""
    return _safely(sweep, _sweep)


def limit_html(study: Any) -> str:
    """A limit study: its rates, what was found, and its picture."""
    return _safely(study, _limit)


def page(title: object, subtitle: object, body: str, picture: str = "") -> str:
    """A display: a title, a line below it, HTML, and an image beside it."""
    head = f"<div><strong>{text(title)}</strong></div><div>{text(subtitle)}</div>"
    return (
        '<div style="display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start">'
        f"<div>{head}{body}</div>{picture}</div>"
    )


def table(rows: Iterable[tuple[object, object]]) -> str:
    """Rows of a name and a value, both escaped."""
    lines = [f"<tr><th {CELL}>{text(name)}</th><td {CELL}>{text(value)}</td></tr>" for name, value in rows]
    return f'<table style="margin: 0.4em 0">{"".join(lines)}</table>' if lines else ""


def folded(summary: object, body: str) -> str:
    """HTML that is shown when its summary is clicked."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>" if body else ""


def text(value: object) -> str:
    """A value as escaped text in one line, shortened, without the characters that steer a terminal or a page."""
    line = " ".join(str(value).split())
    line = printable(line)
    return escape(line if len(line) <= MOST_TEXT else f"{line[: MOST_TEXT - 3]}...", quote=True)


def _safely(opened: Any, shown: Callable[[Any], str]) -> str:
    """What is shown of a file, or its text where that fails: a notebook shows an error in place of either."""
    try:
        return shown(opened)
    except Exception:
        try:
            return f"<pre>{text(repr(opened))}</pre>"
        except Exception:
            return f"<pre>{text(type(opened).__name__)}</pre>"


def _trajectory(trajectory: Any) -> str:
    times, (frames, replicas, tokens, _) = trajectory.times, trajectory.positions.shape
    span = f"{frames}, depth {times[0]:.6g} to {times[-1]:.6g}" if frames else "none yet"
    rows = [
        ("status", _status(trajectory.status)),
        ("tokens", f"{tokens} {_where(trajectory.space)}"),
        *([("replicas", replicas)] if replicas > 1 else []),
        ("frames", span),
    ]
    body = table(rows)
    if frames == 0:
        return page(title_of(trajectory) or trajectory.path.name, trajectory.path, body)
    measured = [(name, _first_to_last(trajectory, name)) for name in trajectory.observables if name not in STATE]
    body += table(measured[:MOST_ROWS])
    statistics = [(name.replace("_", " "), _number(value)) for name, value in trajectory.statistics.items()]
    body += folded("statistics", table(statistics[:MOST_ROWS]))
    title = title_of(trajectory) or trajectory.path.name
    return page(title, trajectory.path, body, _picture(lambda: _portrait(trajectory), f"the tokens of {title}"))


def _status(status: str) -> str:
    return "running: the run still goes, or was killed" if status == "running" else status


def _where(space: Space) -> str:
    if not isinstance(space, Sphere):
        return f"in R^{space.dimension}"
    size = "" if space.radius == 1 else f" of radius {space.radius:.4g}"
    return f"on the circle{size}" if space.dimension == 2 else f"on the sphere{size} in R^{space.dimension}"


def _first_to_last(trajectory: Any, name: str) -> str:
    values = np.asarray(trajectory.observables[name], np.float64)
    return f"{_range(values[0])} \N{RIGHTWARDS ARROW} {_range(values[-1])}"


def _range(values: np.ndarray) -> str:
    """The value of one replica, or the least and the largest of several."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "not finite"
    low, high = float(finite.min()), float(finite.max())
    return _number(low) if low == high else f"{_number(low)} .. {_number(high)}"


def _number(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)


def _sweep(sweep: Any) -> str:
    done = int(sweep.done.sum())
    failed = sum(str(status).startswith("failed") for status in sweep.status.ravel())
    rows = [("points", f"{done} of {len(sweep)} done" + (f", {failed} failed" if failed else ""))]
    rows += [(key, _values(values)) for key, values in sweep.axes.items()]
    observables = [(name, f"mean {_range(values)}") for name, values in sweep.observables.items()]
    body = table(rows[:MOST_ROWS]) + table(observables[:MOST_ROWS])
    return page(title_of(sweep) or sweep.name, sweep.path, body)


def _values(values: np.ndarray) -> str:
    shown = [_number(value) for value in values.tolist()]
    return ", ".join(shown) if len(shown) <= 5 else f"{len(shown)} values, {shown[0]} .. {shown[-1]}"


def _limit(study: Any) -> str:
    rows: list[tuple[object, object]] = [("study", study.kind), ("runs", len(study.runs))]
    for series in study.series:
        summary: Mapping[str, Any] = series.summary()
        found = [f"{key} {_number(value)}" for key, value in summary.items() if isinstance(value, int | float)]
        rows.append((series.name, ", ".join(found)))
    body = table(rows[:MOST_ROWS]) + "".join(f"<div>{text(remark)}</div>" for remark in study.remarks[:MOST_ROWS])
    return page(title_of(study) or study.name, study.path, body)


def _picture(draw: Callable[[], Any], description: str) -> str:
    """An image with what `draw` draws on white, or nothing where it cannot."""
    try:
        from .figures.page import styled  # imports matplotlib, which takes a while

        buffer = io.BytesIO()
        with styled(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            draw().savefig(buffer, format="png", dpi=110)
    except Exception:
        return ""
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{text(description)}" style="background: white">'


def _portrait(trajectory: Any) -> Any:
    """The tokens of the first replica, as on the left of the default figure."""
    from matplotlib.figure import Figure

    from .figures.depths import DepthScale
    from .figures.globe import draw_sphere
    from .figures.portraits import draw_circle, draw_components, draw_line, draw_plane

    space = trajectory.space
    draw = {(True, 2): draw_circle, (True, 3): draw_sphere, (False, 1): draw_line, (False, 2): draw_plane}.get(
        (isinstance(space, Sphere), space.dimension), draw_components
    )
    figure = Figure(figsize=PICTURE)
    draw(figure.subplots(), trajectory, DepthScale(np.asarray(trajectory.times, np.float64)), 0)
    return figure
