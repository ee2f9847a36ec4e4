"""A stream of raw texts: what is held out, what is dropped, what is cut, and in which order."""

import gzip
import itertools
import json

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_transfer.corpora.raw_text import create_raw_text_v1, reader_of


def read(path, nlp, **settings):
    return [doc.text for doc in create_raw_text_v1(path=path, **settings)(nlp)]


def split(path, nlp, **settings):
    """Texts that are learned from and texts that are held out."""
    reader = create_raw_text_v1(path=path, **settings)
    return [doc.text for doc in reader(nlp)], [doc.text for doc in reader.held_out_docs()]


@pytest.fixture
def texts(tmp_path):
    found = [f"text number {i}" for i in range(200)]
    (tmp_path / "raw.txt").write_text("\n".join(found))
    return found


def test_the_same_texts_are_held_out_in_any_order_and_files(texts, nlp, tmp_path):
    train, held_out = split(tmp_path / "raw.txt", nlp, held_out=0.2)
    assert sorted(train + held_out) == sorted(texts) and 20 <= len(held_out) <= 60
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(reversed(texts[100:])))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(json.dumps({"text": t}) for t in texts[:50]).encode()))
    DocBin(docs=[nlp.make_doc(text) for text in texts[50:100]]).to_disk(folder / "c.spacy")
    again, there = split(folder, nlp, held_out=0.2, shuffle=0)
    assert set(again) == set(train) and set(there) == set(held_out)
    # With a larger share the same ones, and more.
    assert set(held_out) < set(split(tmp_path / "raw.txt", nlp, held_out=0.4)[1])
    assert split(tmp_path / "raw.txt", nlp, held_out=0.2, max_held_out=5)[1] == held_out[:5]


def test_duplicates_are_read_once(nlp, tmp_path):
    (tmp_path / "raw.txt").write_text("a b\nc\na b\n a b \nA b\n")
    assert sorted(read(tmp_path / "raw.txt", nlp, held_out=0.0)) == ["A b", "a b", "c"]
    assert read(tmp_path / "raw.txt", nlp, held_out=0.0, limit=2, shuffle=0) == ["a b", "c"]


def test_long_texts_are_cut_and_nothing_is_lost(nlp, tmp_path):
    nlp.max_length = 100
    text = " ".join(f"word{i}" for i in range(73))
    (tmp_path / "raw.txt").write_text(text)
    docs = list(create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.0, max_words=8)(nlp))
    assert "".join(doc.text_with_ws for doc in docs) == text
    lengths = [len(doc) for doc in docs]
    assert max(lengths) <= 8 and min(lengths) >= 4
    assert all(doc.vocab is nlp.vocab for doc in docs)


def test_the_order_is_that_of_seed_and_epoch(texts, nlp, tmp_path):
    def epochs(**settings):
        reader = create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.0, **settings)
        return [[doc.text for doc in reader(nlp)] for _ in range(2)]

    first, second = epochs(shuffle=20)
    assert first != second and sorted(first) == sorted(second) == sorted(texts)
    assert epochs(shuffle=20) == [first, second] != epochs(shuffle=20, seed=1)
    assert epochs(shuffle=0) == [texts, texts]
    # A text is not read before those that are more than a buffer behind it are there.
    assert all(texts.index(text) <= place + 20 for place, text in enumerate(first))


def test_the_docs_know_their_reader(texts, nlp, tmp_path):
    reader = create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.0, max_words=2)
    docs = list(itertools.islice(reader(nlp), 5))
    assert reader_of(docs) is reader and reader_of([nlp.make_doc("x")]) is None
    assert reader.n_docs is None
    list(reader(nlp))
    assert reader.n_docs == sum(-(-len(nlp.make_doc(text)) // 2) for text in texts) and reader.epoch == 1


def test_words_are_counted_in_what_is_learned_from(texts, nlp, tmp_path):
    reader = create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.2)
    train = list(reader(nlp))
    counts = reader.count_words()
    assert counts["number"] == len(train) < 200
    assert not any(counts[doc[-1].text] for doc in reader.held_out_docs())


def test_words_of_texts_longer_than_spacy_takes_are_counted(nlp, tmp_path):
    nlp.max_length = 50
    (tmp_path / "raw.txt").write_text("word " * 40)
    reader = create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.0)
    docs = list(reader(nlp))
    assert reader.count_words()["word"] == sum(map(len, docs)) == 40


def test_nothing_is_left(nlp, tmp_path):
    (tmp_path / "raw.txt").write_text("only one text")
    with pytest.raises(ValueError, match=r"T821.*raw\.txt.*held_out = 0\.9999"):
        read(tmp_path / "raw.txt", nlp, held_out=0.9999)


def test_nothing_is_held_out(nlp, tmp_path, caplog):
    (tmp_path / "raw.txt").write_text("only one text")
    assert split(tmp_path / "raw.txt", nlp, held_out=1e-9) == (["only one text"], [])
    assert "W822" in caplog.text and "held_out = 1e-09" in caplog.text
    caplog.clear()
    assert split(tmp_path / "raw.txt", nlp, held_out=0.0)[1] == [] and not caplog.text


def test_no_path():
    with pytest.raises(ValueError, match=r"T820.*--paths\.raw_text"):
        create_raw_text_v1(path=None)


def test_a_path_comes_as_a_string(texts, tmp_path):
    """`spacy pretrain` resolves readers without a schema."""
    assert len(read(str(tmp_path / "raw.txt"), spacy.blank("de"), held_out=0.0)) == 200
