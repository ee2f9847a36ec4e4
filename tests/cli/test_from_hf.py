"""`python -m spacy transfer from-hf` and `to-hf`, end to end.

Guards also: to_hf.py.
"""

import re

import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.util import registry
from typer.testing import CliRunner

from spacy_transfer.cli import from_hf, to_hf  # noqa: F401 (hangs the commands on spaCy's)

from ..checkpoints import LABELS, edit_config, write_checkpoint


def run(*arguments):
    """The exit code, and what was printed, without its line breaks."""
    result = CliRunner().invoke(app, ["transfer", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def cats(path):
    return [doc.cats for doc in spacy.load(path).pipe(["the cat", "A dog!", ""])]


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra"])
def test_there_and_back_again(kind, tmp_path):
    write_checkpoint(tmp_path / "checkpoint", kind)
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "a" / "out", "--lang", "de", "--name", "topics")
    assert code == 0, printed
    assert f"{kind}ForSequenceClassification, 3 labels (sport, trade, art)" in printed
    assert "transfer_backbone + transfer_textcat" in printed
    assert float(re.search(r"logits.*: (\S+e-\d+)", printed)[1]) < 1e-5
    nlp = spacy.load(tmp_path / "a" / "out")
    assert (nlp.lang, nlp.meta["name"], nlp.get_pipe("transfer_textcat").labels) == ("de", "topics", tuple(LABELS))
    code, printed = run("to-hf", tmp_path / "a" / "out", tmp_path / "back", "--component", "transfer_textcat")
    assert code == 0 and "'transfer_textcat'" in printed, printed
    assert run("from-hf", tmp_path / "back", tmp_path / "again")[0] == 0
    for old, new in zip(cats(tmp_path / "a" / "out"), cats(tmp_path / "again"), strict=True):
        assert new == pytest.approx(old, abs=1e-5)


def entities(path):
    docs = spacy.load(path).pipe(["the cat sings in Berlin", "A dog!", "", "ok the x"])
    return [[(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in docs]


def test_token_classifiers_there_and_back_again(tmp_path):
    labels = ["O", "B-PER", "I-PER", "I-LOC"]
    write_checkpoint(tmp_path / "checkpoint", "Electra", "TokenClassification", labels)
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "out")
    assert code == 0, printed
    assert "ElectraForTokenClassification, 4 labels (O, B-PER, I-PER, I-LOC)" in printed
    assert "transfer_backbone + transfer_ner (scheme 'bio', lenient; entities: PER, LOC; new rows: 1)" in printed
    assert float(re.search(r"logits.*: (\S+e-\d+)", printed)[1]) < 1e-5
    code, printed = run("to-hf", tmp_path / "out", tmp_path / "back")
    assert code == 0 and "'transfer_ner'" in printed and "W38" not in printed, printed
    assert run("from-hf", tmp_path / "back", tmp_path / "again")[0] == 0
    assert entities(tmp_path / "again") == entities(tmp_path / "out")
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "tags", "--task", "tagger")
    assert code == 0 and "transfer_tagger (attribute 'tag')" in printed, printed
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "no", "--task", "textcat")
    assert code == 2 and "T982" in printed and not (tmp_path / "no").exists()
    nlp = spacy.load(tmp_path / "out", config={"components": {"transfer_ner": {"lenient": False}}})
    nlp.to_disk(tmp_path / "strict")
    code, printed = run("to-hf", tmp_path / "strict", tmp_path / "warned")
    assert code == 0 and "W381" in printed and "lenient = false" in printed, printed


def test_labels_on_the_command_line(tmp_path):
    write_checkpoint(tmp_path / "checkpoint")
    edit_config(tmp_path / "checkpoint", id2label=None, label2id=None)
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "out")
    assert code == 0 and "W380" in printed and "--labels" in printed
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "out", "--labels", "a, b,c", "--window", "32")
    assert code == 0 and "W380" not in printed
    nlp = spacy.load(tmp_path / "out")
    assert nlp.get_pipe("transfer_textcat").labels == ("a", "b", "c")
    assert nlp.config["components"]["transfer_backbone"]["model"]["window"] == 32


def test_on_an_error_nothing_is_written(tmp_path, tiny_bert):
    write_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    for source, out, says in (
        (tiny_bert, "out", "T380"),
        (tmp_path / "no" / "such", "out", "T100"),
        (tmp_path / "checkpoint", "thesis", "T702"),
    ):
        code, printed = run("from-hf", source, tmp_path / out)
        assert code == (2 if says == "T100" else 1) and says in printed, printed
    for source, out, says in ((tmp_path / "nowhere", "out", "T756"), (tiny_bert, "out", "T756")):
        code, printed = run("to-hf", source, tmp_path / out)
        assert code == 2 and says in printed, printed
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("task", "module"), [("SequenceClassification", "convert"), ("TokenClassification", "token_classifiers")]
)
def test_a_difference_is_noticed(task, module, tmp_path, monkeypatch):
    """The command compares before it writes."""
    from spacy_transfer.huggingface.state_dicts import fill_head

    write_checkpoint(tmp_path / "checkpoint", task=task)

    def fill_badly(model, weights):
        fill_head(model, weights)
        model.get_ref("output").set_param("b", model.get_ref("output").get_param("b") + numpy.float32(0.01))

    monkeypatch.setattr(f"spacy_transfer.huggingface.{module}.fill_head", fill_badly)
    code, printed = run("from-hf", tmp_path / "checkpoint", tmp_path / "out")
    assert code == 1 and "T761" in printed and "1.0e-02" in printed
    assert not (tmp_path / "out").exists()


def test_the_commands_are_found_by_spacy():
    """spaCy imports what stands in that registry."""
    for command, words in (
        ("from-hf", ["source", "--lang", "--labels", "--task"]),
        ("to-hf", ["pipeline", "--component"]),
    ):
        module = command.replace("-", "_")
        assert registry.cli.get(f"transfer_{module}").__name__ == f"spacy_transfer.cli.{module}"
        out = CliRunner().invoke(app, ["transfer", command, "--help"]).output
        assert all(word in out.lower() for word in words), out
