"""What is said of data that has been read and split."""

import sys
from itertools import permutations
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_transfer.starting.preparing import FEW_TEST, Given, prepare

sys.path.append(str(Path(__file__).parent.parent.parent / "benchmarks"))
from labelled_files import write_csv


@pytest.mark.parametrize("n_test", [1, FEW_TEST - 1, FEW_TEST])
def test_few_test_texts_are_said(tmp_path, n_test):
    """With fewer than 50, the interval of an accuracy of 0.9 is wider than 0.2."""
    assert FEW_TEST == 50
    write_csv(tmp_path / "train.csv", 130)
    lines = (tmp_path / "train.csv").read_text(encoding="utf8").splitlines(keepends=True)
    for name, rows in (("train", lines[n_test + 1 :]), ("test", lines[1 : n_test + 1])):
        (tmp_path / f"{name}.csv").write_text("".join([lines[0], *rows]), encoding="utf8")
    found = prepare(spacy.blank("en"), Given(tmp_path / "train.csv", test=tmp_path / "test.csv"))
    assert len(found.rows["test"]) == n_test
    said = [(count, done) for what, count, done in found.lines if what == "few test texts"]
    assert [count for count, _ in said] == ([str(n_test)] if n_test < FEW_TEST else [])
    assert all("label more, or give --test" in done for _, done in said)


def test_a_folder_of_spacy_files_is_one_corpus(tmp_path):
    vocab, words = spacy.blank("en").vocab, "red green blue old new big small long short quick".split()
    (tmp_path / "shards").mkdir()
    for name, word in (("one", "good"), ("two", "bad")):
        docs = [Doc(vocab, words=[word, *pair]) for pair in permutations(words, 2)]
        for doc in docs:
            doc.cats = {word: 1.0}
        DocBin(docs=docs).to_disk(tmp_path / "shards" / f"{name}.spacy")
    found = prepare(spacy.blank("en"), Given(tmp_path / "shards"))
    assert found.task == "textcat" and sum(len(rows) for rows in found.rows.values()) == 2 * 90
