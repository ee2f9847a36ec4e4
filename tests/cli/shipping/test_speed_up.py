"""`python -m spacy transfer speed-up`, end to end."""

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_transfer.cli.shipping.speed_up import speed_up_cli  # noqa: F401 (hangs the command on spaCy's)
from spacy_transfer.engines import ways

from ...pipelines import make_pipeline

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("speed-up")
    nlp = make_pipeline(tiny_bert, ("textcat",))[0]
    nlp.to_disk(folder / "model")
    docs = []
    for i in range(100):
        doc = nlp(" ".join(["a", "dog", "sees", "cats"][: 1 + i % 4]))
        best = max(doc.cats, key=doc.cats.get)
        doc.cats = {label: float(label == best) for label in doc.cats}
        docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    DocBin(docs=docs[:5]).to_disk(folder / "few.spacy")
    return folder


def run(places, out, *more, data="dev.spacy"):
    arguments = [str(places / "model"), str(places / data), str(out), "--resamples", "3", "--speed-texts", "10"]
    return CliRunner().invoke(app, ["transfer", "speed-up", *arguments, *map(str, more)])


def test_a_table_and_a_pipeline(places, tmp_path, monkeypatch):
    order = ["as it is", "onnx-fp32", "onnx-int8"]
    monkeypatch.setattr(
        ways, "words_per_second", lambda pipelines, texts, rounds: {n: 1000.0 + order.index(n) for n in pipelines}
    )
    monkeypatch.setattr(ways, "cpu_has_bf16", lambda: False)
    result = run(places, tmp_path / "out", "--max-loss", 100)
    assert result.exit_code == 0, result.output
    rows = {line.split("  ")[0].strip(): line for line in result.output.splitlines()}
    assert "1,000" in rows["as it is"] and "+0.00" in rows["onnx-fp32"] and "cats_score" in rows["onnx-int8"]
    assert "bf16 was not tried: processor has no bf16" in result.output
    nlp = spacy.load(tmp_path / "out")
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    assert shim.settings.original == str(places / "model")
    text = "a dog sees cats"
    assert nlp(text).cats == pytest.approx(spacy.load(places / "model")(text).cats, abs=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # What was exported cannot be exported again.
    again = CliRunner().invoke(
        app, ["transfer", "speed-up", *map(str, (tmp_path / "out", places / "dev.spacy", tmp_path / "b"))]
    )
    assert again.exit_code == 1 and "T272" in again.output


@pytest.mark.parametrize(
    ("more", "data", "says"),
    [
        ([], "few.spacy", "T275"),
        (["--ways", "openvino"], "dev.spacy", "T281"),
        (["--ways", "2-layers"], "dev.spacy", "T281"),
        (["--ways", "1-layers"], "dev.spacy", "T277"),
    ],
)
def test_on_an_error_nothing_is_written(places, tmp_path, more, data, says):
    result = run(places, tmp_path / "out", *more, data=data)
    assert (
        result.exit_code == (2 if says == "T281" else 1) and says in result.output and "Traceback" not in result.output
    )
    assert not list(tmp_path.iterdir())


def test_where_nothing_is_faster_nothing_is_written(places, tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "words_per_second", lambda pipelines, texts, rounds: dict.fromkeys(pipelines, 1.0))
    result = run(places, tmp_path / "out", "--ways", "onnx-fp32")
    assert result.exit_code == 1 and "T276" in result.output and not list(tmp_path.iterdir())


def test_the_pipeline_is_not_replaced(places):
    before = (places / "model" / "config.cfg").read_bytes()
    result = run(places, places / "model")
    assert result.exit_code == 1 and "T706" in result.output
    assert (places / "model" / "config.cfg").read_bytes() == before
