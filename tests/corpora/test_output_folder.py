"""A pipeline that the training's own output would replace."""

import sys
from pathlib import Path

import pytest

from spacy_transfer.corpora.output_folder import check_stays
from spacy_transfer.corpora.teaching.answers import Ask
from spacy_transfer.corpora.teaching.teacher import Teacher


@pytest.mark.parametrize("given", [["-o", "out"], ["--output", "./out/"], ["--output=out"]])
def test_what_a_training_deletes_is_no_source(given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spacy", "train", "some.cfg", *given, "--paths.source", "out/model-best"])
    for source in ("out/model-best", tmp_path / "out" / "model-last", Path("out") / "model-best" / "inner"):
        with pytest.raises(ValueError, match=r"T563.*corpora\.train\.source = .*out.*--output"):
            check_stays(source, "corpora.train")
    for source in ("en_core_web_sm", "out/other", "other/model-best", "out"):
        check_stays(source, "corpora.train")


@pytest.mark.parametrize(
    "command", [["spacy", "evaluate", "out/model-best", "-o", "out"], ["spacy", "train", "a.cfg"], []]
)
def test_other_commands_delete_nothing(command, monkeypatch):
    monkeypatch.setattr(sys, "argv", command)
    check_stays("out/model-best", "corpora.train")


def test_a_teacher_asks_before_it_is_too_late(monkeypatch, tmp_path):
    (tmp_path / "out" / "model-best").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["spacy", "train", "a.cfg", "-o", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="T563"):
        Teacher(str(tmp_path / "out" / "model-best"), Ask(("ner",)), key="corpora.train", cache=tmp_path)
