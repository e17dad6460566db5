"""Initial laws: their moments and closed forms, their random streams, tokens from files, and families of matrices."""

import pickle

import h5py
import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Ensemble, Euclidean, Sphere, weights
from attndyn.particles.arrays import read_array
from attndyn.particles.initial import LAWS
from hypothesis import given, settings
from hypothesis import strategies as st

COUNT = 20_000
WITHIN = 5 / np.sqrt(COUNT)  # five standard errors of a mean of numbers of unit variance

# laws


def test_uniform_tokens_are_in_the_region_asked_for():
    sphere = Ensemble.uniform(Sphere(3, radius=2.0), tokens=50).positions
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=-1), 2.0, rtol=1e-14)
    ball = Ensemble.uniform(Euclidean(3), tokens=COUNT, radius=2.0).positions[0]
    lengths = np.linalg.norm(ball, axis=-1)
    assert 1.99 < lengths.max() <= 2.0
    np.testing.assert_allclose(np.mean(lengths**3) / 8.0, 0.5, atol=WITHIN)
    cube = Ensemble.uniform(Euclidean(3), tokens=COUNT, radius=2.0, region="cube").positions[0]
    assert 1.99 < np.abs(cube).max() <= 2.0 and np.linalg.norm(cube, axis=-1).max() > 2.5
    np.testing.assert_allclose(np.mean(cube**2, axis=0), 4.0 / 3.0, atol=2 * WITHIN)


def test_gaussian_tokens_have_the_mean_and_covariance_asked_for():
    mean, covariance = np.array([1.0, -2.0, 0.0]), np.array([[2.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 0.0]])
    x = Ensemble.gaussian(Euclidean(3), tokens=COUNT, mean=mean, covariance=covariance).positions[0]
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=2 * WITHIN)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=3 * WITHIN)
    np.testing.assert_allclose(x[:, 2], 0.0, atol=1e-14)  # a singular covariance is allowed
    x = Ensemble.gaussian(Euclidean(2), tokens=COUNT, deviation=0.3).positions[0]
    np.testing.assert_allclose(np.cov(x.T) / 0.09, np.eye(2), atol=3 * WITHIN)


def test_gaussian_tokens_on_a_sphere_are_retracted():
    x = Ensemble.gaussian(Sphere(3, radius=2.0), tokens=COUNT, mean=[0.0, 0.0, 5.0], deviation=0.1).positions[0]
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 2.0, rtol=1e-14)
    np.testing.assert_allclose(x[:, :2].std(axis=0), 2.0 * 0.1 / 5.0, rtol=0.05)


def test_mixture_tokens_are_spread_about_their_centres_in_turn():
    centres = np.array([[0.0, 4.0], [3.0, 0.0], [-3.0, -1.0]])
    x = Ensemble.draw("mixture", Euclidean(2), tokens=COUNT, centres=centres, spread=0.5).positions[0]
    for cluster, centre in enumerate(centres):
        mine = x[cluster::3]
        np.testing.assert_allclose(mine.mean(axis=0), centre, atol=WITHIN)
        np.testing.assert_allclose(np.cov(mine.T), 0.25 * np.eye(2), atol=WITHIN)


def test_mixture_tokens_without_spread_are_their_centres():
    x = Ensemble.draw("mixture", Sphere(3), tokens=11, clusters=4, spread=0.0).positions[0]
    np.testing.assert_allclose(x, x[np.arange(11) % 4], rtol=0, atol=1e-15)
    assert len(np.unique(x.round(12), axis=0)) == 4
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1.0, rtol=1e-14)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.integers(0, 3), st.floats(0, 1), st.floats(0.1, 30))
def test_equiangular_tokens_have_the_cosine_asked_for(tokens, more, part, radius):
    least = -1.0 / (tokens - 1) if tokens > 1 else -1.0
    cosine = least + part * (1.0 - least)
    space = Sphere(max(tokens + more, 2), radius)
    x = Ensemble.draw("equiangular", space, tokens=tokens, cosine=cosine).positions[0]
    expected = np.full((tokens, tokens), cosine)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(x @ x.T / radius**2, expected, rtol=0, atol=1e-13)


def test_grid_tokens_are_evenly_spaced_from_the_phase():
    x = Ensemble.draw("grid", Sphere(2, radius=3.0), tokens=8, phase=0.1).positions[0]
    np.testing.assert_allclose(x[0], [3.0 * np.cos(0.1), 3.0 * np.sin(0.1)], rtol=1e-15)
    complex_x = x @ [1.0, 1.0j]
    np.testing.assert_allclose(np.roll(complex_x, -1) / complex_x, np.exp(2j * np.pi / 8), rtol=1e-13)


