"""The exceptions a caller may want to tell apart, and what their messages may hold.

Everything the package raises on purpose is one of these.
"""


class AttndynError(Exception):
    """Anything this package raises on purpose."""


class InvalidInput(AttndynError, ValueError):
    """A value the user gave is not allowed; the message names it, what was given and what is allowed."""


class TrajectoryError(AttndynError):
    """A file is not a trajectory this package can read, or cannot be written."""


class MissingExtra(AttndynError, ImportError):
    """An optional dependency is needed; the message says which extra to install."""


def printable(text: str) -> str:
    """The text with a ? for every character that steers a terminal or a page: a file's author may have put it there."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
