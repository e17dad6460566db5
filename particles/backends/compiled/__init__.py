"""The numba backend: the drift in O(n d) memory, the same bits on any number of threads.

vectors      short vectors of numbers as a Numba type, and the panel product, the inner loop of a matrix product
exponential  exp2 of vectors
plan         a law as arrays, with every constant factor in them
pair_sums    head dimensions up to 4: scores, exponentials and sums of a pair in registers
pairs        the whole drift around them
tile_sums    larger heads: blocks of scores by panel products, exponentials in place, panel products
tiles        the whole drift around them
schedule     which thread computes what
field        a law prepared for an ensemble: chooses pairs or tiles
"""
