"""The layers of a transformer as large as all-MiniLM-L6-v2: against its forward pass in PyTorch, and on a long text."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attndyn import import_model, load
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, LayerNorm
from attndyn.scenarios.build import build

from .drift import resident
from .timing import LeftOut, Row, not_installed, side_by_side

LAYERS, HEADS, DIMENSION, TOKENS, LONG = 6, 12, 384, 512, 10_000
BAR, MOST = 1.3, 600.0


def rows() -> Iterator[Row | LeftOut]:
    """Every measurement of transformers."""
    yield from forward()
    yield from long_text()


def forward() -> Iterator[Row | LeftOut]:
    """All layers on a text of TOKENS tokens in float32, every layer's state kept, against the model in PyTorch."""
    try:
        import torch
        import transformers
    except ImportError as missing:
        yield LeftOut("the forward pass of a transformer", not_installed(missing, "models,torch"))
        return
    config = transformers.BertConfig(num_hidden_layers=LAYERS, num_attention_heads=HEADS, hidden_size=DIMENSION,
                                     intermediate_size=4 * DIMENSION)  # fmt: skip
    torch.manual_seed(0)
    model, ids = transformers.BertModel(config).eval(), list(range(1000, 1000 + TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        scenario = import_model(folder, ids=ids, out=Path(folder) / "out", dtype="float32").scenario
        plan = build(load(scenario))
    given = torch.tensor([ids])

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            return model(given, output_hidden_states=True).hidden_states[-1]

    def ours(backend: str) -> np.ndarray:
        return integrate(plan.law, plan.ensemble, **plan.arguments(), backend=backend).final

    calls = [theirs, lambda: ours("numba"), lambda: ours("torch")]
    apart = [float(np.abs(call() - theirs().numpy()).max()) for call in calls[1:]]
    seconds = side_by_side(calls, rounds=5, repeats=3)
    for backend, time_of, error in zip(("numba", "torch"), seconds[1:], apart, strict=True):
        detail = f"{1e3 * time_of:.0f} against {1e3 * seconds[0]:.0f} ms; {error:.0e} apart"
        what = f"{LAYERS} layers, {HEADS} heads, n = {TOKENS}, d = {DIMENSION}, float32, {backend}"
        yield Row(what, time_of / seconds[0], "of the model in PyTorch", BAR, detail)


def long_text(tokens: int = LONG) -> Iterator[Row]:
    """One block on a text whose n x n weights of all heads would take gigabytes, in a process of its own."""
    matrices = 4 * HEADS * tokens**2 / 1e9
    for backend in ("numba", "torch"):
        code = f"from benchmarks.transformer import through_a_block; print(*through_a_block({backend!r}, {tokens}))"
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        memory, seconds = map(float, answer.split())
        detail = f"{seconds:.1f} s; the weights of all heads would be {matrices:.1f} GB"
        yield Row(
            f"memory of a block, n = {tokens}, {HEADS} heads, {backend}", memory, "MB above the tokens", MOST, detail
        )


def through_a_block(backend: str, tokens: int) -> tuple[float, float]:
    """MB by which a block of the model's shape raises the peak of the resident memory, in float32, and its seconds."""
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns)) / columns**0.5

    names = ("query", "key", "value", "output")
    attention = Attention(heads=HEADS, score="scaled-dot", **{name: matrix(DIMENSION, DIMENSION) for name in names})
    feed_forward = FeedForward(matrix(4 * DIMENSION, DIMENSION), matrix(DIMENSION, 4 * DIMENSION))
    block, space = Block(attention, feed_forward, "add-norm", LayerNorm()), Euclidean(DIMENSION)

    def layer(x: np.ndarray) -> np.ndarray:
        return integrate(block, Ensemble(x, space), layers=1, save_at=[1.0], backend=backend).final

    x = random.standard_normal((1, tokens, DIMENSION)).astype(np.float32)
    layer(x[:, :64])
    before, start = resident("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    layer(x)
    return resident("VmHWM") - before, time.perf_counter() - start
