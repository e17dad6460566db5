"""Every tableau satisfies the order conditions it claims, and agrees with the coefficients that scipy has."""

from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
import pytest
from attndyn.integrators.stages import error_norm
from attndyn.integrators.tableaux import TABLEAUX, Tableau, hermite
from scipy.integrate import DOP853, RK23, RK45

# the order of a method's interpolant: its error in one step is O(h^(order + 1))
INTERPOLANT_ORDER = {"euler": 1, "heun": 2, "rk4": 3, "bs32": 3, "tsit5": 4, "dp54": 4, "dop853": 7}
LARGEST_COEFFICIENTS = 2e-12  # rounding: those of the interpolant of dop853 are of the order of 1000

names = pytest.mark.parametrize("name", TABLEAUX)
embedded = pytest.mark.parametrize("name", [name for name, t in TABLEAUX.items() if t.error is not None])


@cache
def rooted_trees(nodes):
    """All rooted trees with this many nodes; a tree is the sorted tuple of the trees that hang on its root."""
    return sorted(_forests(nodes - 1, nodes - 1))


def _forests(nodes, largest):
    """Tuples of trees of at most `largest` nodes each, `nodes` in all."""
    if nodes == 0:
        return [()]
    found = []
    for size in range(min(nodes, largest), 0, -1):
        for copies in range(1, nodes // size + 1):
            for some in combinations_with_replacement(rooted_trees(size), copies):
                found += [(*some, *rest) for rest in _forests(nodes - copies * size, size - 1)]
    return found


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    """gamma of Butcher's theory: the order condition of a tree is sum_s b_s Phi_s = 1 / gamma."""
    return size(tree) * prod(map(density, tree))


def elementary_weights(a, tree):
    """Phi_s of a tree for every stage s, (stages,)."""
    weights = np.ones(len(a))
    for branch in tree:
        weights = weights * (a @ elementary_weights(a, branch))
    return weights


def trees_up_to(order):
    return [tree for nodes in range(1, order + 1) for tree in rooted_trees(nodes)]


def all_stages(tableau):
    """The coefficients of every slope of a step, the one at its end and those of the interpolant included."""
    a = np.zeros((tableau.slopes, tableau.slopes))
    a[: tableau.stages, : tableau.stages] = tableau.a
    a[tableau.stages, : tableau.stages] = tableau.b
    if len(tableau.extra):
        a[tableau.stages + 1 :] = tableau.extra
    return a


def largest_defect(a, b, trees, theta=1.0):
    """max over the trees of |sum_s b_s Phi_s - theta^nodes / gamma|."""
    return max(abs(b @ elementary_weights(a, tree) - theta ** size(tree) / density(tree)) for tree in trees)


def test_the_rooted_trees_are_as_many_as_there_are():
    # A000081
    assert [len(rooted_trees(nodes)) for nodes in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    tall = ((((),),),)  # four nodes in a row: gamma = 4!
    assert density(tall) == factorial(4)


@names
def test_the_weights_meet_every_order_condition_up_to_the_order(name):
    tableau = TABLEAUX[name]
    assert largest_defect(tableau.a, tableau.b, trees_up_to(tableau.order)) < 5e-14


@names
def test_the_order_is_not_higher_than_stated(name):
    tableau = TABLEAUX[name]
    assert largest_defect(tableau.a, tableau.b, rooted_trees(tableau.order + 1)) > 1e-7


@names
def test_the_weights_integrate_polynomials_up_to_the_order(name):
    tableau = TABLEAUX[name]
    c = tableau.a.sum(axis=1)
    defects = [tableau.b @ c ** (q - 1) - 1 / q for q in range(1, tableau.order + 1)]
    np.testing.assert_allclose(defects, 0.0, atol=5e-14)


@embedded
def test_the_error_estimate_is_that_of_a_method_of_lower_order(name):
    tableau = TABLEAUX[name]
    a = all_stages(tableau)[: tableau.stages + 1, : tableau.stages + 1]
    lower_order = 5 if name == "dop853" else tableau.error_order
    b = np.append(tableau.b, 0.0)
    assert largest_defect(a, b - tableau.error, trees_up_to(lower_order)) < 5e-14
    assert largest_defect(a, b - tableau.error, rooted_trees(lower_order + 1)) > 1e-6


def test_the_second_error_estimate_of_dop853_is_of_order_3():
    tableau = TABLEAUX["dop853"]
    a = all_stages(tableau)[: tableau.stages + 1, : tableau.stages + 1]
    b = np.append(tableau.b, 0.0) - tableau.low
    assert largest_defect(a, b, trees_up_to(3)) < 5e-14
    assert largest_defect(a, b, rooted_trees(4)) > 1e-4


@names
@pytest.mark.parametrize("theta", [0.2, 0.5, 0.77])
def test_the_interpolant_meets_every_order_condition_up_to_its_order(name, theta):
    tableau, order = TABLEAUX[name], INTERPOLANT_ORDER[name]
    a, b = all_stages(tableau), tableau.weights(theta)
    assert largest_defect(a, b, trees_up_to(order), theta) < LARGEST_COEFFICIENTS
    assert largest_defect(a, b, rooted_trees(order + 1), theta) > 1e-6


@names
def test_the_interpolant_joins_both_ends_with_the_slopes_there(name):
    tableau = TABLEAUX[name]
    first, last = np.eye(tableau.slopes)[[0, tableau.stages]]
    powers = np.arange(tableau.dense.shape[1])
    np.testing.assert_array_equal(tableau.weights(0.0), 0.0)
    end = np.append(tableau.b, np.zeros(tableau.slopes - tableau.stages))
    np.testing.assert_allclose(tableau.weights(1.0), end, atol=LARGEST_COEFFICIENTS)
    np.testing.assert_allclose(tableau.dense[:, 0], first, atol=LARGEST_COEFFICIENTS)
    np.testing.assert_allclose(tableau.dense @ (powers + 1), last, atol=LARGEST_COEFFICIENTS)


@pytest.mark.parametrize(("name", "solver"), [("bs32", RK23), ("dp54", RK45), ("dop853", DOP853)])
def test_the_coefficients_are_those_of_scipy(name, solver):
    tableau = TABLEAUX[name]
    columns = min(tableau.stages, solver.A.shape[1])  # scipy leaves out columns of zeros
    np.testing.assert_allclose(tableau.a[:, :columns], solver.A[: tableau.stages, :columns], rtol=1e-15)
    np.testing.assert_array_equal(tableau.a[:, columns:], 0.0)
    np.testing.assert_allclose(tableau.b, solver.B, rtol=1e-15)
    np.testing.assert_allclose(tableau.a.sum(axis=1), solver.C[: tableau.stages], atol=1e-14)
    if name == "dop853":
        np.testing.assert_allclose(tableau.error, solver.E5, rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(tableau.low, solver.E3, rtol=1e-14, atol=1e-16)
    else:
        # the error may have either sign
        np.testing.assert_allclose(np.abs(tableau.error), np.abs(solver.E), rtol=1e-14)
        np.testing.assert_allclose(tableau.error * np.sign(solver.E[-1] * tableau.error[-1]), solver.E, rtol=1e-14)


@pytest.mark.parametrize(("name", "solver"), [("bs32", RK23), ("dp54", RK45), ("dop853", DOP853)])
def test_the_interpolant_is_that_of_scipy(name, solver):
    tableau = TABLEAUX[name]
    run = solver(lambda t, y: np.array([y[1] * y[0], -np.sin(y[0]) + 0.1 * y[2], y[0] - y[2]]), 0.0,
                 np.array([0.3, 1.0, -0.5]), 1.0, first_step=0.4, rtol=1e-2)  # fmt: skip
    start = run.y
    run.step()
    output = run.dense_output()  # of dop853: computes its extra slopes
    slopes = run.K_extended if name == "dop853" else run.K
    for theta in (0.1, 0.35, 0.8):
        ours = start + run.t * tableau.weights(theta) @ slopes
        np.testing.assert_allclose(ours, output(theta * run.t), rtol=0, atol=1e-13)


def test_the_error_norm_of_dop853_is_that_of_scipy():
    tableau, generator = TABLEAUX["dop853"], np.random.default_rng(3)
    x, moved = generator.standard_normal((2, 1, 5, 1))
    slopes = generator.standard_normal((tableau.slopes, 1, 5, 1))
    h, atol, rtol = 0.3, 1e-3, 1e-2
    run = DOP853(lambda t, y: -y, 0.0, x.ravel(), 1.0)
    scale = atol + rtol * np.maximum(np.abs(x), np.abs(moved)).ravel()
    expected = run._estimate_error_norm(slopes[: tableau.stages + 1].reshape(-1, 5), h, scale)
    ours = error_norm(x, moved, h, slopes, tableau.error, tableau.low, atol, rtol)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_the_error_norm_takes_tokens_as_vectors_and_the_worst_replica():
    generator = np.random.default_rng(4)
    tableau = TABLEAUX["tsit5"]
    x, moved = generator.standard_normal((2, 3, 5, 2))
    slopes = generator.standard_normal((tableau.slopes, 3, 5, 2))
    h, atol, rtol = 0.2, 1e-3, 1e-2
    error = h * np.linalg.norm(np.einsum("s,srid->rid", tableau.error, slopes), axis=-1)
    size_of = np.maximum(np.linalg.norm(x, axis=-1), np.linalg.norm(moved, axis=-1))
    expected = np.sqrt(np.mean((error / (atol + rtol * size_of)) ** 2, axis=-1)).max()
    ours = error_norm(x, moved, h, slopes, tableau.error, np.zeros(tableau.stages + 1), atol, rtol)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)
    slopes[2, 1, 4, 0] = np.nan
    assert np.isnan(error_norm(x, moved, h, slopes, tableau.error, np.zeros(tableau.stages + 1), atol, rtol))


HEUN = {"order": 2, "a": np.array([[0.0, 0.0], [1.0, 0.0]]), "b": np.array([0.5, 0.5])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": np.array([[0.0, 0.5], [0.5, 0.0]])}, "lower triangular"),
        ({"b": np.array([0.5, 0.4])}, "order condition of degree 1"),
        ({"order": 3}, "order condition of degree 3"),
        ({"error": np.array([0.1, 0.0, 0.0])}, "sum to zero"),
        ({"dense": hermite([0.4, 0.6])}, "end where the step ends"),
    ],
)
def test_a_tableau_that_contradicts_itself_is_refused(changes, message):
    whole = HEUN | {"dense": hermite([0.5, 0.5])}
    Tableau(**whole)
    with pytest.raises(ValueError, match=message):
        Tableau(**whole | changes)
