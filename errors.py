"""The exceptions a caller may want to tell apart, and what their messages may hold.

Everything the package raises on purpose is one of these.
"""


class AttndynError(Exception):
    """Anything this package raises on purpose."""


class InvalidInput(AttndynError, ValueError):
    """A value the user gave is not allowed; the message names it, what was given and what is allowed."""


class ScenarioError(InvalidInput):
    """A mistake in a scenario; the message is one line that names the key."""


class NoSuchName(InvalidInput, KeyError):
    """There is nothing of this name; the message says which names there are."""

    __str__ = Exception.__str__  # that of a KeyError puts the message in quotes


class NoSuchFrame(InvalidInput, IndexError):
    """There is no frame of this number."""


class ComputationFailed(AttndynError):
    """What was asked for cannot be computed: a flow that runs to infinity, an iteration that does not converge."""


class TrajectoryError(AttndynError):
    """A file is not one that this package can read, or it cannot be written."""


class MissingExtra(AttndynError, ImportError):
    """An optional dependency is needed; the message says which extra to install."""


def printable(text: str) -> str:
    """The text with a ? for every character that steers a terminal or a page: a file's author may have put it there."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
