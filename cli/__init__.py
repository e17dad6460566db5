"""The command line. Every command is a few lines: what it does is done by `scenarios` and `data`.

Exit status: 0; 2 for a mistake of the user's, told in one line on stderr; 1 for a failure; 130 for what was
interrupted, by Ctrl-C or its time limit, and can be gone on with, 143 where it was by SIGTERM. Warnings that are logged
are printed on stderr. What takes long to import is imported by the commands that need it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

from ..errors import AttndynError, InvalidInput, MissingExtra
from ..logs import LEVELS, shown
from .analyze import analyze
from .compare import compare
from .import_model import import_model
from .library import check, list_scenarios, schema, show
from .limit import limit
from .look import info, plot
from .movie import movie
from .options import INTERRUPTED, Interrupted, complain
from .report import report
from .run import resume, run
from .spectrum import spectrum
from .sweep import sweep

LOG_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
Level = Enum("Level", {name: name for name in LEVELS})  # type: ignore[misc]

app = typer.Typer(
    name="attndyn",
    epilog="First steps: attndyn list; attndyn run sphere-clusters --out run.h5; attndyn plot run.h5",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS: dict[str, Callable[..., None]] = {  # in the order of the help
    "list": list_scenarios,
    "show": show,
    "check": check,
    "import-model": import_model,
    "run": run,
    "resume": resume,
    "sweep": sweep,
    "limit": limit,
    "info": info,
    "analyze": analyze,
    "spectrum": spectrum,
    "plot": plot,
    "movie": movie,
    "report": report,
    "compare": compare,
    "schema": schema,
}
for word, command in COMMANDS.items():
    app.command(word)(command)


@dataclass
class Wish:
    """What stands before the command: whether it is to show where an unexpected error came from."""

    traceback: bool = False


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    log: Annotated[
        Level | None, typer.Option("--log-level", help="Log to the error output what is done, at this level and above.")
    ] = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Of an unexpected error show where it came from.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Self-attention as an interacting particle system: tokens are particles, depth is time."""
    if isinstance(context.obj, Wish):
        context.obj.traceback = traceback
    if log is not None:
        context.with_resource(shown(LEVELS[log.value], LOG_FORM))
    if version:
        import attndyn

        print(attndyn.__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default that of the process) and return its exit status."""
    words, wish = list(sys.argv[1:] if arguments is None else arguments), Wish()
    try:
        with shown(logging.WARNING, "attndyn: %(message)s"):
            status = app(args=words or ["--help"], prog_name="attndyn", standalone_mode=False, obj=wish)
        sys.stdout.flush()
        return complain("interrupted", 1) if status == INTERRUPTED else status or 0
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1
    except InvalidInput as error:
        return complain(error, 2)
    except MemoryError as error:
        return complain(f"there is not enough memory: {error or 'it is used up'}", 1)
    except (AttndynError, OSError) as error:
        return complain(error, 2 if isinstance(error, MissingExtra) else 1)
    except Interrupted as error:
        return complain(error, error.status)
    except KeyboardInterrupt:
        return complain("interrupted", 1)
    except Exception as error:
        # errors of click, which newer versions of typer carry as a copy of their own
        if hasattr(error, "format_message"):
            return complain(error.format_message(), 2)
        if wish.traceback:
            raise
        return complain(
            f"unexpected {type(error).__name__}: {error}; this is a mistake of attndyn's: "
            f"attndyn --traceback {words[0]} ... shows where it is made",
            1,
        )
