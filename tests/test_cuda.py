"""The torch backend on an NVIDIA GPU: its laws against the reference, its runs and derivatives against the processor's.

Tolerances are those of test_backends, relative to the largest |f_i| for drifts and to the largest |log Z_i| for log Z
and entropy.
"""

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.block import NORMS
from attndyn.particles.ensemble import checked_weights
from test_backends import MASKS, TOLERANCE, law_of, laws_and_shapes, token_weights, tokens_at

torch = pytest.importorskip("torch", reason="the torch backend is an extra")

if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)  # as one, not as two thousand

pytestmark = pytest.mark.cuda

DEVICE = "cuda"
ON_THE_GPU = {"backend": "torch", "device": DEVICE}
NAMES = ("shape", "space", "matrices", "heads", "normalisation", "mask", "dtype")
LAWS = list(laws_and_shapes())
SOFTMAX_LAWS = [law for law in LAWS if law.values[NAMES.index("normalisation")] == "softmax"]
GIB = 2**30


def case(shape, space, matrices, heads, normalisation, mask, dtype):
    """Law, space, weights and positions, as in test_backends."""
    replicas, tokens, dimension, beta, weights, positions = shape
    generator = np.random.default_rng(7)
    space = Sphere(dimension, radius=1.5) if space == "sphere" else Euclidean(dimension)
    law = law_of(
        generator, dimension, matrices=matrices, heads=heads, beta=beta, normalisation=normalisation, mask=mask
    )
    x = tokens_at(generator, (replicas, tokens, dimension), space, positions, dtype)
    return law, space, token_weights(generator, replicas, tokens, weights), x


@pytest.mark.parametrize(NAMES, LAWS)
def test_the_drift_on_a_gpu_agrees_with_the_reference(shape, space, matrices, heads, normalisation, mask, dtype):
    law, space, weights, x = case(shape, space, matrices, heads, normalisation, mask, dtype)
    drift = law.drift(x, space=space, weights=weights, **ON_THE_GPU)
    assert drift.dtype == x.dtype and drift.shape == x.shape
    points = space.retract(x.astype(np.float64))
    f = np.empty_like(points)
    every = checked_weights(weights, x.shape[:2])
    prepare(law, space, every, x.shape, points.dtype, Engine("reference")).attention(0.0, points, f)
    error = np.linalg.norm(drift - space.project(points, f), axis=-1)
    assert error.max() <= TOLERANCE[dtype] * np.linalg.norm(f, axis=-1).max()


