"""Sums over tokens in O(n): on the circle by a Fourier expansion, on the sphere in R^3 by spherical harmonics."""
