"""Attention over parts of the keys: every way of computing it, and merging the parts."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch backend is an extra")
from attndyn.errors import InvalidInput  # noqa: E402
from attndyn.particles import Attention, Euclidean  # noqa: E402
from attndyn.particles.backends.tensor import blocks, bounded, rows  # noqa: E402

masks = pytest.mark.parametrize("mask", ["none", "causal", "without-self"])
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def system(queries, keys, dimension, width=None, weighted=False, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)

    def gaussian(count, components):
        return torch.randn(2, 2, count, components, dtype=torch.float64, generator=generator).to(dtype)

    weights = None
    if weighted:
        weights = torch.rand(2, keys, dtype=torch.float64, generator=generator).to(dtype)
        weights[:, : keys // 3] = 0.0
    q, k, v = gaussian(queries, dimension), gaussian(keys, dimension), gaussian(keys, width or dimension)
    return scale / dimension**0.5 * q, k, v, weights


def written_out(queries, keys, values, weights, mask, first_query=0, first_key=0):
    """The same with the whole matrix, in float64."""
    queries, keys, values = (tensor.double() for tensor in (queries, keys, values))
    i = first_query + torch.arange(queries.shape[2])[:, None]
    j = first_key + torch.arange(keys.shape[2])
    seen = {"none": (j == j) & (i == i), "causal": j <= i, "without-self": j != i}[mask]
    scores = torch.where(seen, queries @ keys.mT, -torch.inf)
    if weights is not None:
        scores = scores + weights.double().log()[:, None, None]
    return (torch.softmax(scores, -1) @ values).nan_to_num(), torch.logsumexp(scores, -1)


def agree(ours, exact, dtype, scale=1.0):
    for one, other in zip(ours, exact, strict=True):
        nothing = other == -torch.inf
        np.testing.assert_array_equal(one == -torch.inf, nothing)
        np.testing.assert_allclose(one[~nothing], other[~nothing], rtol=0, atol=20 * scale * TOLERANCE[dtype] / 10)


@masks
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("dimension", "width"), [(3, 3), (3, 2), (20, 20)])
def test_blocks_are_the_matrix_written_out(dimension, width, dtype, mask, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_KEYS", {"cpu": 32})
    monkeypatch.setattr(blocks, "BLOCK", {"cpu": 32 * 24 * 8})
    monkeypatch.setattr(rows, "choose", lambda *_: "blocks")
    for weighted, first_key in itertools.product((False, True), (0, 40, -80, 300, -300)):
        q, k, v, weights = system(150, 90, dimension, width, weighted, dtype)
        ours = rows.attend(q, k, v, weights, mask, 0, first_key)
        agree(ours, written_out(q, k, v, weights, mask, 0, first_key), dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("keys", [40, 90])
def test_the_kernel_of_torch_is_the_matrix_written_out(keys, mask, weighted):
    q, k, v, weights = system(70, keys, 20, weighted=weighted)
    assert rows.choose(q, k, v, mask, 0) == "torch"
    agree(rows.attend(q, k, v, weights, mask), written_out(q, k, v, weights, mask), torch.float64)


@masks
@pytest.mark.parametrize("dimension", [3, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_keys_in_parts_give_what_they_give_together(weighted, dimension, mask):
    """Queries 30 to 80 of 120 tokens meet the tokens in five parts, the last first."""
    q, k, v, weights = system(120, 120, dimension, weighted=weighted)
    part = None
    for j in reversed(range(0, 120, 24)):
        at = slice(j, j + 24)
        some = rows.attend(
            q[:, :, 30:80], k[:, :, at], v[:, :, at], None if weights is None else weights[:, at], mask, 30, j
        )
        part = some if part is None else rows.merge(part, some)
    average, log_partition = written_out(q, k, v, weights, mask)
    agree(part, (average[:, :, 30:80], log_partition[:, :, 30:80]), torch.float64)


@masks
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_loose_bound_is_replaced_by_the_largest_exponent(dtype, mask, monkeypatch):
    """Scores around -400 and +400, far below |q| |k|; a key without weight lies above all others."""
    monkeypatch.setattr(rows, "choose", lambda *_: "blocks")
    q, k, v, weights = system(40, 50, 3, weighted=True, dtype=dtype, scale=400.0)
    k[:, :, 0] *= 5.0
    ours = rows.attend(q, k, v, weights, mask)
    exact = written_out(q, k, v, weights, mask)
    agree(ours, exact, dtype, scale=1000.0)
    assert float(exact[1].max()) > 400.0


@pytest.mark.parametrize("dimension", [3, 20])
def test_a_block_is_bounded(dimension):
    """No tensor that is made on the way is larger than 64 MiB."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            nonlocal largest
            made = function(*arguments, **(keywords or {}))
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel() * tensor.element_size())
            return made

    q, k, v, weights = system(6000, 6000, dimension, weighted=True)
    for mask in ("none", "without-self"):
        with Watch():
            rows.attend(q[:1, :1], k[:1, :1], v[:1, :1], weights[:1], mask)
    assert 6000 * dimension * 8 <= largest <= 64 * 2**20


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidInput, match="device 'cuda' needs an NVIDIA GPU"):
        Attention().drift(np.eye(3), space=Euclidean(3), backend="torch", device="cuda")


def test_without_torch_the_extra_is_named():
    code = """if True:
        import sys
        sys.modules["torch"] = None
        import numpy as np
        from attndyn.errors import MissingExtra
        from attndyn.particles import Attention, Euclidean
        try:
            Attention().drift(np.eye(3), space=Euclidean(3), backend="torch")
        except MissingExtra as error:
            print(error)
    """
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "attndyn[torch]" in printed


def compare_fused():
    """Our GPU kernels, interpreted, on tensors of this processor: run in a process of its own by the test below."""
    from attndyn.particles.backends.tensor import fused

    cases = [(3, 3, torch.float64, 1.0), (2, 4, torch.float32, 1.0), (3, 3, torch.float64, 300.0)]
    cases += [(1, 1, torch.float64, 1.0), (20, 20, torch.float64, 1.0), (7, 5, torch.float32, 300.0)]
    ways = list(itertools.product(("none", "causal", "without-self"), (False, True), (0, 7)))
    for number, (dimension, width, dtype, scale) in enumerate(cases):
        # all of them for the first; for each other every mask, weights or none, and both places
        for mask, weighted, ahead in ways if number == 0 else ways[number % 3 :: 3]:
            q, k, v, weights = system(70, 45, dimension, width, weighted, dtype, scale)
            weights = None if weights is None else weights.repeat_interleave(2, 0)
            tensors = (tensor.flatten(0, 1) for tensor in (q, k, v))
            ours = bounded.attend(bounded.Pairs(*tensors, weights, mask, ahead), fused)
            exact = written_out(q, k, v, None if weights is None else weights[::2], mask, 0, ahead)
            agree(ours, [tensor.flatten(0, 1) for tensor in exact], dtype, scale=max(1.0, 3 * scale))
    print("all agree")


@pytest.mark.slow
def test_the_kernels_for_gpus_are_right_when_interpreted():
    pytest.importorskip("triton", reason="triton comes with torch for GPUs only")
    import os
    from pathlib import Path

    code = "import test_tensor_rows; test_tensor_rows.compare_fused()"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout == "all agree\n", run.stderr
