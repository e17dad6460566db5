"""Grids: what the texts of --grid mean, which are mistakes, and how the points are numbered."""

import itertools

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.scenarios.grid import Grid, parse_grids
from hypothesis import given
from hypothesis import strategies as st

numbers = st.floats(-1e6, 1e6).map(lambda x: x + 0.0)
positive = st.floats(1e-6, 1e6)


def values(text):
    """The values of the one grid KEY=text."""
    ((_, found),) = parse_grids([f"attention.beta={text}"]).axes.items()
    return found


@given(numbers, numbers, st.integers(2, 200))
def test_an_even_grid_has_both_ends_and_equal_steps(first, last, count):
    if len({*np.linspace(first, last, count)}) < count:
        return  # too close for so many numbers
    found = np.array(values(f"{first!r}:{last!r}:{count}"), float)
    assert (len(found), found[0], found[-1]) == (count, first, last)
    np.testing.assert_allclose(np.diff(found), (last - first) / (count - 1), rtol=1e-6, atol=1e-9 * abs(last))


@given(positive, positive, st.integers(2, 200))
def test_a_geometric_grid_has_both_ends_and_equal_ratios(first, last, count):
    if abs(np.log(last / first)) < 1e-6:
        return
    found = np.array(values(f"log:{first!r}:{last!r}:{count}"), float)
    assert len(found) == count
    np.testing.assert_allclose(found[[0, -1]], [first, last], rtol=1e-12)
    np.testing.assert_allclose(np.diff(np.log(found)), np.log(last / first) / (count - 1), rtol=1e-6, atol=1e-10)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20, unique=True))
def test_a_list_is_read_with_and_without_brackets(given_values):
    text = ", ".join(map(str, given_values))
    assert values(text) == values(f"[{text}]") == tuple(given_values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8:64:8", (8, 16, 24, 32, 40, 48, 56, 64)),
        ("log:1:1000:4", (1, 10, 100, 1000)),
        ("1:2:3", (1.0, 1.5, 2.0)),
        ("3:3:1", (3,)),
        ("none,causal", ("none", "causal")),
        ("[none, causal]", ("none", "causal")),
        ('["none", "causal"]', ("none", "causal")),
        ("1, 2.5", (1.0, 2.5)),
        ("true,false", (True, False)),
        ("4", (4,)),
    ],
)
def test_what_a_grid_means(text, expected):
    found = values(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.1:9:0", "count of a grid must be from 1"),
        ("0.1:9:-3", "count of a grid must be from 1"),
        ("0.1:9:1", "at least 2 values"),
        ("0.1:9", "a grid is first:last:count"),
        ("0.1:9:2.5", "a grid is first:last:count"),
        ("a:9:3", "a grid is first:last:count"),
        ("1:inf:3", "must be finite"),
        ("log:0:1:5", "from one positive number"),
        ("log:-1:1:5", "from one positive number"),
        ("", "no values"),
        ("[]", "no values"),
        ("1,,2", "empty value"),
        ("1,2,1", "the value 1 twice"),
        ("1,causal", "of one kind"),
        ("[[1], [2]]", "finite numbers or texts"),
        ("nan,1", "finite numbers or texts"),
        ("1:1:3", "the value 1 twice"),
    ],
)
def test_a_wrong_grid_is_told_with_its_key(text, says):
    with pytest.raises(InvalidInput, match=r"^attention\.beta: ") as error:
        values(text)
    assert says in str(error.value)


@pytest.mark.parametrize("texts", [["attention.beta"], ["=1,2"], []])
def test_a_text_that_is_no_grid_is_told(texts):
    with pytest.raises(InvalidInput, match="grid"):
        parse_grids(texts)


def test_a_key_has_one_grid():
    with pytest.raises(InvalidInput, match="has two grids"):
        parse_grids(["attention.beta=1,2", "attention.beta=3,4"])


def test_too_many_points_are_refused():
    with pytest.raises(InvalidInput, match="at most 1000000 points; these grids have 4000000"):
        parse_grids(["attention.beta=0:1:2000", "tokens.seed=0:1999:2000"])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_points_are_the_product_with_the_last_key_fastest(lengths):
    grid = Grid({f"section.key{k}": tuple(range(length)) for k, length in enumerate(lengths)})
    product = list(itertools.product(*map(range, lengths)))
    assert [grid.place(number) for number in range(grid.size)] == product
    assert [tuple(grid.changes(number).values()) for number in range(grid.size)] == product


def test_numpy_s_values_become_python_s_and_a_point_can_be_told():
    grid = Grid({"attention.beta": np.linspace(0, 1, 3), "attention.mask": ["none", "causal"]})
    assert grid.changes(3) == {"attention.beta": 0.5, "attention.mask": "causal"}
    assert type(grid.changes(3)["attention.beta"]) is float
    assert grid.describe(3) == 'attention.beta = 0.5, attention.mask = "causal"'
