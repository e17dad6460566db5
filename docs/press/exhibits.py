"""docs/gallery.md: every bundled scenario with its picture, in the words of its own file."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attndyn
from attndyn.scenarios.files import source

from .markup import plain

HEAD = """\
# Gallery

Every bundled scenario: what it is, what one sees, and the paper it comes from, in the words of its own file. The
pictures are made by `python docs/gallery.py` from the scenarios alone; most are what `attndyn plot` draws of the file
that the command below them writes.
"""
RUNS = """\
## Runs
"""
STUDIES = """\
## Limit studies

An error against a parameter that goes to its limit, and the rate at which it falls: [limits](limits.md).
"""
# those with a section [limit] that are shown as a run all the same
RUN_ALL_THE_SAME = ("circle-staircase",)
# those that are shown as a sweep: the grid, and the replicas of every point
SWEPT = {"phase-diagram": ("attention.beta=0.5:9:35", 64)}
# the kind of figure, where another than the first that suits shows best what a scenario is about
SHOWN = {"circle-staircase": "energy", "equiangular": "ridge", "residual-network": "ridge"}


def is_study(name: str) -> bool:
    """Whether a bundled scenario is shown as a limit study."""
    return name not in RUN_ALL_THE_SAME and attndyn.load(name).limit is not None


def command(name: str) -> str:
    """The command that makes the file whose picture is shown."""
    if name in SWEPT:
        grid, replicas = SWEPT[name]
        return f"attndyn sweep {name} --grid {grid} --replicas {replicas}"
    return f"attndyn {'limit' if is_study(name) else 'run'} {name}"


def page() -> str:
    """The text of docs/gallery.md."""
    names = attndyn.names()
    runs = [name for name in names if not is_study(name)]
    studies = [name for name in names if is_study(name)]
    return "\n".join([HEAD, RUNS, *map(_entry, runs), STUDIES, *map(_entry, studies)])


def _entry(name: str) -> str:
    scenario = attndyn.load(name)
    paragraphs = [_words(paragraph) for paragraph in _comment(name)]
    how = f"`{command(name)}`" + (f", `attndyn plot {name}.h5 --kind {SHOWN[name]}`" if name in SHOWN else "")
    return "\n\n".join(
        [
            f"### {name}",
            f"![{plain(scenario.title)}](gallery/{name}.png)",
            f"**{plain(scenario.title)}.** {paragraphs[0]}",
            *paragraphs[1:],
            f"{_linked(scenario.source)} · {how} · [the scenario](../scenarios/library/{name}.toml)\n",
        ]
    )


def _comment(name: str) -> Iterator[str]:
    """The paragraphs of the comment that stands above the keys of a scenario file."""
    lines = source(name).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("#"))
    paragraph: list[str] = []
    for line in lines[first:]:
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words:
            yield " ".join(paragraph)
            paragraph = []
            if not line.startswith("#"):
                return
        else:
            paragraph.append(words)


def _words(paragraph: str) -> str:
    """A paragraph in which commands and options are code, and its first words stand out."""
    coded = re.sub(r"(?<![`\w])(attndyn \w+ [\w-]+|--set \S+?)(?=[,.;:)]*(?:\s|$))", r"`\1`", paragraph)
    coded = re.sub(r"`+(--set [^`]*)`+", r"`\1`", coded)
    return re.sub(r"^What one sees:", "*What one sees:*", plain(coded))


def _linked(words: str) -> str:
    """The source of a scenario, with links to arXiv."""
    return re.sub(r"arXiv:([\w./-]*\w)", r"[arXiv:\1](https://arxiv.org/abs/\1)", plain(words))
