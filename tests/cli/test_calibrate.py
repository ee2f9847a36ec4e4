"""`python -m spacy transfer calibrate`, end to end."""

import re
import warnings

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_transfer.cli.calibrate import calibrate_cli  # noqa: F401 (hangs the command on spaCy's)

from ..pipeline.test_calibration import cats_of, make_docs, trained


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("calibrate")
    nlp = trained(tiny_bert, "transfer_textcat_multilabel")
    nlp.to_disk(folder / "model")
    DocBin(docs=make_docs(nlp, seed=1)).to_disk(folder / "dev.spacy")
    return folder


def run(places, *more):
    return CliRunner().invoke(
        app, ["transfer", "calibrate", str(places / "model"), str(places / "dev.spacy"), *map(str, more)]
    )


def test_a_table_and_a_pipeline(places, tmp_path):
    texts = ["aab aba", "xyz zyx"]
    before = cats_of(spacy.load(places / "model"), texts)
    result = run(places, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    nlp = spacy.load(tmp_path / "out")
    pipe = nlp.get_pipe("transfer_textcat_multilabel")
    row = next(line.split() for line in result.output.splitlines() if line.startswith("transfer_textcat_multilabel"))
    assert row[1:3] == ["96", f"{pipe.model.attrs['temperature']:.3f}"]
    nll, ece = row[3:5], row[5:7]
    assert float(nll[1]) < float(nll[0]) and float(ece[1]) < float(ece[0])
    for label, value in pipe.thresholds.items():
        assert re.search(rf"^{label} +{value:.3f}", result.output, re.MULTILINE)
    assert cats_of(nlp, texts) != before
    assert cats_of(spacy.load(places / "model"), texts) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_looking_only(places, tmp_path):
    result = run(places, "--no-thresholds")
    assert result.exit_code == 0, result.output
    assert "--output" in result.output and "threshold" not in result.output
    assert spacy.load(places / "model").get_pipe("transfer_textcat_multilabel").model.attrs["temperature"] == 1.0


@pytest.mark.parametrize(
    ("more", "says"), [(["--components", "textcat"], "T741"), (["--components", "transfer_backbone"], "T742")]
)
def test_on_an_error_nothing_is_written(places, tmp_path, more, says):
    result = run(places, "--output", tmp_path / "out", *more)
    assert result.exit_code == 1 and says in result.output
    assert not list(tmp_path.iterdir())


def test_it_takes_the_place_of_nothing_else(places, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    result = run(places, "--output", tmp_path)
    assert result.exit_code == 1 and "T702" in result.output


@pytest.mark.parametrize(("kind", "code"), [(".spacy", "T356"), (".jsonl", "T218")])
def test_texts_without_labels_save_nothing(places, tmp_path, kind, code):
    path = tmp_path / f"plain{kind}"
    if kind == ".spacy":
        DocBin(docs=[spacy.blank("en")("the cat")]).to_disk(path)
    else:
        path.write_text('{"text": "the cat"}\n')
    command = ["transfer", "calibrate", str(places / "model"), str(path), "--output", str(tmp_path / "out")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ours on each component.
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and code in result.output and path.name in result.output.replace("\n", "")
    assert not (tmp_path / "out").exists()
