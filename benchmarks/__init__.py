"""Benchmarks: `python -m benchmarks` runs them all and prints tables; speeds are ratios within one run."""
