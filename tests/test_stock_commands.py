"""Each stock command of spaCy on a pipeline of ours, in this process, by its command line.

`pretrain` is run in tests/pretraining (on every objective), and a built wheel in scripts/try_package.py.
"""

import json

import pytest
import requests
import spacy
from spacy import about, registry
from spacy.cli import app
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner

from .pipelines import TEXTS
from .training import write_training

registry.cli.get_all()


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="spacy")
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def trained(tiny_bert, tmp_path_factory):
    """A folder with config.cfg, train.spacy and the output of `spacy train`."""
    folder = tmp_path_factory.mktemp("stock")
    config = write_training(folder, tiny_bert, overrides={"components.textcat.factory": "transfer_textcat_multilabel"})
    filled = folder / "filled.cfg"
    run("init", "fill-config", config, filled)
    out = run("train", filled, "--output", folder / "out")
    assert "LOSS TEXTCAT" in out and "LOSS TRANS..." not in out
    return folder


def test_fill_config_is_a_fixed_point(trained):
    run("init", "fill-config", trained / "filled.cfg", trained / "again.cfg")
    assert Config().from_disk(trained / "again.cfg") == Config().from_disk(trained / "filled.cfg")
    run("debug", "diff-config", trained / "filled.cfg")
    run("debug", "config", trained / "filled.cfg")


def test_init_config_names_our_factories(tmp_path):
    run("init", "config", tmp_path / "c.cfg", "--pipeline", "transfer_backbone,transfer_textcat,transfer_ner")
    config = Config().from_disk(tmp_path / "c.cfg", interpolate=False)
    assert config["components"]["transfer_backbone"]["frozen"] is None
    assert config["components"]["transfer_ner"]["model"]["tok2vec"]["@architectures"] == "spacy-transfer.Listener.v1"


def test_init_labels(trained, tmp_path):
    run("init", "labels", trained / "filled.cfg", tmp_path)
    assert json.loads((tmp_path / "textcat.json").read_text()) == ["long", "short"]


def test_evaluate_and_benchmarks(trained, tmp_path):
    model, data = trained / "out" / "model-last", trained / "train.spacy"
    run("evaluate", model, data, "--output", tmp_path / "one.json")
    run("benchmark", "accuracy", model, data, "--output", tmp_path / "two.json")
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert 0.0 <= one["cats_score"] == two["cats_score"]
    out = run("benchmark", "speed", model, data, "--warmup", 1, "--batches", 30)
    assert "Outliers" in out or "Mean" in out


def test_apply_writes_what_the_pipeline_says(trained, tmp_path):
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    run("apply", trained / "out" / "model-last", tmp_path / "texts.jsonl", tmp_path / "out.spacy")
    nlp = spacy.load(trained / "out" / "model-last")
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    assert [doc.cats for doc in docs] == [pytest.approx(doc.cats, abs=1e-5) for doc in nlp.pipe(TEXTS)]


def test_assemble_and_package(trained, tmp_path):
    config = {"nlp": {"lang": "en", "pipeline": ["transfer_backbone", "textcat"]}}
    source = str(trained / "out" / "model-last")
    config["components"] = {name: {"source": source} for name in config["nlp"]["pipeline"]}
    Config(config).to_disk(tmp_path / "assemble.cfg")
    run("assemble", tmp_path / "assemble.cfg", tmp_path / "made")
    assert spacy.load(tmp_path / "made")("the cat").cats == spacy.load(source)("the cat").cats
    run("package", tmp_path / "made", tmp_path, "--build", "none", "--name", "ours")
    (meta,) = tmp_path.glob("en_ours-*/meta.json")
    assert any(line.startswith("spacy-transfer>=") for line in json.loads(meta.read_text())["requirements"])
    assert json.loads(run("info", tmp_path / "made", "--silent").strip() or "{}") is not None


def test_find_threshold_and_function(trained):
    data = trained / "train.spacy"
    out = run(
        "find-threshold", trained / "out" / "model-last", data, "textcat", "threshold", "cats_macro_f", "--n_trials", 2
    )
    assert "Best threshold" in out
    assert "listeners.py" in run("find-function", "spacy-transfer.Listener.v1", "--registry", "architectures")


def test_debug_data_passes_our_heads_over_and_debug_transfer_counts_their_labels(trained):
    out = run("debug", "data", trained / "filled.cfg", "--no-format", code=1)  # It wants more than 4 texts.
    assert "transfer_backbone" in out
    counted = run("debug", "transfer", trained / "filled.cfg")
    words = counted.split()
    place = words.index("long")
    assert words[place - 1] == "textcat" and words[place + 1 : place + 3] == ["2", "2"]
    assert "W440" in counted


def test_debug_model_shows_the_backbone(trained):
    assert "transfer_transformer" in run("debug", "model", trained / "filled.cfg", "transfer_backbone", "-P0")


def test_validate_asks_for_a_table_only(monkeypatch):
    class Answer:
        status_code = 200

        def json(self):
            return {"spacy": {about.__version__: {}}}

    monkeypatch.setattr(requests, "get", lambda *args, **kwargs: Answer())
    assert "Loaded compatibility table" in run("validate")


def test_project_runs_our_commands(tmp_path, monkeypatch):
    command = {"name": "look", "script": ["python -m spacy find-function spacy-transfer.AdamW.v1"]}
    text = json.dumps({"title": "t", "commands": [command], "workflows": {"all": ["look"]}})
    (tmp_path / "project.yml").write_text(text)  # JSON is YAML.
    assert "Running workflow" in run("project", "run", "all", tmp_path)
