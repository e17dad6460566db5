"""A table as text for a terminal, as CSV, as an object for JSON, and read back."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..excerpt import evenly
from .table import Table

MOST_LETTERS = 96  # of a text
DIGITS = 6


def as_text(table: Table, most_rows: int | None = None) -> str:
    """Aligned columns with few digits, at most `most_rows` rows, evenly chosen, and what is to be said of them."""
    shown = evenly(len(table), table.shown if most_rows is None else most_rows)
    columns = [[name, *_cells(values[shown])] for name, values in table.columns.items()]
    numeric = [np.asarray(values).dtype.kind in "biuf" for values in table.columns.values()]
    widths = [max(map(len, cells)) for cells in columns]
    lines = []
    for row in zip(*columns, strict=True):
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    if len(table) == 0:
        lines.append("(no rows)")
    if len(shown) < len(table):
        lines.append(f"({len(shown)} of {len(table)} rows)")
    return "\n".join([*lines, *(f"({remark})" for remark in table.remarks)])


def as_csv(table: Table) -> str:
    """A header and all rows, numbers with all their digits: reading them back gives the same ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(np.asarray(values).tolist() for values in table.columns.values()), strict=True))
    return text.getvalue()


def as_object(table: Table) -> dict[str, Any]:
    """Columns and remarks as JSON has them; numbers that are not finite become null."""
    columns = {name: plain(values) for name, values in table.columns.items()}
    return {"columns": columns, "remarks": list(table.remarks)}


def plain(values: Any) -> Any:
    """Arrays as nested lists of Python's own numbers and texts; numbers that are not finite become None."""
    if isinstance(values, np.ndarray | np.generic):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _steering_nothing(text: str) -> str:
    """A text of somebody's without the characters that steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 4].rstrip()} ..."


def _cells(values: NDArray[Any]) -> list[str]:
    """The values of a column in the same form, so that their points stand below each other where that is short."""
    values = np.asarray(values)
    if values.dtype.kind == "b":
        return ["yes" if value else "no" for value in values.tolist()]
    if values.dtype.kind != "f":
        return [_short(_steering_nothing(str(value))) for value in values.tolist()]
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    largest, smallest = finite.max(initial=0.0), finite.min(initial=np.inf)
    if largest >= 10.0**DIGITS or (smallest < 1e-4 and smallest < 1e-3 * largest) or 0 < largest < 1e-3:
        return [f"{value:.{DIGITS - 2}g}" for value in values.tolist()]
    before = 1 if largest < 1 else int(math.log10(largest)) + 1
    fixed = [f"{value:.{max(DIGITS - before, 0)}f}" for value in values.tolist()]
    after = max((len(cell.rstrip("0").partition(".")[2]) for cell in fixed), default=0)
    return [f"{value:.{after}f}" for value in values.tolist()]
