"""What tests share: the tokens that the oracles are stated for, a solver much finer than they are, imported models."""

import gc
import os

# Processes of tests share the cores: without this, the threads of torch and of matrix products wait for each other and
# tests take twice as long. Before NumPy is imported, which reads it; the threads of this package are others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Ensemble


def pytest_collection_finish():
    """Look for garbage less often, and not among what stays: compiling makes many objects, and the tests are more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _oracle_tokens(tokens, dimension, unit=True):
    i, k = np.arange(tokens)[:, None], np.arange(dimension)
    x = np.cos(1 + 1.7 * i + 0.9 * k * (i + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x


def _reach(law, x, space, depths, weights=None, rtol=1e-11, atol=1e-13, **options):
    depths = np.atleast_1d(np.asarray(depths, np.float64))
    options = {"method": "dop853", "rtol": rtol, "atol": atol} | options
    solution = integrate(law, Ensemble(x, space, weights), t_end=depths[-1], save_at=depths, exact=True, **options)
    assert solution.status == "finished"
    return solution.positions[:, 0]


@pytest.fixture(scope="session")
def oracle_tokens():
    """(tokens, dimension, unit=True) -> the tokens of oracle 0.3, of unit length or raw."""
    return _oracle_tokens


@pytest.fixture(scope="session")
def reach():
    """(law, x, space, depths, weights=None, **options) -> positions (depths, tokens, dimension) of one replica.

    Landing on the depths, by dop853 at rtol 1e-11 unless told otherwise; the run must finish.
    """
    return _reach


@pytest.fixture(scope="session")
def imported(tmp_path_factory):
    """family -> the folder of an imported model of `checkpoints.MAKES`, small and random, with the text given there."""
    pytest.importorskip("torch", reason="the models are PyTorch's: pip install torch")
    pytest.importorskip("transformers", reason='the models are made by transformers: pip install "attndyn[models]"')
    import attndyn
    import checkpoints

    kept = {}

    def get(family):
        if family not in kept:
            place = tmp_path_factory.mktemp(family)
            checkpoints.made(family).save_pretrained(place / "model")
            checkpoints.word_pieces(place / "model", checkpoints.TEXT)
            kept[family] = attndyn.import_model(place / "model", checkpoints.TEXT, out=place / "out").folder
        return kept[family]

    return get
