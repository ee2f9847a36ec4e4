"""Pipelines that commit 1f3444a saved load, and predict what they predicted then. `saved/make.py` made them."""

import json
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc

from spacy_transfer.integrity import unpack

from .saved.make import predict

HERE = Path(__file__).parent / "saved"
PREDICTIONS = json.loads((HERE / "predictions.json").read_text())


def approx(said):
    return [
        {**about, "cats": pytest.approx(about["cats"], abs=1e-5), "sum": pytest.approx(about["sum"], rel=1e-5)}
        | {"length": about["length"] and pytest.approx(about["length"], abs=1e-5)}
        for about in said
    ]


@pytest.fixture(autouse=True)
def no_extension_is_left():
    yield
    if Doc.has_extension("length"):
        Doc.remove_extension("length")


@pytest.mark.parametrize("name", PREDICTIONS)
def test_old_pipelines_predict_as_they_did(name, tmp_path, request):
    if "spacy-transformers" in (HERE / "pipelines" / name / "config.cfg").read_text():
        request.getfixturevalue("peer")
    nlp = spacy.load(HERE / "pipelines" / name)
    assert predict(nlp) == approx(PREDICTIONS[name])
    nlp.to_disk(tmp_path)  # Saved anew by the code of today.
    assert predict(spacy.load(tmp_path)) == approx(PREDICTIONS[name])
    for path in (HERE / "pipelines" / name).rglob("model"):
        before, now = (unpack(p.read_bytes(), "")["attrs"] for p in (path, tmp_path / path.parent.name / "model"))
        assert all(old.items() <= new.items() for old, new in zip(before, now, strict=True))


def test_none_is_left_out():
    assert {folder.name for folder in (HERE / "pipelines").iterdir()} == set(PREDICTIONS)
