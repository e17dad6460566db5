"""Limit studies: a family of runs whose parameter goes to its limit, the error against the limit, and its rate."""
