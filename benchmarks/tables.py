"""What was measured as Markdown and as JSON, with the machine and the versions it was measured with."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .timing import LeftOut, Measured, Row

PACKAGES = (
    *("attndyn", "numpy", "numba", "scipy", "torch", "triton", "distributed"),
    *("jax", "jaxlib", "diffrax", "torchdiffeq", "pykeops"),
)

Entries = Sequence[Row | LeftOut]


def machine() -> dict[str, str]:
    """Processor, accelerator, system, date, and the versions that matter."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{os.cpu_count()} x {_processor()}",
        "system": platform.platform(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found | {package: _version(package) for package in PACKAGES}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def as_data(measured: Mapping[str, Entries], where: dict[str, str]) -> dict[str, Any]:
    """Everything as JSON can keep it, every repeat included."""
    groups = {name: [_entry(entry) for entry in entries] for name, entries in measured.items()}
    return {"machine": where, "groups": groups}


def _entry(entry: Row | LeftOut) -> dict[str, Any]:
    if isinstance(entry, LeftOut):
        return {"what": entry.what, "left out": entry.why}
    samples = entry.value.samples if isinstance(entry.value, Measured) else (float(entry.value),)
    record = {"what": entry.what, "value": float(entry.value), "unit": entry.unit, "samples": samples}
    if entry.column:
        record["column"] = entry.column
    if entry.bar is not None:
        record |= {"bar": entry.bar, "at least" if entry.at_least else "at most": True, "verdict": entry.verdict}
    return record | ({"detail": entry.detail} if entry.detail else {})


def line(entry: Row | LeftOut) -> str:
    """One entry for a terminal."""
    if isinstance(entry, LeftOut):
        return f"{entry.what}: left out, {entry.why}"
    what = f"{entry.what}, {entry.column}" if entry.column else entry.what
    parts = (f"{what}: {_number(entry)} {entry.unit}", entry.verdict, entry.detail)
    return "; ".join(part for part in parts if part)


def markdown(measured: Mapping[str, Entries], where: dict[str, str]) -> str:
    """The groups' tables, and under them the machine."""
    sections = [f"### {name}\n\n{table(entries)}" for name, entries in measured.items() if entries]
    sections.append(", ".join(f"{key} {value}" for key, value in where.items()) + ".")
    return "\n\n".join(sections) + "\n"


def table(entries: Entries) -> str:
    """One group: rows with columns as a wide table, the others as a list, then what was left out."""
    rows = [entry for entry in entries if isinstance(entry, Row)]
    left_out = [f"- Left out: {entry.what} ({entry.why})." for entry in entries if isinstance(entry, LeftOut)]
    parts = (_wide([row for row in rows if row.column]), _long([row for row in rows if not row.column]), left_out)
    return "\n\n".join("\n".join(part) for part in parts if part)


def _long(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = ["| what | measured | bar | | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        bar = "" if row.bar is None else f"{'at least' if row.at_least else 'at most'} {row.bar:g}"
        lines.append(f"| {row.what} | {_number(row)} {row.unit} | {bar} | {row.verdict} | {row.detail} |")
    return lines


def _wide(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    columns = list(dict.fromkeys(row.column for row in rows))
    cells = {(row.what, row.column): _number(row) for row in rows}
    lines = [f"| {rows[0].unit} | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for what in dict.fromkeys(row.what for row in rows):
        lines.append(f"| {what} | {' | '.join(cells.get((what, column), '') for column in columns)} |")
    return lines


def _number(row: Row) -> str:
    """The median, and the middle half of the repeats in brackets."""
    if row.spread is None:
        return f"{row.value:.3g}"
    return f"{row.value:.3g} ({row.spread[0]:.3g} to {row.spread[1]:.3g})"
