"""The held-out part: disjoint, complete, the same each time.

Guards also: docs.py.
"""

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_transfer.continual.old_data import read_data
from spacy_transfer.corpora.held_out import create_held_out_corpus_v1


@pytest.fixture
def path(tmp_path, nlp):
    DocBin(docs=[nlp.make_doc(f"text {i}") for i in range(25)]).to_disk(tmp_path / "all.spacy")
    return tmp_path / "all.spacy"


def texts(nlp, path, part, **settings):
    return [eg.text for eg in create_held_out_corpus_v1(path=path, part=part, **settings)(nlp)]


def test_parts_are_disjoint_and_complete(nlp, path):
    train, dev = texts(nlp, path, "train"), texts(nlp, path, "dev")
    assert len(dev) == 5
    assert sorted(train + dev) == sorted(f"text {i}" for i in range(25))
    assert dev == texts(nlp, path, "dev")
    assert dev != texts(nlp, path, "dev", seed=1)
    assert len(texts(nlp, path, "dev", share=0.01)) == 1


def test_two_files_are_read_whole(nlp, path):
    assert len(texts(nlp, path, "train", dev_path=path)) == len(texts(nlp, path, "dev", dev_path=path)) == 25


def test_errors(nlp, path, tmp_path):
    with pytest.raises(ValueError, match=r"T501.*paths\.train"):
        texts(nlp, None, "train")
    with pytest.raises(ValueError, match=r"T502.*corpora\.dev\.share"):
        texts(nlp, path, "dev", share=1.0)
    DocBin(docs=[nlp.make_doc("one")]).to_disk(tmp_path / "one.spacy")
    with pytest.raises(ValueError, match=r"T503.*one\.spacy"):
        texts(nlp, tmp_path / "one.spacy", "train")


def test_registered():
    assert spacy.registry.get("readers", "spacy-transfer.HeldOutCorpus.v1") is create_held_out_corpus_v1


@pytest.mark.parametrize("harm", [lambda data: b"", lambda data: b"no DocBin", lambda data: data[:-20]])
def test_a_damaged_file_is_named(nlp, path, harm, tmp_path):
    good, bad = path, tmp_path / "bad.spacy"
    bad.write_bytes(harm(good.read_bytes()))
    for settings in ({"path": bad}, {"path": good, "dev_path": bad}, {"path": tmp_path}):
        with pytest.raises(ValueError, match="T217.*bad.spacy"):
            list(create_held_out_corpus_v1(part="dev", **settings)(nlp))
    with pytest.raises(ValueError, match="T217.*bad.spacy"):
        list(read_data(nlp, str(bad), "data"))
