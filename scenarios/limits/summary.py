"""A limit study in words, for the command line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...data.limits import Limit
from ...data.rates import Series

MOST_ROWS = 25  # of a table


def table(study: Limit) -> str:
    """The errors of every series with the slopes between neighbours, its rate, and the remarks."""
    parts = [_table(series) for series in study.series]
    return "\n\n".join([*parts, *(["\n".join(study.remarks)] if study.remarks else [])])


def rate_line(series: Series) -> str:
    """The rate with its interval and the theory's, in one line; empty where none was asked for."""
    if not series.law:
        return ""
    rate = series.rate()
    form = f"{series.parameter_name}^" if series.law == "power" else f"exp({series.parameter_name} * "
    close = "" if series.law == "power" else ")"
    low, high = rate.interval
    interval = f"95 % [{low:.4f}, {high:.4f}]" if np.isfinite(low) else "interval unknown"
    theory = "" if series.expected is None else f", theory {series.expected:.4g}"
    return f"{series.name} ~ {form}{rate.value:.4f}{close}, {interval} from {rate.points} points{theory}"


def _table(whole: Series) -> str:
    series = _thinned(whole)
    parameter, error = np.asarray(series.parameter), np.asarray(series.error)
    if not series.law and series.bound is None and len(parameter) > MOST_ROWS:
        ends = f"{error[0]:.6g} at {series.parameter_name} {parameter[0]:.6g} to {error[-1]:.6g} at {parameter[-1]:.6g}"
        return f"{series.name}: {ends}, {len(parameter)} points"
    heads, columns = [series.parameter_name, series.name], [_texts(parameter, "{:.10g}"), _texts(error, "{:.6e}")]
    if series.spread is not None:
        heads.append("+-")
        columns.append(_texts(np.asarray(series.spread), "{:.1e}"))
    if series.law:
        heads.append("rate between")
        columns.append(["", *_texts(_slopes(series), "{:.4f}")])
    if series.bound is not None:
        heads.append(series.bound_name or "bound")
        columns.append(_texts(np.asarray(series.bound), "{:.6e}"))
    widths = [max(map(len, [head, *column])) for head, column in zip(heads, columns, strict=True)]
    rows = [heads, *zip(*columns, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *filter(None, [rate_line(whole)])])


def _thinned(series: Series) -> Series:
    """Not more than some points of a series with a rate or a bound, evenly, with both ends."""
    count = len(np.asarray(series.parameter))
    if count <= MOST_ROWS or not (series.law or series.bound is not None):
        return series
    kept = np.unique(np.linspace(0, count - 1, MOST_ROWS).round().astype(int))
    arrays = {name: getattr(series, name) for name in ("parameter", "error", "fitted", "spread", "bound")}
    return replace(series, **{name: np.asarray(value)[kept] for name, value in arrays.items() if value is not None})


def _slopes(series: Series) -> np.ndarray:
    with np.errstate(all="ignore"):
        x = np.asarray(series.parameter)
        x, y = (np.log(x) if series.law == "power" else x), np.log(np.asarray(series.error))
        return np.diff(y) / np.diff(x)


def _texts(values: np.ndarray, form: str) -> list[str]:
    return [form.format(value) if np.isfinite(value) else "-" for value in values]
