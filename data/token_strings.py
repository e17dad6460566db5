"""A token named by its text, with the blanks that tokenizers write before a word or without."""

from __future__ import annotations

from collections.abc import Sequence

BLANKS = " \u0120\u2581"  # as tokenizers write the space before a word


def place_of(text: str, strings: Sequence[str]) -> int | None:
    """The first place of this text, or else of it without blanks; None where it is nowhere."""
    for texts in (list(strings), [each.strip(BLANKS) for each in strings]):
        if text in texts:
            return texts.index(text)
    return None
