"""The report: one page that shows a whole run, and needs nothing else."""
