"""What an analysis found, in words, as CSV and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.analysis.rendering import as_csv, as_text, plain
from ..data.analysis.rendering import as_object as table_as_object
from .analysis import Findings


def in_words(found: Findings) -> str:
    """The observables and every table, with what is to be said of them."""
    parts = [as_text(found.series.in_short())] if found.observables else []
    parts += [f"{name}\n{as_text(table)}" if len(found.tables) > 1 or parts else as_text(table)
              for name, table in found.tables.items()]  # fmt: skip
    return "\n".join(["\n\n".join(parts), *found.remarks])


def csv_files(found: Findings, path: Path) -> dict[Path, str]:
    """What is written to which file: a single result to `path`, several beside it under their names."""
    tables = {"observables": found.series.by_frame()} if found.observables else {}
    tables |= found.tables
    if len(tables) == 1:
        return {path: as_csv(*tables.values())}
    return {path.with_name(f"{path.stem}-{name}{path.suffix}"): as_csv(table) for name, table in tables.items()}


def as_object(found: Findings) -> dict[str, Any]:
    """All of it as JSON has it; numbers that are not finite become null."""
    return {
        "file": str(found.path),
        "status": found.status,
        "depth": plain(found.times),
        "step": plain(found.steps),
        "replicas": [*found.replicas],
        "observables": {name: plain(values) for name, values in found.observables.items()},
        "tables": {name: table_as_object(table) for name, table in found.tables.items()},
        "remarks": [*found.remarks],
    }
