"""Movies of a trajectory: how its tokens move over depth."""

from .film import movie

__all__ = ["movie"]
