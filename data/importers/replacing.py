"""One token of a text replaced by other words, where it stands: what a study of one changed word compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InvalidInput
from ..token_strings import BLANKS, place_of
from .model import Array, Ids
from .tokenising import Tokenised, vocabulary


@dataclass(frozen=True)
class Replaced:
    """A token and what takes its place, one after the other.

    place      : of the token in the text
    ids        : of what takes its place, (words,)
    strings    : what they stand for
    embeddings : the output of the embedding layer where they stand, (words, dimension); empty until it is known
    """

    place: int
    ids: Ids
    strings: list[str]
    embeddings: Array

    def texts(self, ids: Ids) -> Iterator[Ids]:
        """The numbers of the text's tokens with each word in its place, from `ids` without."""
        for word in self.ids:
            other = ids.copy()
            other[self.place] = word
            yield other


def replaced(folder: Path, tokens: Tokenised, token: str, by: Sequence[str]) -> Replaced:
    """The first token with this text, blanks aside, and single tokens of the vocabulary that take its place.

    Raises InvalidInput where the text has no such token, or the vocabulary no such word.
    """
    place = place_of(token, tokens.strings)
    if place is None:
        there = ", ".join(text.strip(BLANKS) for text in tokens.strings)
        raise InvalidInput(f"token must be one of the text's; {token!r} is none of {there[:200]}")
    here, known = tokens.strings[place], vocabulary(folder)
    space = here[: len(here) - len(here.lstrip(BLANKS))]  # a word keeps the space before it
    strings = []
    for word in by:
        found = next((text for text in (space + word, word, word.strip(BLANKS)) if text in known), None)
        if found is None:
            raise InvalidInput(f"by must hold single tokens of the model's vocabulary; {word!r} is none")
        if found == here or found in strings:
            raise InvalidInput(f"by: {word!r} is {'what is there already' if found == here else 'named twice'}")
        strings.append(found)
    return Replaced(place, np.array([known[text] for text in strings], np.int64), strings, np.empty((0, 0)))
