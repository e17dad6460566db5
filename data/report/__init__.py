"""One page that shows a file: its tokens as they move, observables, attention, figures, and where it is from."""

from .account import Account
from .page import LONGEST_TEXT, MOST_BYTES, study_page, trajectory_page

__all__ = ["LONGEST_TEXT", "MOST_BYTES", "Account", "study_page", "trajectory_page"]
