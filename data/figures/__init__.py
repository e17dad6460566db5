"""Figures of what a file holds: a run, a sweep, a limit study."""

from .drawing import draw, draw_study, draw_sweep, kinds_for

__all__ = ["draw", "draw_study", "draw_sweep", "kinds_for"]
