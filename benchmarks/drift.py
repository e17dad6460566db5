"""The drift against torch's scaled_dot_product_attention on the same tensors, and against itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Field, prepare

from .timing import LeftOut, Row, not_installed, side_by_side

# tokens, dimension: bars in float64 and float32
Sizes = dict[tuple[int, int], tuple[float, float]]
SINGLE_HEAD: Sizes = {
    (4096, 3): (0.33, 0.20),
    (4096, 16): (0.7, 1.0),
    (4096, 64): (0.85, 1.1),
    (2048, 256): (1.0, 1.15),
}
TYPES = (np.float64, np.float32)


def rows() -> Iterator[Row | LeftOut]:
    """Every measurement of the drift."""
    try:
        yield from against_torch()
        yield from heads_against_torch()
    except ImportError as missing:
        yield LeftOut("the drift against scaled_dot_product_attention", not_installed(missing, "benchmark"))
    yield from causal_against_unmasked()
    yield from replicas_against_one()
    yield memory()


def _field(
    law: Attention, space: Sphere, replicas: int, tokens: int, dtype: type
) -> tuple[Field, np.ndarray, np.ndarray]:
    positions = space.uniform(np.random.default_rng(0), (replicas, tokens)).astype(dtype)
    field = prepare(law, space, np.full(tokens, 1.0 / tokens), positions.shape, positions.dtype)
    return field, positions, np.empty_like(positions)


def against_torch(sizes: Sizes = SINGLE_HEAD) -> Iterator[Row]:
    """One head, Q = K = V = I on the sphere."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    for (tokens, dimension), bars in sizes.items():
        for dtype, bar in zip(TYPES, bars, strict=True):
            field, x, out = _field(Attention(beta=4.0), Sphere(dimension), 1, tokens, dtype)
            tensor = torch.from_numpy(x)[:, None]

            def theirs(tensor=tensor):
                return scaled_dot_product_attention(tensor, tensor, tensor, scale=4.0)

            ours, torchs = side_by_side([lambda f=field, x=x, o=out: f.velocity(0.0, x, o), theirs])
            pairs = tokens**2 * 1e-9
            detail = f"{ours / pairs:.2f} against {torchs / pairs:.2f} ns per pair"
            yield Row(f"drift, n = {tokens}, d = {dimension}, {dtype.__name__}", ours / torchs, "of SDPA", bar, detail)


def heads_against_torch() -> Iterator[Row]:
    """Twelve heads with all projections, as in the scenario minilm-alice."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    tokens, dimension, heads = 512, 384, 12
    generator = np.random.default_rng(0)
    q, k, v, o = (generator.standard_normal((dimension, dimension)) / dimension**0.5 for _ in range(4))
    law = Attention(beta=(dimension / heads) ** -0.5, heads=heads, query=q, key=k, value=v, output=o)
    for dtype, bar in zip(TYPES, (1.0, 1.2), strict=True):
        field, x, out = _field(law, Sphere(dimension, dimension**0.5), 1, tokens, dtype)
        tensor = torch.from_numpy(x)
        matrices = [torch.from_numpy(m.astype(dtype)) for m in (q, k, v, o)]

        def theirs(tensor=tensor, matrices=matrices):
            split = [(tensor @ m.T).reshape(1, tokens, heads, -1).transpose(1, 2) for m in matrices[:3]]
            joined = scaled_dot_product_attention(*split).transpose(1, 2).reshape(1, tokens, dimension)
            return joined @ matrices[3].T

        ours, torchs = side_by_side([lambda f=field, x=x, o=out: f.velocity(0.0, x, o), theirs])
        detail = f"{ours * 1e3:.2f} against {torchs * 1e3:.2f} ms"
        yield Row(f"drift, 12 heads, n = 512, d = 384, {dtype.__name__}", ours / torchs, "of SDPA", bar, detail)


def causal_against_unmasked(tokens: int = 4096) -> Iterator[Row]:
    """A causal mask should cost half."""
    for dimension in (3, 64):
        plain, x, out = _field(Attention(beta=4.0), Sphere(dimension), 1, tokens, np.float64)
        causal, _, _ = _field(Attention(beta=4.0, mask="causal"), Sphere(dimension), 1, tokens, np.float64)
        full, half = side_by_side([lambda f=f, x=x, o=out: f.velocity(0.0, x, o) for f in (plain, causal)])
        yield Row(f"causal drift, n = {tokens}, d = {dimension}", half / full, "of unmasked", 0.6)


def replicas_against_one() -> Iterator[Row]:
    """Many small systems should cost per pair what one large one does."""
    for dtype in TYPES:
        many, x, out = _field(Attention(beta=4.0), Sphere(2), 2048, 32, dtype)
        one, y, other = _field(Attention(beta=4.0), Sphere(2), 1, 4096, dtype)
        calls = [lambda f=f, x=x, o=o: f.velocity(0.0, x, o) for f, x, o in ((many, x, out), (one, y, other))]
        small, large = side_by_side(calls)
        ratio = (small / (2048 * 32**2)) / (large / 4096**2)
        detail = f"{small / (2048 * 32**2) * 1e9:.2f} against {large / 4096**2 * 1e9:.2f} ns per pair"
        yield Row(f"2048 replicas of 32 tokens, d = 2, {dtype.__name__}", ratio, "of n = 4096 per pair", 1.5, detail)


def memory() -> Row:
    """The memory of one drift of 100 000 tokens, in a process of its own: the peak above what the tokens need."""
    code = "from benchmarks.drift import memory_of_one_drift; print(memory_of_one_drift())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Row("memory of one drift, n = 100 000, d = 3", float(answer.stdout), "MB above the tokens", 200.0)


def memory_of_one_drift() -> float:
    """MB by which one drift raises the peak of the resident memory, kernels being loaded and the tokens drawn."""
    law, space = Attention(beta=4.0), Sphere(3)
    for tokens in (64, 4096):
        field, x, out = _field(law, space, 1, tokens, np.float64)
        field.velocity(0.0, x, out)
    x = space.uniform(np.random.default_rng(0), (1, 100_000))
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    field = prepare(law, space, np.full(100_000, 1e-5), x.shape, x.dtype)
    field.velocity(0.0, x, np.empty_like(x))
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in lines if line.startswith(name))
