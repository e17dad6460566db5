"""python -m benchmarks [--json FILE] [NAME ...]: run the benchmarks (drift, runs) and print their table."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

# torch before Numba's kernels run: torch's own threads are set up as in a program that only uses torch
try:
    import torch  # noqa: F401
except ImportError as missing:
    raise SystemExit("the benchmarks compare with torch: pip install '.[benchmark]'") from missing

from . import drift, runs
from .timing import machine, table

GROUPS = {"drift": drift.rows, "runs": runs.rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *GROUPS], help="which groups (default: all)")
    parser.add_argument("--json", type=Path, help="write the rows and the machine to this file")
    options = parser.parse_args()
    rows = []
    for name in options.names or GROUPS:
        for row in GROUPS[name]():
            print(f"{row.what}: {row.value:.3g} {row.unit} {row.detail} {row.verdict}", flush=True)
            rows.append(row)
    print("\n" + table(rows) + "\n")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
