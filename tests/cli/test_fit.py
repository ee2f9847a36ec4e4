"""`python -m spacy transfer fit`: a pipeline that is saved whole, or not at all."""

import json
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin, Span
from spacy.util import registry
from typer.testing import CliRunner

from spacy_transfer.cli.fit import fit_cli  # noqa: F401 (hangs the command on spaCy's)

CONFIGS = Path(__file__).parent.parent.parent / "configs"
TEXTS = {"pet": ["a cat", "the dog", "a bird", "the fish", "a cow"], "car": ["a van", "a bus", "the jeep", "a tram"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    nlp = spacy.blank("en")
    docs = []
    for label, texts in TEXTS.items():
        for text in texts:
            doc = nlp.make_doc(f"{text} in town")
            doc.cats = {other: float(other == label) for other in TEXTS}
            docs.append(doc)
    path = tmp_path_factory.mktemp("data") / "train.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


def run(config, out, data, tiny_bert, *more):
    paths = ["--paths.train", str(data), "--paths.backbone", tiny_bert]
    window = ["--components.transfer_backbone.model.window", "64"]
    return CliRunner().invoke(app, ["transfer", "fit", str(config), str(out), *paths, *window, *more])


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".transfer-")]


def test_a_whole_classifier_and_its_scores(data, tmp_path, tiny_bert):
    result = run(CONFIGS / "textcat_transformer.cfg", tmp_path / "out", data, tiny_bert, "--paths.dev", str(data))
    assert result.exit_code == 0, result.output
    assert "accuracy (micro F1)" in result.output and "the texts it was fitted on" in result.output
    nlp = spacy.load(tmp_path / "out")
    hits = [max((cats := nlp(text).cats), key=cats.get) == label for label in TEXTS for text in TEXTS[label]]
    assert sum(hits) > len(hits) / 2
    assert nlp.get_pipe("transfer_textcat").model.get_ref("output").get_param("W").any()
    assert nlp.config["initialize"]["components"]["transfer_textcat"] == {"fit": "maxent", "strength": None}
    assert not leftovers(tmp_path)


def test_names_of_labels(data, tmp_path, tiny_bert):
    config, fitted = CONFIGS / "textcat_transformer.cfg", []
    for texts in ("names", None):
        more = ["--label-texts", texts] if texts else []
        result = run(config, tmp_path / str(texts), data, tiny_bert, *more)
        assert result.exit_code == 0, result.output
        fitted.append(spacy.load(tmp_path / str(texts)))
    named, plain = (nlp.get_pipe("transfer_textcat").model.get_ref("output").get_param("W") for nlp in fitted)
    assert (named != plain).any()
    assert fitted[0].config["initialize"]["components"]["transfer_textcat"]["label_texts"] == "names"
    result = run(config, tmp_path / "out", data, tiny_bert, "--label-texts", "nmaes")
    assert result.exit_code == 2 and "T982" in result.output and not (tmp_path / "out").exists()


def test_entities(tmp_path, tiny_bert):
    nlp, docs = spacy.blank("en"), []
    for word, label in (("cat", "PET"), ("dog", "PET"), ("van", "CAR"), ("bus", "CAR")):
        doc = nlp.make_doc(f"the {word} is in town")
        doc.ents = [Span(doc, 1, 2, label)]
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    config, data = CONFIGS / "ner_crf.cfg", tmp_path / "train.spacy"
    result = run(config, tmp_path / "out", data, tiny_bert, "--paths.dev", str(data))
    assert result.exit_code == 0, result.output
    assert "entities, F1 100.0%" in " ".join(result.output.split()), result.output
    assert [ent.label_ for ent in spacy.load(tmp_path / "out")(docs[0].text).ents] == ["PET"]


def test_without_a_dev_corpus(data, tmp_path, tiny_bert):
    strength = ["--initialize.components.transfer_textcat.strength", "0.5"]
    result = run(CONFIGS / "textcat_transformer.cfg", tmp_path / "a" / "out", data, tiny_bert, *strength)
    assert result.exit_code == 0, result.output
    assert "No dev corpus" in result.output and "--paths.dev" in result.output
    config = spacy.util.load_config(tmp_path / "a" / "out" / "config.cfg")
    assert config["corpora"]["dev"]["path"] == "${paths.dev}"
    assert config["initialize"]["components"]["transfer_textcat"]["strength"] == 0.5


def test_it_takes_the_place_of_a_pipeline(data, tmp_path, tiny_bert):
    spacy.blank("de").to_disk(tmp_path / "out")
    result = run(CONFIGS / "textcat_transformer.cfg", tmp_path / "out", data, tiny_bert)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["lang"] == "en"
    assert not leftovers(tmp_path)


def test_it_takes_the_place_of_nothing_else(data, tmp_path, tiny_bert):
    (tmp_path / "thesis.txt").write_text("precious")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        result = run(CONFIGS / "textcat_transformer.cfg", place, data, tiny_bert)
        assert result.exit_code == 1 and "T702" in result.output
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("config", "more", "says"),
    [
        ("ner_transformer", [], "T701"),
        ("textcat_transformer", ["--training.frozen_components", '["transfer_textcat"]'], "T701"),
        ("textcat_transformer", ["--initialize.components.transfer_textcat.strength", "-1"], "T321"),
        ("textcat_transformer", ["--paths.backbone", "no/such"], "T106"),
    ],
)
def test_on_an_error_nothing_is_written(data, tmp_path, tiny_bert, config, more, says):
    result = run(CONFIGS / f"{config}.cfg", tmp_path / "out", data, tiny_bert, *more)
    assert result.exit_code == 1
    assert says in result.output
    assert not list(tmp_path.iterdir())


def test_saving_that_fails_leaves_the_old_pipeline(data, tmp_path, tiny_bert, monkeypatch):
    spacy.blank("de").to_disk(tmp_path / "out")

    def no_space(self, path, **kwargs):
        Path(path).mkdir()
        raise OSError("No space left on device")

    monkeypatch.setattr(spacy.language.Language, "to_disk", no_space)
    result = run(CONFIGS / "textcat_transformer.cfg", tmp_path / "out", data, tiny_bert)
    assert result.exit_code == 1
    assert spacy.load(tmp_path / "out").lang == "de"
    assert not leftovers(tmp_path)


def test_the_command_is_found_by_spacy():
    """spaCy imports what stands in that registry."""
    assert registry.cli.get("transfer_fit").__name__ == "spacy_transfer.cli.fit"
    out = CliRunner().invoke(app, ["transfer", "fit", "--help"]).output
    assert "{OUT}" in out and "--gpu-id" in out and "--code" in out
