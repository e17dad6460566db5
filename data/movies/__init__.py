"""Movies of a trajectory."""
