"""Spectra of the matrices of a law: known matrices, dense ones, invariance, and what the command writes of them."""

import csv
import json

import attndyn
import numpy as np
import pytest
from attndyn import Attention, Block, FeedForward, InvalidInput
from attndyn.cli import main
from attndyn.particles.regularity.spectra import head_spectra, spectrum_of
from attndyn.scenarios.schema import Scenario

TURN = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])


def random_law(heads=3, dimension=12, width=2, seed=0, **changes):
    generator = np.random.default_rng(seed)
    rows = heads * width
    query, key, value = generator.standard_normal((3, rows, dimension))
    given = {"query": query, "key": key, "value": value, "output": generator.standard_normal((dimension, rows))}
    return Attention(heads=heads, **(given | changes))


def ordered(values):
    return np.asarray(values)[np.lexsort((-np.imag(values), -np.real(values), -np.round(np.abs(values), 9)))]


def test_the_identity_has_a_multiple_eigenvalue_and_no_good_triple():
    (head,) = head_spectra(Attention(beta=3.0), 4)
    np.testing.assert_array_equal(head.scores.eigenvalues, [3, 3, 3, 3])
    assert head.scores.kind == head.values.kind == "multiple"
    assert (head.scores.rank, head.scores.norm, head.scores.positive, head.scores.negative) == (4, 3.0, 4, 0)
    assert np.isnan(head.own_score)
    assert not head.good_triple


@pytest.mark.parametrize(
    ("value", "kind", "good"),
    [
        ([2.0, -1.0, 0.5], "positive", True),
        ([-2.0, 1.0, 0.5], "negative", False),
        ([1.0, -1.0, 0.5], "multiple", False),
    ],
)
def test_a_diagonal_value_matrix(value, kind, good):
    (head,) = head_spectra(Attention(beta=0.7, value=np.diag(value)), 3)
    np.testing.assert_allclose(ordered(head.values.eigenvalues), ordered(np.array(value)))
    assert head.values.kind == kind
    assert head.good_triple is good
    assert head.values.positive == sum(v > 0 for v in value)
    assert head.values.to_the_right == pytest.approx(np.mean(np.array(value) > 0))
    if kind != "multiple":
        assert head.own_score == pytest.approx(0.7)


def test_a_triple_is_good_only_where_the_leading_vector_attends_to_itself():
    query = np.diag([-1.0, 1.0, 1.0])
    (head,) = head_spectra(Attention(query=query, value=np.diag([2.0, 1.0, 0.5])), 3)
    assert head.values.kind == "positive"
    assert head.own_score == pytest.approx(-1.0)
    assert not head.good_triple
    (repelled,) = head_spectra(Attention(beta=-1.0, query=query, value=np.diag([2.0, 1.0, 0.5])), 3)
    assert repelled.good_triple


def test_a_rotation_has_a_complex_pair_and_a_definite_symmetric_part():
    (head,) = head_spectra(Attention(value=2.0 * TURN), 2)
    np.testing.assert_allclose(head.values.eigenvalues, 2.0 * np.exp([0.3j, -0.3j]), rtol=1e-14)
    assert head.values.kind == "complex"
    assert head.values.radius == pytest.approx(2.0)
    assert (head.values.positive, head.values.negative) == (2, 0)
    assert not head.good_triple


def test_a_matrix_of_rank_one():
    u, v = np.array([1.0, 2.0, 0.0, 0.0]), np.array([3.0, 0.5, 0.0, 1.0])
    found = spectrum_of(u[:, None], v[None])
    np.testing.assert_allclose(found.eigenvalues, [u @ v])
    np.testing.assert_allclose(found.singular, [np.linalg.norm(u) * np.linalg.norm(v)])
    np.testing.assert_allclose(np.abs(found.leading), u / np.linalg.norm(u))
    assert (found.rank, found.kind, found.positive, found.negative) == (1, "positive", 1, 1)
    nothing = spectrum_of(np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]]))  # nilpotent
    assert nothing.kind == "zero"
    assert np.isnan(nothing.to_the_right)


@pytest.mark.parametrize("score", ["dot", "scaled-dot"])
@pytest.mark.parametrize("width", [2, 5])  # 2k below and above the dimension, where the factors are and are not used
def test_the_spectra_are_those_of_the_dense_matrices(score, width):
    law = random_law(width=width, dimension=8, beta=1.3, score=score)
    scale = 1.3 / (np.sqrt(width) if score == "scaled-dot" else 1.0)
    for head, found in enumerate(head_spectra(law, 8)):
        rows = slice(head * width, (head + 1) * width)
        for spectrum, dense in (
            (found.scores, scale * law.query[rows].T @ law.key[rows]),
            (found.values, law.output[:, rows] @ law.value[rows]),
        ):
            expected = ordered(np.linalg.eigvals(dense))[: len(spectrum.eigenvalues)]
            np.testing.assert_allclose(ordered(spectrum.eigenvalues), expected, atol=1e-10)
            np.testing.assert_allclose(spectrum.singular, np.linalg.svd(dense)[1][: len(spectrum.singular)], atol=1e-12)
            even = np.linalg.eigvalsh(0.5 * (dense + dense.T))
            assert (spectrum.positive, spectrum.negative) == ((even > 1e-10).sum(), (even < -1e-10).sum())
            assert spectrum.rank == np.linalg.matrix_rank(dense)
            if spectrum.kind in ("positive", "negative"):
                np.testing.assert_allclose(
                    dense @ spectrum.leading, spectrum.eigenvalues[0].real * spectrum.leading, atol=1e-10
                )


