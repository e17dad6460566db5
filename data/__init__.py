"""What is kept of a run: trajectory files, written while it goes and read lazily."""

from .provenance import provenance_of_run
from .reading import Trajectory, open_trajectory
from .trajectory import TrajectoryWriter

__all__ = ["Trajectory", "TrajectoryWriter", "open_trajectory", "provenance_of_run"]
