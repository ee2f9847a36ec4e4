"""What a made project does, without its training."""

import json
import runpy
import subprocess
import sys
from types import SimpleNamespace

import spacy
from spacy.cli.package import generate_readme
from spacy.tokens import DocBin

from spacy_transfer.starting.choice import FEW, Choice
from spacy_transfer.starting.project import Project, files_of
from spacy_transfer.starting.recipe import Recipe, Steps


def made(folder, source):
    """The files of a project, with two dev texts and three test texts."""
    nlp = spacy.blank("en")
    docs = {split: [nlp.make_doc("a")] * n for split, n in (("train", FEW), ("dev", 2), ("test", 3))}
    recipe = Recipe("textcat", source, steps=Steps(10, 1))
    project = Project("mine", "a.csv", "textcat", Choice(recipe, (), 20.0, (60.0, 150.0)), docs, [], ["a"], "", 0, -1)
    for name, text in files_of(project).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    for split in ("dev", "test"):
        DocBin(docs=docs[split]).to_disk(folder / "data" / f"{split}.spacy")
    return folder


def packaged(folder, monkeypatch):
    """RETURNS (str): The README of the wheel that spaCy is told to build."""
    given = []

    def build(command, **_):
        given.append(json.loads(open(command[command.index("--meta-path") + 1], encoding="utf8").read()))
        wheel = folder / "packages" / "en_mine-0.0.1" / "dist" / "en_mine-0.0.1-py3-none-any.whl"
        wheel.parent.mkdir(parents=True, exist_ok=True)
        wheel.write_bytes(b"")
        return SimpleNamespace(returncode=0)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", build)
        patch.setattr(sys, "argv", ["make_wheel.py"])
        runpy.run_path(str(folder / "make_wheel.py"))
    return generate_readme(given[0])


def test_the_wheel_says_on_which_texts_scores_were_measured(tmp_path, tiny_bert, monkeypatch, capsys):
    folder = made(tmp_path, tiny_bert)
    best = folder / "training" / "model-best"
    nlp = spacy.blank("en")
    nlp.meta["performance"] = {"cats_score": 0.9, "cats_score_desc": "macro F", "transfer_textcat_loss": 0.1}
    best.parent.mkdir()
    nlp.to_disk(best)
    readme = (folder / "README.md").read_text(encoding="utf8")
    assert "takes 60 seconds to 2 minutes on this machine, the training alone about 20 seconds" in readme
    said = packaged(folder, monkeypatch)
    assert "Learns labels of texts from a.csv." in said and "those of the 2 dev texts" in said and "Test" not in said
    assert "LOSS" not in said
    assert "packages/en_mine-0.0.1/dist/en_mine" in capsys.readouterr().out.replace("\\", "/")
    old = folder / "packages" / "en_mine-0.0.1" / "README.md"
    old.write_text("old scores")
    (folder / "metrics").mkdir()
    scores = {"cats_score": 0.75, "token_acc": 1.0, "cats_score_desc": "macro F"}
    (folder / "metrics" / "test.json").write_text(json.dumps(scores))
    dev, test = packaged(folder, monkeypatch).split("### Test")
    assert "| `CATS_SCORE` | 90.00 |" in dev and "On 3 texts" in test and "| `CATS_SCORE` | 75.00 |" in test
    assert "TOKEN_ACC" not in test and not old.exists()
