"""The forgetting matrix against loops over the papers' formulas."""

import json
import math
import sys

import numpy
import pytest

from spacy_transfer.continual.forgetting import ForgettingMatrix

NAN = math.nan


def matrix(scores, learned=None):
    scores = numpy.array(scores)
    stages, tasks = (tuple(f"{what}{i}" for i in range(n)) for what, n in zip(("s", "t"), scores.shape, strict=True))
    return ForgettingMatrix(stages, tasks, scores, tuple(learned or range(len(tasks))))


def test_formulas_of_the_papers():
    """f_j = max over earlier stages of a_lj, less a_kj (Chaudhry et al.); R_Ti - R_ii (Lopez-Paz and Ranzato)."""
    rng = numpy.random.default_rng(0)
    a = rng.random((5, 5))
    found, k = matrix(a), 4
    f = [max(a[stage][j] for stage in range(k)) - a[k][j] for j in range(k)]
    assert numpy.allclose(found.forgetting()[:k], f) and math.isnan(found.forgetting()[k])
    assert math.isclose(found.average_forgetting(), sum(f) / k)
    assert math.isclose(found.backward_transfer(), sum(a[k][i] - a[i][i] for i in range(k)) / k)
    assert math.isclose(found.average(), sum(a[k]) / 5)


def test_what_was_not_measured_is_left_out():
    found = matrix([[0.9, NAN, NAN], [0.6, 0.8, NAN], [0.7, 0.9, 0.5]])
    assert numpy.allclose(found.forgetting()[:2], [0.2, -0.1])
    assert math.isclose(found.average_forgetting(), 0.05)
    assert math.isclose(found.backward_transfer(), (-0.2 + 0.1) / 2)
    alone = matrix([[0.9]])
    assert math.isnan(alone.average_forgetting()) and alone.average() == 0.9


def test_what_the_last_stage_taught_cannot_have_been_forgotten():
    """Measured from the start, it stands in the table, but does not count."""
    found = matrix([[0.8, 0.1], [0.7, 0.9]], learned=[0, 1])
    assert math.isclose(found.average_forgetting(), 0.1)


def test_json_is_whole_and_without_nan(tmp_path):
    found = matrix([[0.9, NAN], [0.6, 0.8]])
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = ForgettingMatrix.from_json(data)
    assert again.stages == found.stages and again.tasks == found.tasks and again.learned == found.learned
    assert numpy.array_equal(again.scores, found.scores, equal_nan=True)
    assert data["average_forgetting"] == pytest.approx(0.3) and data["forgetting"]["t1"] is None


def test_text_has_every_number():
    lines = matrix([[0.9, NAN], [0.6, 0.8]]).to_text().splitlines()
    assert [line.split() for line in lines if line[:1] == "s"] == [["s0", "90.0", "-"], ["s1", "60.0", "80.0"]]
    assert lines[-1] == "average forgetting 30.0, backward transfer -30.0, average score 70.0"


def test_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    found = matrix([[0.9, NAN], [0.6, 0.8]])
    found.draw(tmp_path / "m.svg", "three <trainings>")
    picture = (tmp_path / "m.svg").read_text()
    assert picture.startswith("<?xml") and "</svg>" in picture
    found.draw(tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    for path in ("m.txt", "nowhere/m.png"):
        with pytest.raises(ValueError, match="T799"):
            found.draw(tmp_path / path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="T798.*demo"):
        found.draw(tmp_path / "m.png")


def test_a_matrix_of_another_shape():
    with pytest.raises(ValueError, match="T797"):
        ForgettingMatrix(("a",), ("x", "y"), numpy.zeros((1, 1)), (0, 0))
    with pytest.raises(ValueError, match="T797"):
        ForgettingMatrix(("a",), ("x",), numpy.zeros((1, 1)), (1,))
