"""What is computed from a file after the run."""
