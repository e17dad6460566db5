"""Make the gallery: run every bundled scenario, draw it, and write docs/gallery.md.

    python docs/gallery.py                      # everything, into docs/gallery/
    python docs/gallery.py --only NAME ...      # some of it
    python docs/gallery.py --check              # the text, and the pictures of what is quick, against what is made anew
    python docs/gallery.py --check --all        # all pictures

A check exits with 1 where something is out of date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import attndyn
from attndyn.data.figures import draw, draw_study, draw_sweep
from attndyn.scenarios.grid import parse_grids

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
import generate  # noqa: E402
from press.exhibits import SHOWN, SWEPT, is_study  # noqa: E402
from press.pictures import TOLERANCE, difference, reduce  # noqa: E402

PICTURES = DOCS / "gallery"

# 10 s of a processor and more each
SLOW = (
    "circle-modes",
    "many-circle-tokens",
    "many-gaussian-tokens",
    "many-tokens",
    "minilm-alice",
    "minilm-fixed-point",
    "minilm-perturbation",
    "minilm-regularity",
)


def draw_into(path: Path, name: str) -> None:
    """Run, sweep or study a bundled scenario, and draw it."""
    if name in SWEPT:
        grid, replicas = SWEPT[name]
        with attndyn.sweep(name, parse_grids([grid]), replicas=replicas, workers=1) as sweep:
            draw_sweep(sweep, out=path)
    elif is_study(name):
        with attndyn.limit(name) as study:
            draw_study(study, out=path)
    else:
        with attndyn.run(name) as trajectory:
            draw(trajectory, kind=SHOWN.get(name), out=path)


def make(name: str, folder: Path) -> Path:
    """Draw a bundled scenario into folder/NAME.png."""
    path = folder / f"{name}.png"
    draw_into(path, name)
    reduce(path)
    return path


def check(names: list[str]) -> list[str]:
    """What is out of date: the page, pictures that are missing or of no scenario, and those that look different."""
    wrong = [page for page in generate.stale() if page == "gallery.md"]
    there = {path.stem for path in PICTURES.glob("*.png")}
    wrong.extend(f"gallery/{name}.png" for name in sorted(there ^ {*attndyn.names()}))
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name in there:
                far = difference(PICTURES / f"{name}.png", make(name, Path(folder)))
                if far > TOLERANCE:
                    wrong.append(f"gallery/{name}.png (differs by {far:.1f})")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Make or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something is out of date")
    parser.add_argument("--all", action="store_true", help="with --check: also the pictures that take long")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=attndyn.names(), help="these scenarios alone")
    options = parser.parse_args(arguments)
    names = options.only or attndyn.names()
    if options.check:
        wrong = check([name for name in names if options.all or options.only or name not in SLOW])
        if wrong:
            print(f"out of date: {', '.join(wrong)}; python docs/gallery.py makes them", file=sys.stderr)
        return 1 if wrong else 0
    PICTURES.mkdir(exist_ok=True)
    for name in names:
        began = time.perf_counter()
        path = make(name, PICTURES)
        print(f"{name}: {path.stat().st_size / 1000:.0f} kB, {time.perf_counter() - began:.1f} s", flush=True)
    generate.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
