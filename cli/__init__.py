"""The command line. Every command is a few lines: what it does is done by `scenarios` and `data`.

Exit status: 0; 2 for a mistake of the user's, told in one line on stderr; 1 for a failure; 130 for what was
interrupted, by Ctrl-C or its time limit, and can be gone on with, 143 where it was by SIGTERM. What takes long to
import is imported by the commands that need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ..errors import AttndynError, InvalidInput, MissingExtra
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


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Self-attention as an interacting particle system: tokens are particles, depth is time."""
    if version:
        import attndyn

        print(attndyn.__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default that of the process) and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(args=words or ["--help"], prog_name="attndyn", standalone_mode=False)
        sys.stdout.flush()
        return complain("interrupted", 1) if status == INTERRUPTED else status or 0
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1
    except InvalidInput as error:
        return complain(error, 2)
    except (AttndynError, OSError, MemoryError) as error:
        return complain(error, 2 if isinstance(error, MissingExtra) else 1)
    except Interrupted as error:
        return complain(error, error.status)
    except KeyboardInterrupt:
        return complain("interrupted", 1)
    except Exception as error:
        # errors of click, which newer versions of typer carry as a copy of their own
        if hasattr(error, "format_message"):
            return complain(error.format_message(), 2)
        raise
