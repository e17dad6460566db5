"""python -m benchmarks [--json FILE] [--markdown FILE] [GROUP ...]: run the benchmarks and print their tables."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from .tables import as_data, line, machine, markdown
from .timing import LeftOut, Row

# a group and the module that measures it, which is imported when it is run
GROUPS = {
    "drift": "drift",
    "laws": "laws",
    "peers": "peers",
    "trajectories": "trajectories",
    "phase": "phase",
    "expansions": "expansions",
    "torch": "torch_drift",
    "gpu": "gpu",
    "ring": "ring",
    "runs": "runs",
    "analyses": "analyses",
    "transformer": "transformer",
}


def measure(group: str) -> Iterator[Row | LeftOut]:
    """The rows of a group; what a missing package, or a failure, prevents is left out with a word."""
    try:
        yield from importlib.import_module(f"{__package__}.{GROUPS[group]}").rows()
    except ImportError as missing:
        yield LeftOut(f"the group {group}", str(missing))
    except Exception as failure:  # the other groups are still worth having
        traceback.print_exc()
        yield LeftOut(f"the rest of the group {group}", f"it failed: {type(failure).__name__}: {failure}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the groups that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"which: {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repeat, and the machine, to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to this file")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - GROUPS.keys():
        parser.error(f"unknown group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    with contextlib.suppress(ImportError):
        # before Numba's kernels run: torch's own threads are then set up as in a program that only uses torch
        import torch  # noqa: F401
    where = machine()
    measured: dict[str, list[Row | LeftOut]] = {}
    for group in options.groups or GROUPS:
        began = time.perf_counter()
        measured[group] = []
        for entry in measure(group):
            measured[group].append(entry)
            print(line(entry), flush=True)
        print(f"[{group}: {time.perf_counter() - began:.0f} s]", flush=True)
        if options.markdown:  # after every group: all of them take a while
            options.markdown.write_text(markdown(measured, where), encoding="utf-8")
        if options.json:
            options.json.write_text(json.dumps(as_data(measured, where), indent=1), encoding="utf-8")
    print("\n" + markdown(measured, where))


if __name__ == "__main__":
    main()
