"""docs/cli.md: every command with its arguments and options, from what `--help` says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from attndyn.cli import COMMANDS
from typer.models import ArgumentInfo, OptionInfo

from .markup import plain

HEAD = """\
# The command line

`attndyn COMMAND --help` says what is on this page. A value of a scenario is changed with `--set KEY=VALUE`; the keys
are in [scenario files](scenarios.md).

Exit status: 0; 2 for a mistake of the user's, which one line on the error output names; 1 for a failure; 130 for what
was interrupted, by Ctrl-C or its time limit, and can be gone on with; 143 where it was by SIGTERM. Where a person
watches, a progress bar is drawn on the error output. Before the command, as in `attndyn --log-level debug run ...`,
`--log-level debug`, `info` or `warning` logs there what is done, and `--traceback` shows where an error that nobody
expected came from.
"""
AS_IT_IS = "\b\n"  # how a docstring says so to typer


def page() -> str:
    """The text of docs/cli.md."""
    parts = [HEAD, "| command | what it does |\n| --- | --- |"]
    parts.extend(
        f"| [`{word}`](#attndyn-{word}) | {plain(_paragraphs(command)[0].split('. ')[0]).rstrip('.')} |"
        for word, command in COMMANDS.items()
    )
    parts.append("")
    for word, command in COMMANDS.items():
        parts.extend(_command(word, command))
    return "\n".join(parts)


class Parameter(NamedTuple):
    """An argument or an option of a command, as its function declares it."""

    name: str
    kind: Any  # its Python type
    info: OptionInfo | ArgumentInfo
    default: Any


def _parameters(command: Callable[..., None]) -> Iterator[Parameter]:
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        kind, *_, info = get_args(hints[name])
        yield Parameter(name, kind, info, parameter.default)


def _command(word: str, command: Callable[..., None]) -> Iterator[str]:
    arguments = [each for each in _parameters(command) if isinstance(each.info, ArgumentInfo)]
    options = [each for each in _parameters(command) if isinstance(each.info, OptionInfo)]
    usage = [f"attndyn {word}", *(["[OPTIONS]"] if options else []), *map(_metavar, arguments)]
    paragraphs = _paragraphs(command)
    yield f"## `attndyn {word}`\n"
    yield f"```text\n{' '.join(usage)}\n```\n"
    yield "\n\n".join(_said(text) for text in paragraphs if not text.startswith("Example: ")) + "\n"
    if arguments or options:
        yield "| argument or option | default | meaning |\n| --- | --- | --- |"
        yield from (
            f"| `{_metavar(argument).replace('|', ' or ')}` | required | {plain(argument.info.help or '')} |"
            for argument in arguments
        )
        yield from (f"| {_words(option)} | {_default(option)} | {_meaning(option)} |" for option in options)
        yield ""
    for text in paragraphs:
        if text.startswith("Example: "):
            yield f"```sh\n{text.removeprefix('Example: ')}\n```\n"


def _paragraphs(command: Callable[..., None]) -> list[str]:
    """The paragraphs of a docstring, each on one line, but those whose lines \\b keeps as they are."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(command) or "")
    return [text if text.startswith(AS_IT_IS) else " ".join(text.split()) for text in paragraphs]


def _said(text: str) -> str:
    """A paragraph as Markdown: what is kept as it is, or ends with a command, has a block of its own."""
    if text.startswith(AS_IT_IS):
        return f"```text\n{text.removeprefix(AS_IT_IS).strip()}\n```"
    words, found, command = text.partition(": attndyn ")
    return f"{plain(words)}:\n\n```sh\nattndyn {command}\n```" if found else plain(text)


def _metavar(argument: Parameter) -> str:
    name = argument.info.metavar or argument.name.upper()
    return f"{name}..." if get_origin(argument.kind) is list else name


def _words(option: Parameter) -> str:
    """The ways to write an option, with a word for its value."""
    declared = [option.info.default, *(option.info.param_decls or ())]  # where they stand in an annotation
    given = [word for words in declared if isinstance(words, str) for word in words.split("/")]
    given = given or [f"--{option.name.replace('_', '-')}"]
    value = "" if option.kind is bool else f" {option.info.metavar or _value(option.kind)}"
    return ", ".join(f"`{word}{value.replace('|', ' or ')}`" for word in given)


def _value(kind: Any) -> str:
    named = {int: "N", float: "X", Path: "PATH", str: "TEXT"}
    return next((named[each] for each in (kind, *get_args(kind)) if each in named), "TEXT")


def _meaning(option: Parameter) -> str:
    text = plain(option.info.help or "")
    return f"{text} At least {option.info.min}." if option.info.min not in (None, 0) else text


def _default(option: Parameter) -> str:
    if option.default is inspect.Parameter.empty:
        return "required"
    if option.default in (None, False):
        return ""
    return "on" if option.default is True else f"`{option.default}`"