@pytest.mark.parametrize(NAMES, SOFTMAX_LAWS)
def test_statistics_on_a_gpu_agree_with_the_reference(shape, space, matrices, heads, normalisation, mask, dtype):
    law, space, weights, x = case(shape, space, matrices, heads, normalisation, mask, dtype)
    log_partition, entropy = law.statistics(x, space=space, weights=weights, **ON_THE_GPU)
    exact = law.statistics(x.astype(np.float64), space=space, weights=weights, backend="reference")
    assert log_partition.shape == entropy.shape == (shape[0], heads, shape[1])
    sees_nobody = exact[0] == -np.inf
    np.testing.assert_array_equal(log_partition == -np.inf, sees_nobody)
    np.testing.assert_array_equal(entropy[sees_nobody], 0.0)
    tolerance = TOLERANCE[dtype] * (1.0 + np.abs(exact[0][~sees_nobody]).max(initial=0.0))
    np.testing.assert_allclose(log_partition, exact[0], rtol=0, atol=tolerance)
    np.testing.assert_allclose(entropy, exact[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "tsit5"},
        {"method": "dop853"},
        {"method": "rk4", "step": 0.05},
        {"method": "geodesic-euler", "step": 0.05},
    ],
    ids=lambda options: options["method"],
)
def test_a_run_on_a_gpu_is_that_on_the_processor(options):
    space = Sphere(3)
    ensemble = Ensemble(space.uniform(np.random.default_rng(1), (2, 60)), space)
    law = Attention(beta=4.0)

    def run(device):
        depths = np.linspace(0.0, 3.0, 4)
        return integrate(law, ensemble, t_end=3.0, save_at=depths, backend="torch", device=device, **options)

    there, here = run(DEVICE), run("cpu")
    assert there.status == here.status == "finished"
    assert np.abs(here.positions[-1] - here.positions[0]).max() > 0.1
    np.testing.assert_allclose(there.positions, here.positions, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_memory_of_a_drift_is_not_that_of_the_pairs(dtype):
    """All scores of 65 536 tokens would be 16 GiB in float32 and 32 GiB in float64."""
    space = Sphere(3)
    x = torch.tensor(space.uniform(np.random.default_rng(2), (1, 65536)).astype(dtype), device=DEVICE)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    drift = Attention(beta=4.0).drift(x, space=space, backend="torch")
    torch.cuda.synchronize()
    assert drift.is_cuda and bool(drift.isfinite().all())
    assert x.nbytes <= torch.cuda.max_memory_allocated() - before < 2 * GIB


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dimension", [3, 20])
def test_a_derivative_on_a_gpu_is_that_on_the_processor(dimension, mask, mode):
    generator = np.random.default_rng(3)
    space = Sphere(dimension)
    law = law_of(generator, dimension, matrices="random", heads=2, beta=1.5, mask=mask)
    x, along = (torch.tensor(array) for array in generator.standard_normal((2, 2, 150, dimension)))
    weights = token_weights(generator, 2, 150, "random")

    def derivative(device):
        def drift(y):
            return law.drift(y, space=space, weights=weights, backend="torch")

        at, direction = x.to(device), along.to(device)
        if mode == "forward":
            return torch.func.jvp(drift, (at,), (direction,))[1]
        return torch.func.vjp(drift, at)[1](direction)[0]

    there, here = derivative(DEVICE), derivative("cpu")
    assert there.device.type == DEVICE
    assert float(here.abs().max()) > 1e-3
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=TOLERANCE["float64"] * float(here.abs().max()))


def test_tensors_come_back_to_the_processor_if_they_were_there():
    x = torch.tensor(Sphere(3).uniform(np.random.default_rng(4), (1, 40)), requires_grad=True)
    drift = Attention(beta=4.0).drift(x, space=Sphere(3), **ON_THE_GPU)
    assert drift.device.type == "cpu"
    drift.square().sum().backward()
    gradient, x.grad = x.grad, None
    Attention(beta=4.0).drift(x, space=Sphere(3), backend="torch").square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, rtol=0, atol=TOLERANCE["float64"])


@pytest.mark.parametrize("norm", NORMS)
def test_blocks_on_a_gpu_are_those_of_the_processor(norm):
    generator = np.random.default_rng(1)
    feed = FeedForward(generator.standard_normal((20, 5)), generator.standard_normal((5, 20)) / 20.0)
    block = Block(Attention(beta=2.0), feed, norm, tau=0.5 if norm == "mix" else None)
    space = Sphere(5) if NORMS[norm].place == "sphere" else Euclidean(5)
    start = Ensemble(Sphere(5).uniform(generator, (3, 40)), space)
    for how in ({"t_end": 1.0}, {"t_end": 1.0, "method": "strang", "step": 0.125}, {"layers": 8, "step": 0.125}):
        here, there = integrate(block, start, **how), integrate(block, start, **how, **ON_THE_GPU)
        np.testing.assert_allclose(there.final, here.final, rtol=0, atol=1e-8)
    x = torch.tensor(start.positions, device=DEVICE, requires_grad=True)
    block.drift(x, space=space, backend="torch").square().sum().backward()
    y = torch.tensor(start.positions, requires_grad=True)
    block.drift(y, space=space, backend="torch").square().sum().backward()
    torch.testing.assert_close(x.grad.cpu(), y.grad, rtol=1e-10, atol=1e-12)
