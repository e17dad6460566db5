"""Logging: the logger "attndyn" and its children, which are quiet unless the program that uses the package listens."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
ENDING = {"ending": True}  # extra of a record that says how a run ended, which the command line tells in its own words


def logger_of(name: str) -> logging.Logger:
    """The logger of a module of the package."""
    logging.getLogger("attndyn").addHandler(_NOWHERE)  # without a handler Python would print warnings
    return logging.getLogger(name)


@contextmanager
def shown(level: int, form: str) -> Iterator[None]:
    """Meanwhile what the package logs at this level and above goes to stderr, unless an outer `shown` has shown it."""
    logger = logging.getLogger("attndyn")
    outer = min((handler.level for handler in logger.handlers if isinstance(handler, _Shown)), default=sys.maxsize)
    handler, before = _Shown(level, form, outer), logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level, logger.getEffectiveLevel()) if before else level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Shown(logging.StreamHandler):
    """To stderr, from one level to below another."""

    def __init__(self, level: int, form: str, below: int) -> None:
        super().__init__(sys.stderr)
        self.setLevel(level)
        self.setFormatter(logging.Formatter(form))
        verbose = level <= logging.DEBUG
        self.addFilter(lambda record: verbose if hasattr(record, "ending") else record.levelno < below)


_NOWHERE = logging.NullHandler()
