"""The numba backend: the drift in O(n d) memory, the same bits on any number of threads.

vectors      short vectors of numbers as a Numba type, and the panel product, the inner loop of a matrix product
side_by_side what is done to several vectors at once
exponential  exp2 of vectors
logarithm    log2(1 + u) of vectors
profiles     from the product or distance of a pair to its weight, for laws that need one pass
plan         a law as arrays, with every constant factor in them
pair_sums    head dimensions up to 4: scores, exponentials and sums of a pair in registers
pairs        the whole drift around them
tile_sums    larger heads: blocks of scores by panel products, exponentials in place, panel products
tiles        the whole drift around them
schedule     which thread computes what
field        a plain law prepared for an ensemble: chooses pairs or tiles
one_pass     laws with a profile, head by head: chooses pairs or profile_tiles, which is tile_sums with other weights
rows         laws of any parts, a few rows at a time; row_weights has their normalisations
tangents     what such laws do before and after it on a sphere
general      such a law prepared for an ensemble: one pass where it has a profile, else rows
"""
