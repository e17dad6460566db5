"""Doing what a page says: its code blocks, run in their order in one folder, and what they print."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from attndyn.cli import main

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVED_AS = re.compile(r"[Ss]ave this as `([\w.-]+)`")


class Block(NamedTuple):
    """A code block: what it is, its text, and the name under which the sentence before it says to save it."""

    language: str
    code: str
    name: str | None
    line: int


def blocks(text: str) -> list[Block]:
    """The code blocks of a page. Those of a section "Install" are for a person."""
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        heading = re.findall(r"^#+ (.*)$", before, re.MULTILINE)
        if heading and heading[-1] == "Install":
            continue
        saved = _SAVED_AS.search(before.rstrip().rsplit("\n\n", 1)[-1])
        found.append(Block(match["language"], match["code"], saved and saved[1], before.count("\n") + 1))
    return found


def walk(text: str, folder: Path) -> Iterator[tuple[Block, str, str]]:
    """Run the blocks of a page in this folder; yield each block that shows an output, the output, and what was printed.

    A text is what the block before it prints, where ... stands for anything. Raises RuntimeError for a failure.
    """
    names: dict[str, Any] = {"__name__": "__page__"}
    printed = ""
    with contextlib.chdir(folder):
        for block in blocks(text):
            if block.language == "toml" and block.name:
                Path(block.name).write_text(block.code, encoding="utf-8")
            elif block.language in ("sh", "python"):
                printed = _sh(block) if block.language == "sh" else _python(block, names)
            elif block.language == "text":
                yield block, block.code, printed


def same(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows, ... being anything and white space being all the same."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown, printed, options)


def _sh(block: Block) -> str:
    """Run commands line by line, attndyn in this process."""
    printed = io.StringIO()
    for line in block.code.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] != "attndyn":
            raise RuntimeError(f"line {block.line}: only attndyn is run; got {line}")
        complaint = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
            status = main(words[1:]) if words else 0
        if status:
            raise RuntimeError(f"line {block.line}: {line}: {complaint.getvalue()}")
    return printed.getvalue()


def _python(block: Block, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block.code, f"line {block.line}", "exec"), names)
    except Exception as error:
        raise RuntimeError(f"line {block.line}: {error!r}") from error
    return printed.getvalue()
