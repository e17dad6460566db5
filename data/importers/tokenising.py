"""A text as the model's own tokenizer divides it: numbers, and tokens that one can read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AttndynError, InvalidInput, MissingExtra
from .quiet import quietly

TOKENIZER = "tokenizer.json"
LONGEST = 64  # letters that are kept of a token
BYTE = re.compile("<0x([0-9A-F]{2})>")  # how vocabularies of SentencePiece write a byte


@dataclass(frozen=True)
class Tokenised:
    """Tokens in order.

    ids     : their numbers in the vocabulary, (tokens,)
    types   : their token types, of models that have them, (tokens,)
    strings : what they stand for
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    strings: list[str]


def tokenised(folder: Path, text: str) -> Tokenised:
    """The tokens of a text, with those that the model's tokenizer adds at its ends.

    Raises InvalidInput for an empty text or a tokenizer that cannot be read, MissingExtra without its library.
    """
    if not text.strip():
        raise InvalidInput("the text must not be empty")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidInput("the text must be valid Unicode; it holds half of a surrogate pair")
    ids, types, tokens, legible = _blamed(folder, lambda: _encoded(_tokenizer(folder), text))
    if not ids:
        raise InvalidInput("the text has no token")
    return Tokenised(np.array(ids, np.int64), np.array(types, np.int64), [legible(token) for token in tokens])


def numbered(folder: Path, ids: Sequence[int]) -> Tokenised:
    """Tokens by their numbers, which stand for themselves where the folder has no tokenizer.json."""
    numbers = np.asarray(ids)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        raise InvalidInput(f"ids must be a list of whole numbers from 0 on, at least one; got {ids!r:.80}")
    numbers = numbers.astype(np.int64)
    strings = [str(number) for number in numbers.tolist()]
    if (folder / TOKENIZER).is_file():
        tokenizer = _blamed(folder, lambda: _tokenizer(folder))
        legible = _legible(tokenizer)
        for place, number in enumerate(numbers.tolist()):
            token = tokenizer.id_to_token(number) if number < 1 << 32 else None
            strings[place] = strings[place] if token is None else legible(token)
    return Tokenised(numbers, np.zeros_like(numbers), strings)


def vocabulary(folder: Path) -> dict[str, int]:
    """The number of each token of the model's vocabulary by what it stands for; of equal ones the first."""
    tokenizer = _blamed(folder, lambda: _tokenizer(folder))
    legible = _legible(tokenizer if hasattr(tokenizer, "to_str") else None)
    found: dict[str, int] = {}
    for token, number in sorted(_blamed(folder, tokenizer.get_vocab).items(), key=lambda each: each[1]):
        found.setdefault(legible(token), number)
    return found


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder: of the library tokenizers or, of old forms that it does not read, of transformers."""
    try:
        if (folder / TOKENIZER).is_file():
            from tokenizers import Tokenizer

            return Tokenizer.from_file(str(folder / TOKENIZER))
        with quietly():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        return getattr(tokenizer, "backend_tokenizer", None) or tokenizer
    except ImportError as error:
        raise MissingExtra(
            f'a library that divides the text into tokens: pip install "attndyn[models]" ({error})'
        ) from error


def _encoded(tokenizer: Any, text: str) -> tuple[list[int], list[int], list[str], Callable[[str], str]]:
    """Numbers, types and tokens of a text, nothing cut off and nothing filled up, and what makes the tokens legible."""
    if not hasattr(tokenizer, "to_str"):  # in Python, of transformers
        with quietly():
            encoding = tokenizer(text, truncation=False, padding=False)
        ids = list(encoding["input_ids"])
        types = list(encoding.get("token_type_ids", [0] * len(ids)))
        return ids, types, tokenizer.convert_ids_to_tokens(ids), _legible(None)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoding = tokenizer.encode(text)
    return encoding.ids, encoding.type_ids, encoding.tokens, _legible(tokenizer)


def _blamed(folder: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives. The libraries raise plain exceptions of many kinds."""
    try:
        return read()
    except (AttndynError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # also a panic of Rust, which is no Exception
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidInput(f"{folder}: its tokenizer cannot be read: {reason[0]:.200}") from error


def _legible(tokenizer: Any) -> Callable[[str], str]:
    """What makes a text of a token: of bytes that stand as letters, of marks for spaces; control characters escaped."""
    parts = json.loads(tokenizer.to_str()) if tokenizer is not None else {}
    in_bytes = '"ByteLevel"' in json.dumps([parts.get("decoder"), parts.get("pre_tokenizer")])
    letters = _byte_letters() if in_bytes else {}

    def legible(token: str) -> str:
        if letters and all(letter in letters for letter in token):
            token = bytes(letters[letter] for letter in token).decode("utf-8", "backslashreplace")
        if (byte := BYTE.fullmatch(token)) is not None:
            token = bytes([int(byte[1], 16)]).decode("ascii", "backslashreplace")
        token = token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")[:LONGEST]
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)

    return legible


def _byte_letters() -> dict[str, int]:
    """The byte for each letter by which GPT-2's vocabulary writes it: itself where it can be seen, else 256 + k."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("\xa1"), ord("\xac") + 1), *range(ord("\xae"), ord("\xff") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + k): byte for k, byte in enumerate(hidden)}