# random streams


@pytest.mark.parametrize("law, space, options", [
    ("uniform", Sphere(3), {}),
    ("uniform", Euclidean(3), {"region": "cube"}),
    ("gaussian", Euclidean(3), {}),
    ("mixture", Sphere(3), {"clusters": 3}),
])  # fmt: skip
def test_a_replica_does_not_depend_on_how_many_others_there_are(law, space, options):
    def drawn(replicas, seed=5):
        return Ensemble.draw(law, space, tokens=7, replicas=replicas, seed=seed, **options).positions

    many = drawn(6)
    np.testing.assert_array_equal(many[:2], drawn(2))
    np.testing.assert_array_equal(many, drawn(6))
    assert len(np.unique(many[:, 0, 0])) == 6
    assert not np.isclose(many, drawn(6, seed=6)).any()


def test_tokens_come_in_the_type_asked_for():
    drawn = Ensemble.draw("uniform", Sphere(3), tokens=5, seed=2)
    single = Ensemble.draw("uniform", Sphere(3), tokens=5, seed=2, dtype=np.float32)
    assert drawn.positions.dtype == np.float64 and single.positions.dtype == np.float32
    np.testing.assert_array_equal(single.positions, drawn.positions.astype(np.float32))


# files


def write(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, tokens=array)
    elif path.suffix == ".csv":
        np.savetxt(path, array, delimiter=",", fmt="%.17g")
    else:
        with h5py.File(path, "w") as file:
            file["tokens"] = array
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".h5", ".hdf5", ".NPY"])
def test_tokens_from_a_file_are_what_it_holds(tmp_path, suffix):
    array = np.random.default_rng(0).standard_normal((6, 3))
    path = write(tmp_path / f"tokens{suffix.lower()}", array)
    path = path.rename(path.with_suffix(suffix))
    np.testing.assert_array_equal(Ensemble.from_file(path, Euclidean(3)).positions[0], array)
    np.testing.assert_array_equal(Ensemble.from_file(str(path), Euclidean(3), tokens=4).positions[0], array[:4])
    on_sphere = Ensemble.from_file(path, Sphere(3, radius=2.0)).positions[0]
    np.testing.assert_allclose(on_sphere, Sphere(3, radius=2.0).retract(array), rtol=1e-15)


def test_one_replica_of_a_file_is_repeated_and_several_are_taken_as_they_are(tmp_path):
    array = np.random.default_rng(0).standard_normal((2, 6, 3))
    many, one = write(tmp_path / "many.npy", array), write(tmp_path / "one.npy", array[0])
    np.testing.assert_array_equal(Ensemble.from_file(many, Euclidean(3), replicas=2).positions, array)
    repeated = Ensemble.from_file(one, Euclidean(3), replicas=3).positions
    np.testing.assert_array_equal(repeated, np.repeat(array[:1], 3, axis=0))


def test_a_csv_file_may_have_a_heading(tmp_path):
    path = tmp_path / "tokens.csv"
    path.write_text("x,y\n1,2\n3,4.5\n", encoding="utf-8")
    np.testing.assert_array_equal(read_array(path), [[1.0, 2.0], [3.0, 4.5]])
    path.write_text("1,2\n", encoding="utf-8")
    np.testing.assert_array_equal(read_array(path), [[1.0, 2.0]])


def test_the_array_of_a_file_of_many_is_named(tmp_path):
    a, b = np.eye(3), np.arange(6).reshape(2, 3)
    np.savez(tmp_path / "two.npz", a=a, b=b)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["group/a"], file["b"] = a, b
    np.testing.assert_array_equal(read_array(tmp_path / "two.npz", "b"), b)
    np.testing.assert_array_equal(read_array(tmp_path / "two.h5", "/group/a"), a)
    for name, names in {"two.npz": "a, b", "two.h5": "b, group/a"}.items():
        for array in (None, "c"):
            with pytest.raises(InvalidInput, match=f"array must be one of {names} in .*{name}; got {array!r}"):
                read_array(tmp_path / name, array)


