"""The drift on an NVIDIA GPU against scaled_dot_product_attention and PyKeOps on the same card and the same tensors.

A pair of tokens counts as 4 d floating-point operations, two products of d multiplications and additions, and 1 for
the exponential. Ours retracts the tokens and projects the drift; the others do the attention alone. What computes in
the number type of ours is compared with it before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Engine, prepare

from .peers import check
from .timing import LeftOut, Measured, Row, not_installed, side_by_side

if TYPE_CHECKING:
    from torch import Tensor

BETA, TOKENS = 4.0, 65536
# dimension and number type
SIZES: tuple[tuple[int, type], ...] = ((3, np.float32), (3, np.float64), (64, np.float32))
LOW_PRECISION_FROM = 64  # the dimension from which SDPA in bfloat16 is measured as well

# TFLOP/s as their makers state them, of dense products on tensor cores in bfloat16 and of the other cores otherwise
# (in float64 the tensor cores of Hopper do 67, those of the A100 19.5)
HOPPER = {"float32": 67.0, "float64": 34.0, "bfloat16": 989.0}
AMPERE = {"float32": 19.5, "float64": 9.7, "bfloat16": 312.0}
PEAKS = {
    "NVIDIA H200": HOPPER,
    "NVIDIA H100 80GB HBM3": HOPPER,
    "NVIDIA A100-SXM4-40GB": AMPERE,
    "NVIDIA A100-SXM4-80GB": AMPERE,
    "NVIDIA A100-PCIE-40GB": AMPERE,
    "NVIDIA A100 80GB PCIe": AMPERE,
}


def rows(tokens: int = TOKENS, rounds: int = 5, repeats: int = 5) -> Iterator[Row | LeftOut]:
    """Nanoseconds per pair of tokens."""
    try:
        import torch
    except ImportError as missing:
        yield LeftOut("the GPU", not_installed(missing, "torch"))
        return
    if not torch.cuda.is_available():
        yield LeftOut("the GPU", "there is no CUDA device")
        return
    for dimension, dtype in SIZES:
        yield from one_drift(tokens, dimension, dtype, rounds, repeats)


def one_drift(tokens: int, dimension: int, dtype: type, rounds: int, repeats: int) -> Iterator[Row | LeftOut]:
    """Ours and the peers on the same tokens, taking turns."""
    import torch

    size = f"n = {tokens}, d = {dimension}"
    space = Sphere(dimension)
    positions = space.uniform(np.random.default_rng(0), (1, tokens)).astype(dtype)
    weights = np.full(tokens, 1.0 / tokens)
    engine = Engine("torch", device="cuda")
    field = prepare(Attention(beta=BETA), space, weights, positions.shape, dtype, engine)
    state = field.load(positions)
    out = torch.empty_like(state)
    field.velocity(0.0, state, out)

    calls = {("attndyn", dtype.__name__): finished(lambda: field.velocity(0.0, state, out))}
    for name, peer, number, extra in peers(dimension, dtype):
        try:
            call = peer(state[0].to(getattr(torch, number)))
            attention = call()
            if number == dtype.__name__:
                check(positions[0], attention.cpu().numpy(), field.host(out)[0])
        except ImportError as missing:
            yield LeftOut(f"{name}, {size}, {number}", not_installed(missing, extra))
        except Exception as failure:  # out of memory, or KeOps: no compiler, in exceptions of many kinds
            yield LeftOut(f"{name}, {size}, {number}", f"it failed: {type(failure).__name__}: {failure}")
        else:
            calls[name, number] = finished(call)
    measured = side_by_side([*calls.values()], rounds, repeats)
    for (name, number), seconds in zip(calls, measured, strict=True):
        detail = speed(torch.cuda.get_device_name(), seconds, tokens, dimension, number)
        if name != "attndyn":
            detail += f"; attndyn in {dtype.__name__} takes {measured[0] / seconds:.2f} of it"
        yield Row(f"{name}, {size}, {number}", seconds / (tokens**2 * 1e-9), "ns per pair", detail=detail)


def finished(call: Callable[[], object]) -> Callable[[], None]:
    """The call until the card has done its work: calls return before."""
    import torch

    def complete() -> None:
        torch.cuda.synchronize()
        call()
        torch.cuda.synchronize()

    return complete


def speed(card: str, seconds: Measured, tokens: int, dimension: int, number: str) -> str:
    """In words: the card, the time per pair, the operations per second and their share of the card's peak."""
    achieved = tokens**2 * (4 * dimension + 1) / float(seconds) * 1e-12
    peak = PEAKS.get(card, {}).get(number)
    share = "peak unknown" if peak is None else f"{achieved / peak:.0%} of {peak:g}"
    return f"{card}: {seconds / (tokens**2 * 1e-9):.4f} ns per pair, {achieved:.3g} TFLOP/s, {share}"


Peer = Callable[["Tensor"], Callable[[], Any]]


def peers(dimension: int, dtype: type) -> Iterator[tuple[str, Peer, str, str]]:
    """Name, call, number type and extra of what is measured beside ours."""
    yield "torch SDPA", torch_attention, dtype.__name__, "torch"
    if dimension >= LOW_PRECISION_FROM:
        yield "torch SDPA", torch_attention, "bfloat16", "torch"
    yield "PyKeOps", keops, dtype.__name__, "benchmark-keops"


def torch_attention(x: Tensor) -> Callable[[], Tensor]:
    """scaled_dot_product_attention; tokens (tokens, dimension)."""
    from torch.nn.functional import scaled_dot_product_attention

    tokens = x[None, None]
    return lambda: scaled_dot_product_attention(tokens, tokens, tokens, scale=BETA)


def keops(x: Tensor) -> Callable[[], Tensor]:
    """A LazyTensor, which KeOps compiles into loops of CUDA; tokens (tokens, dimension)."""
    import pykeops
    from pykeops.torch import LazyTensor

    pykeops.set_verbose(False)
    queries, keys = LazyTensor((BETA * x)[:, None, :]), LazyTensor(x[None, :, :])
    scores = queries | keys
    return lambda: scores.sumsoftmaxweight(keys, axis=1)
