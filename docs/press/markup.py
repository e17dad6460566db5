"""Plain text as Markdown: what comments and docstrings say, with nothing in it taken for markup."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_ITEM = re.compile(r"(?P<what>[\w*]+(?:, [\w*]+)*)\s+: (?P<text>\S.*)")


def plain(text: str) -> str:
    """Text on one line in which only `code` is markup; a bar is safe in the cell of a table."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        piece.replace("|", r"\|")
        if piece.startswith("`")
        else re.sub(r"([|*_\[\]])", r"\\\1", piece).replace("<", "&lt;")
        for piece in pieces
    )


def as_markdown(docstring: str) -> str:
    """A docstring of this package: paragraphs, indented formulas, and `name : meaning` lines that become a list.

    A line that is indented deeper than the one before goes on with it; a block that is indented from its start is
    shown as it is written.
    """
    first, _, rest = docstring.strip("\n").partition("\n")
    text = f"{first.strip()}\n{textwrap.dedent(rest)}"
    return "\n\n".join(part for block in _blocks(text) for part in _parts(block))


def _blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines between empty ones; indented runs that follow each other are one."""
    blocks: list[list[str]] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.rstrip().split("\n")
        if blocks and _indented(lines) and _indented(blocks[-1]):
            blocks[-1].extend(["", *lines])
        else:
            blocks.append(lines)
    yield from (block for block in blocks if any(line.strip() for line in block))


def _indented(lines: list[str]) -> bool:
    return all(line.startswith(" ") for line in lines if line)


def _parts(lines: list[str]) -> Iterator[str]:
    if _indented(lines):
        yield "\n".join(["```text", *textwrap.dedent("\n".join(lines)).split("\n"), "```"])
        return
    sentence: list[str] = []
    items: list[list[str]] = []
    for line in lines:
        found = _ITEM.fullmatch(line)
        if found:
            items.append([f"`{found['what']}`: ", found["text"]])
        elif items and line.startswith(" "):
            items[-1].append(line)
        elif items:
            yield _list(items)
            items = []
            sentence = [line]
            continue
        else:
            sentence.append(line)
        if found and sentence:
            yield plain(" ".join(sentence))
            sentence = []
    if items:
        yield _list(items)
    if sentence:
        yield plain(" ".join(sentence))


def _list(items: list[list[str]]) -> str:
    return "\n".join(f"- {name}{plain(' '.join(text))}" for name, *text in items)