def test_without_an_output_a_head_moves_its_own_components():
    value = np.random.default_rng(1).standard_normal((6, 6))
    for head, found in enumerate(head_spectra(Attention(heads=3, value=value), 6)):
        dense = np.zeros((6, 6))
        dense[2 * head : 2 * head + 2] = value[2 * head : 2 * head + 2]
        expected = ordered(np.linalg.eigvals(dense))[:2]
        np.testing.assert_allclose(ordered(found.values.eigenvalues), expected, atol=1e-12)


def test_spectra_do_not_change_with_the_coordinates():
    law = random_law(seed=4)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((12, 12)))[0]
    turned = random_law(
        query=law.query @ turn.T, key=law.key @ turn.T, value=law.value @ turn.T, output=turn @ law.output
    )
    for one, other in zip(head_spectra(law, 12), head_spectra(turned, 12), strict=True):
        np.testing.assert_allclose(ordered(one.scores.eigenvalues), ordered(other.scores.eigenvalues), atol=1e-12)
        np.testing.assert_allclose(one.values.singular, other.values.singular, atol=1e-12)
        np.testing.assert_allclose(one.own_score, other.own_score, atol=1e-12)


def test_wrong_factors_are_refused():
    with pytest.raises(InvalidInput, match=r"\(dimension, k\) and \(k, dimension\)"):
        spectrum_of(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(InvalidInput, match="finite"):
        spectrum_of(np.full((3, 1), np.nan), np.ones((1, 3)))


def stacked(tmp_path, layers=4):
    """A scenario of two layers, which four go through in turn."""
    generator = np.random.default_rng(2)
    np.savez(
        tmp_path / "model.npz", **{name: generator.standard_normal((2, 6, 6)) for name in ("query", "key", "value")}
    )
    matrices = "\n".join(f'{name} = {{ file = "model.npz", array = "{name}" }}' for name in ("query", "key", "value"))
    path = tmp_path / "stacked.toml"
    path.write_text(
        f'title = "Two layers"\n[tokens]\ncount = 5\ndimension = 6\n[attention]\nheads = 2\nquery_bias = {[0.1] * 6}\n'
        f'{matrices}\n[depth]\nweights = "independent"\nlayers = {layers}\n'
    )
    return path


def test_each_layer_of_a_stack_once_and_one_layer_alone(tmp_path):
    path = stacked(tmp_path)
    found = attndyn.spectrum(path)
    assert list(found.heads) == [0, 1]
    assert any("Biases" in remark for remark in found.remarks)
    query, key, _ = (np.load(tmp_path / "model.npz")[name] for name in ("query", "key", "value"))
    expected = np.linalg.eigvals(query[1, 3:].T @ key[1, 3:])
    table = found.tables["eigenvalues"].columns
    here = (table["matrix"] == "scores") & (table["layer"] == 1) & (table["head"] == 1)
    values = table["real"][here] + 1j * table["imaginary"][here]
    np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(expected))[3:], rtol=1e-9)
    assert list(attndyn.spectrum(path, layer=3).heads) == [3]
    with pytest.raises(InvalidInput, match="from 0 to 3; got 4"):
        attndyn.spectrum(path, layer=4)


def test_the_command_prints_writes_and_draws(tmp_path, capsys):
    path, out, picture = stacked(tmp_path), tmp_path / "e.csv", tmp_path / "e.png"
    assert main(["spectrum", str(path), "--csv", str(out), "--plot", str(picture)]) == 0
    words = capsys.readouterr().out
    assert "good triple" in words
    assert "of 4 heads" in words
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2 * 3
    assert picture.stat().st_size > 1000
    assert main(["spectrum", str(path), "--csv", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["spectrum", str(path), "--layer", "1", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["tables"]["values"]["columns"]
    assert values["layer"] == [1, 1]
    assert float(rows[-3]["real"]) == values["leading"][-1]


def test_a_file_of_a_run_has_the_spectra_of_its_scenario(tmp_path):
    path = stacked(tmp_path)
    attndyn.run(path, out=tmp_path / "run.h5").close()
    one, other = (attndyn.spectrum(each).tables["values"].columns for each in (path, tmp_path / "run.h5"))
    np.testing.assert_array_equal(one["radius"], other["radius"])
    assert main(["spectrum", str(tmp_path / "run.h5"), "--set", "attention.beta=2", "--quiet"]) == 2


def test_what_is_not_in_the_matrices_is_said():
    text = "[tokens]\ncount = 4\n[attention]\nscore = 'gaussian'\n[space]\nkind = 'euclidean'\n[block]\nnorm = 'pre'\n"
    remarks = " ".join(attndyn.spectrum(Scenario.parse(text)).remarks)
    assert "normalised before" in remarks
    assert "distance" in remarks
    law = Block(Attention(), FeedForward(np.eye(2), np.eye(2)))
    assert head_spectra(law, 2)[0].values.kind == "multiple"


def test_the_figure_is_of_values_or_scores():
    found = attndyn.spectrum("multi-head-random")
    heads = len(found.heads[0])
    drawn = [axes for axes in found.plot(of="scores").axes if axes.get_visible()]
    assert len(drawn) == heads
    points = sum(len(line.get_xdata()) for line in drawn[0].lines[2:])
    assert points == len(found.heads[0][0].scores.eigenvalues)
    with pytest.raises(InvalidInput, match="values"):
        found.plot(of="keys")
