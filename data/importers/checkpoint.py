"""Where a checkpoint is: a folder, or a name on the Hugging Face hub, of which the needed files are fetched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ...errors import AttndynError, InvalidInput, MissingExtra
from .config import FILE
from .quiet import quietly
from .tensors import INDEX, SINGLE

NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")  # on the hub: owner/model, or model
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model",
)  # fmt: skip
CONVERT = (
    "python -c \"from transformers import AutoModel as M; M.from_pretrained('{0}').save_pretrained('{0}-safetensors')\""
)

Check = Callable[[Path], object]


def folder_of(name: str | Path, check: Check) -> tuple[Path, str]:
    """The folder of a checkpoint, and what the model is called.

    name  : a folder, or a name on the hub
    check : called with a folder that has the configuration, before tensors are fetched; raises what is wrong with it

    Raises InvalidInput where there is no checkpoint of safetensors, and AttndynError where the hub does not give it.
    """
    path = Path(name).expanduser()
    if path.is_file():
        _refuse_pickle(path.parent, [path])
        raise InvalidInput(f"{path} is a file; name the folder with it and its {FILE}")
    if not path.is_dir():
        if isinstance(name, Path) or not NAME.fullmatch(name):
            raise InvalidInput(f"there is no folder {path}")
        return _fetched(name, check), name.rpartition("/")[2]
    if not ((path / SINGLE).is_file() or (path / INDEX).is_file()):
        _refuse_pickle(path, sorted(path.iterdir()))
    check(path)
    return path, path.resolve().name or "model"


def _refuse_pickle(folder: Path, files: list[Path]) -> None:
    """Say which pickle file is not read, where there is one."""
    pickled = next((file.name for file in files if file.suffix.lower() in PICKLES), None)
    if pickled is not None:
        raise InvalidInput(
            f"{folder / pickled} is a pickle file, which can run code and is never read; {SINGLE} is. To convert it, "
            f"if you trust it: {CONVERT.format(folder)}"
        )


def _fetched(name: str, check: Check) -> Path:
    """The folder in the hub's own cache of what is needed of a model: the configuration first, then the rest."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra(
            f'there is no folder {name}; to have it from the Hugging Face hub: pip install "attndyn[models]"'
        ) from error

    def fetch(*patterns: str) -> Path:
        with quietly():
            return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*"]))

    try:
        folder = fetch(FILE)
    except Exception as error:  # of the network, of the hub, of its cache: many kinds
        raise AttndynError(
            f"there is no folder {name}, and the Hugging Face hub does not give it: {_reason(error)}"
        ) from error
    check(folder)
    try:
        folder = fetch(FILE, SINGLE, INDEX, "model-*-of-*.safetensors", *TOKENIZER)
    except Exception as error:
        raise AttndynError(f"{name} could not be had from the Hugging Face hub: {_reason(error)}") from error
    if not ((folder / SINGLE).is_file() or (folder / INDEX).is_file()):
        raise InvalidInput(f"{name} has no {SINGLE} on the Hugging Face hub; pickle files are never read")
    return folder


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
