"""Figures of what a file holds: a run, a sweep, a limit study."""

from .drawing import draw, draw_all, draw_study, draw_sweep, kinds_for
from .kinds import KINDS, STUDY_KINDS, SWEEP_KINDS

__all__ = ["KINDS", "STUDY_KINDS", "SWEEP_KINDS", "draw", "draw_all", "draw_study", "draw_sweep", "kinds_for"]