class Exploit:
    """Unpickling this runs code."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickle_is_never_loaded(tmp_path):
    pickled = np.empty(1, dtype=object)
    pickled[0] = Exploit()
    np.save(tmp_path / "tokens.npy", pickled, allow_pickle=True)
    np.savez(tmp_path / "tokens.npz", tokens=pickled)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Exploit()))
    for name in ("tokens.npy", "tokens.npz", "bare.npy"):
        with pytest.raises(InvalidInput, match=r"cannot be read as an array: it holds Python objects"):
            read_array(tmp_path / name)


@pytest.mark.parametrize("name, content, message", [
    ("missing.npy", None, "missing.npy does not exist"),
    ("folder.npy", "folder", "folder.npy is a folder; a file with an array is needed"),
    ("tokens.txt", b"1,2,3", "must be one of .npy, .npz, .csv, .h5, .hdf5; got .txt"),
    ("tokens", b"1,2,3", "must be one of .npy, .npz, .csv, .h5, .hdf5; got no suffix"),
    ("damaged.npz", b"PK\x03\x04 and no more", "damaged.npz cannot be read as an array"),
    ("damaged.h5", b"\x89HDF and no more", "damaged.h5 cannot be read as an array"),
    ("empty.npy", b"", "empty.npy cannot be read as an array"),
    ("words.csv", b"a,b\nc,d\n", "words.csv cannot be read as an array"),
    ("ragged.csv", b"1,2\n3\n", "ragged.csv cannot be read as an array"),
    ("nan.csv", b"1,2\n3,nan\n", "nan.csv holds values that are NaN or infinite"),
    ("inf.npy", np.array([[1.0, np.inf]]), "inf.npy holds values that are NaN or infinite"),
    ("text.npy", np.array([["a", "b"]]), "text.npy must hold an array of numbers; got <U1 of shape"),
    ("complex.npy", np.ones((2, 3), complex), "complex.npy must hold an array of numbers; got complex128"),
    ("nothing.npy", np.empty((0, 3)), r"nothing.npy must hold an array of numbers; got float64 of shape \(0, 3\)"),
    ("number.npy", np.float64(1.0), r"number.npy must hold an array of numbers; got float64 of shape \(\)"),
    ("narrow.npy", np.ones((4, 2)), r"must have the shape \(tokens, 3\) or \(1, tokens, 3\); got \(1, 4, 2\)"),
    ("many.npy", np.ones((2, 4, 3)), r"must have the shape \(tokens, 3\) or \(1, tokens, 3\); got \(2, 4, 3\)"),
    ("flat.npy", np.ones(3), r"must have the shape \(tokens, 3\) or \(1, tokens, 3\); got \(3,\)"),
    ("origin.npy", np.zeros((4, 3)), "positions must be finite"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_file_that_holds_no_tokens_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.mkdir()
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InvalidInput, match=message):
        Ensemble.from_file(path, Sphere(3))


@pytest.mark.parametrize("tokens", [0, -1, 7])
def test_no_more_tokens_than_a_file_holds(tmp_path, tokens):
    path = write(tmp_path / "tokens.npy", np.ones((6, 3)))
    with pytest.raises(InvalidInput, match=rf"tokens must lie in \[1, 6\], what .*tokens.npy holds; got {tokens}"):
        Ensemble.from_file(path, Euclidean(3), tokens=tokens)


# mistakes


@pytest.mark.parametrize("law, space, options, message", [
    ("normal", Sphere(3), {}, "initial law must be one of uniform, .*, file; got 'normal'"),
    ("uniform", Sphere(3), {"tokens": None}, "tokens must be at least 1; got None"),
    ("uniform", Sphere(3), {"tokens": 0}, "tokens must be at least 1; got 0"),
    ("uniform", Sphere(3), {"replicas": 0}, "replicas must be at least 1; got 0"),
    ("uniform", Euclidean(3), {"spread": 0.1}, "initial law 'uniform' takes radius, region; got 'spread'"),
    ("uniform", Sphere(3), {"radius": 2.0}, "radius and region belong to uniform tokens in a Euclidean space"),
    ("uniform", Sphere(3), {"region": "ball"}, "radius and region belong to uniform tokens in a Euclidean space"),
    ("gaussian", Euclidean(3), {"mean": [0.0, 1.0]}, r"mean must have 3 components; got the shape \(2,\)"),
    ("gaussian", Euclidean(2), {"covariance": np.eye(3)}, r"covariance must be a symmetric \(2, 2\) matrix; got"),
    ("gaussian", Euclidean(2), {"covariance": [[1, 1], [0, 1]]}, r"covariance must be a symmetric \(2, 2\) matrix"),
    ("gaussian", Euclidean(2), {"covariance": np.diag([1, -1])}, "positive semidefinite; its least eigenvalue is -1"),
    ("mixture", Sphere(3), {}, "mixture needs either clusters .* or centres"),
    ("mixture", Sphere(3), {"clusters": 2, "centres": np.eye(3)}, "mixture needs either clusters .* not both"),
    ("mixture", Sphere(3), {"clusters": 0}, "clusters must be at least 1; got 0"),
    ("mixture", Sphere(3), {"centres": np.eye(2)}, r"centres must have the shape \(clusters, 3\); got \(2, 2\)"),
    ("equiangular", Euclidean(5), {}, "equiangular tokens need a sphere"),
    ("equiangular", Sphere(4), {}, "a dimension of at least tokens = 5; got dimension 4"),
    ("equiangular", Sphere(5), {"cosine": 1.1}, r"cosine must lie in \[-0.25, 1\] for 5 tokens; got 1.1"),
    ("equiangular", Sphere(5), {"cosine": -0.3}, r"cosine must lie in \[-0.25, 1\] for 5 tokens; got -0.3"),
    ("grid", Sphere(3), {}, "grid tokens are evenly spaced on the circle: they need a sphere of dimension 2"),
    ("grid", Euclidean(2), {}, "grid tokens are evenly spaced on the circle: they need a sphere of dimension 2"),
])  # fmt: skip
def test_a_mistake_in_an_initial_law_is_named(law, space, options, message):
    with pytest.raises(InvalidInput, match=message):
        Ensemble.draw(law, space, **({"tokens": 5} | options))


def test_every_law_draws_tokens_of_its_space():
    needs = {"mixture": {"clusters": 2}}
    for law in LAWS:
        tokens = Ensemble.draw(law, Sphere(2), tokens=2, replicas=3, **needs.get(law, {}))
        assert tokens.positions.shape == (3, 2, 2)
        np.testing.assert_allclose(np.linalg.norm(tokens.positions, axis=-1), 1.0, rtol=1e-14)


# families of matrices


@pytest.mark.parametrize("rows, columns", [(40, 60), (60, 40), (50, 50)])
def test_families_of_matrices_have_their_properties(rows, columns):
    gaussian = weights.draw("gaussian", rows, columns, seed=1)
    np.testing.assert_allclose(gaussian.std() * np.sqrt(columns), 1.0, atol=5 / np.sqrt(2 * rows * columns))
    orthogonal = weights.draw("orthogonal", rows, columns, seed=1)
    small = orthogonal @ orthogonal.T if rows <= columns else orthogonal.T @ orthogonal
    np.testing.assert_allclose(small, np.eye(min(rows, columns)), atol=1e-13)
    np.testing.assert_array_equal(weights.draw("identity", rows, columns, seed=1), np.eye(rows, columns))
    assert gaussian.shape == orthogonal.shape == (rows, columns)
    if rows == columns:
        symmetric = weights.draw("symmetric", rows, columns, seed=1)
        np.testing.assert_array_equal(symmetric, symmetric.T)
        assert 1.5 < np.abs(np.linalg.eigvalsh(symmetric)).max() < 2.5
        diagonal = weights.draw("diagonal", rows, columns, seed=1)
        np.testing.assert_array_equal(diagonal, np.diag(np.diag(diagonal)))


def test_orthogonal_matrices_are_haar_distributed():
    """The trace of a Haar matrix has mean 0 and variance 1; QR without its signs gives another law."""
    traces = [np.trace(weights.draw("orthogonal", 3, 3, seed=0, stream=(k,))) for k in range(2000)]
    assert abs(np.mean(traces)) < 5 / np.sqrt(2000)
    assert abs(np.var(traces) - 1) < 5 * np.sqrt(2 / 2000)


def test_a_matrix_does_not_depend_on_which_others_are_drawn():
    one = weights.draw("gaussian", 3, 3, seed=4, stream=(2, 1))
    np.testing.assert_array_equal(one, weights.draw("gaussian", 3, 3, seed=4, stream=(2, 1)))
    others = [weights.draw("gaussian", 3, 3, seed=4, stream=s) for s in ((2,), (2, 2), (1, 2), ())]
    assert not any(np.isclose(one, other).any() for other in [*others, weights.draw("gaussian", 3, 3, seed=5)])
    tokens = Ensemble.gaussian(Euclidean(3), tokens=3, seed=4).positions[0]
    assert not np.isclose(weights.draw("gaussian", 3, 3, seed=4, stream=(0,)) * np.sqrt(3), tokens).any()


def test_a_mistake_in_a_family_is_named():
    with pytest.raises(InvalidInput, match=r"matrix law must be one of identity, .*, diagonal; got 'normal'"):
        weights.draw("normal", 3, 3, seed=0)
    for family in ("symmetric", "diagonal"):
        with pytest.raises(InvalidInput, match=rf"a {family} matrix is square; this one would be \(3, 4\)"):
            weights.draw(family, 3, 4, seed=0)
