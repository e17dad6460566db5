"""attndyn import-model: a transformer's checkpoint and a text to scenarios of its own layers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput
from .options import Quiet


def import_model(
    name: Annotated[str, typer.Argument(metavar="PATH|NAME", help="A folder, or a name on the Hugging Face hub.")],
    text: Annotated[str | None, typer.Option(help="The text whose tokens move.")] = None,
    text_file: Annotated[Path | None, typer.Option(metavar="F", help="A file with the text, in UTF-8.")] = None,
    ids: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="The tokens by their numbers, instead of a text.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Of a study of one changed word: the token that is replaced,")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="and what takes its place; may be given more than once.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="By default the model's name, here.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32, in which the scenarios run.")] = "float64",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that an import wrote.")] = False,
    quiet: Quiet = False,
) -> None:
    """Import a transformer (BERT, ALBERT, GPT-2, Llama; safetensors) and a text as scenarios of its own layers.

    Example: attndyn import-model sentence-transformers/all-MiniLM-L6-v2 --text "Alice was beginning to get very tired"
    """
    from ..data.importers import import_model as imported
    from ..data.importers.wording import ONE_WORD

    if sum(given is not None for given in (text, text_file, ids)) != 1:
        raise InvalidInput("give one of --text, --text-file and --ids")
    found = imported(
        name,
        _text_of(text_file) if text_file is not None else text,
        ids=None if ids is None else _numbers(ids),
        token=token,
        by=by or (),
        out=out,
        dtype=dtype,
        overwrite=overwrite,
        say=None if quiet else print,
    )
    if not quiet:
        print(
            f"wrote {found.folder}: {found.layers} layers, {found.heads} heads, dimension {found.dimension}, "
            f"{found.tokens} tokens, {found.size / 1e6:.1f} MB"
        )
        print(f"next: attndyn run {shlex.quote(str(found.scenario))}")
        if token is not None:
            print(f"      attndyn limit {shlex.quote(str(found.folder / ONE_WORD))}")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"--text-file: {path} cannot be read: {reason}") from error


def _numbers(ids: str) -> list[int]:
    try:
        return [int(number) for number in ids.split(",")]
    except ValueError:
        raise InvalidInput(f"--ids: must be whole numbers with commas between them; got {ids[:80]}") from None
