"""Word vectors against gensim called directly, in VectorsBackbone, and carried on to new texts."""

import logging
import random
import sys
from dataclasses import replace

import numpy
import pytest
import spacy
from gensim.models import FastText, KeyedVectors, Word2Vec
from gensim.models.fasttext import save_facebook_model

from spacy_transfer.backbones.vectors.vector_files import read_vectors
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.pretraining.word_vectors import VectorSettings, train_word_vectors

NLP = spacy.blank("en")
SMALL = VectorSettings(width=12, min_count=2, epochs=2, seed=3, buckets=300)
DRAWN = random.Random(0)
WORDS = ["cat", "Dog", "sings", "über", "the", "don't", "tree", "of", "😀", "house"]
TEXTS = [" ".join(DRAWN.choices(WORDS, k=DRAWN.randint(1, 30))) for _ in range(60)] + ["once"]


def tokenized(texts, longest=10_000):
    words = [[token.text for token in NLP.make_doc(text)] for text in texts]
    return [line[i : i + longest] for line in words for i in range(0, len(line), longest)]


def gensims(kind, texts, **settings):
    given = {"vector_size": 12, "min_count": 2, "epochs": 2, "seed": 3, "workers": 1, "window": 5, "negative": 5}
    return kind(tokenized(texts), **given | settings)


def rows_of(path, text, **settings):
    doc = NLP.make_doc(text)
    model = build_vectors_backbone_v1(source=str(path), case="exact", **settings)
    model.initialize(X=[doc])
    return dict(zip([token.text for token in doc], model.predict([doc])[0], strict=True))


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
@pytest.mark.parametrize("algorithm", ["skipgram", "cbow"])
def test_word2vec_is_gensims_byte_for_byte(name, algorithm, tmp_path):
    # The last text is longer than gensim reads in one go.
    texts = [*TEXTS, "cat sings of trees " * 5_000]
    trained = train_word_vectors(iter(texts), NLP, tmp_path / name, replace(SMALL, algorithm=algorithm))
    model = gensims(Word2Vec, texts, sg=int(algorithm == "skipgram"))
    model.wv.save_word2vec_format(str(tmp_path / "theirs"), binary=name == "v.bin")
    assert (tmp_path / name).read_bytes() == (tmp_path / "theirs").read_bytes()
    assert trained.n_tokens == sum(map(len, tokenized(texts))) == model.corpus_total_words
    assert trained.n_rows == len(model.wv) and trained.added == model.wv.index_to_key
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "theirs"])
    rows = rows_of(tmp_path / name, " ".join(WORDS), oov="zero")
    assert all((rows[word] == model.wv[word]).all() for word in model.wv.index_to_key if word in rows)
    assert {"cat", "Dog", "do", "n't"} <= set(rows) & set(model.wv.index_to_key)


def test_fasttext_is_gensims_byte_for_byte_and_keeps_subwords(tmp_path):
    train_word_vectors(TEXTS, NLP, tmp_path / "v.bin", replace(SMALL, method="fasttext"))
    model = gensims(FastText, TEXTS, sg=1, bucket=300)
    save_facebook_model(model, str(tmp_path / "theirs"))
    assert (tmp_path / "v.bin").read_bytes() == (tmp_path / "theirs").read_bytes()
    rows = rows_of(tmp_path / "v.bin", "cat sings catlike überhaupt Doghouse")
    assert not {"catlike", "überhaupt", "Doghouse"} & set(model.wv.key_to_index)
    for word, row in rows.items():
        numpy.testing.assert_allclose(row, model.wv[word], rtol=1e-5, atol=1e-7)
        assert row.any()


def test_the_seed_counts(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_word_vectors(TEXTS, NLP, tmp_path / name, replace(SMALL, seed=seed))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


KNOWN = ["cat", "purrs", "milk", "whiskers", "car", "drives", "petrol", "wheels", "elsewhere", "iphone 4"]


def write_source(path, words=KNOWN, width=12):
    """Vectors at right angles, as far as they go: no word is near another."""
    rows = numpy.linalg.qr(numpy.random.default_rng(0).normal(size=(width, width)))[0].astype("f")
    vectors = KeyedVectors(width)
    vectors.add_vectors(words, 2 * rows[: len(words)])
    vectors.save_word2vec_format(path)
    return {word: vectors[word] for word in words}


def animals_and_cars(count=400):
    """ "kitten" stands where "cat" does, "lorry" where "car" does."""
    draw = random.Random(1)
    for _ in range(count):
        yield " ".join([draw.choice(["cat", "kitten"]), *draw.sample(["purrs", "milk", "whiskers"], 3)])
        yield " ".join([draw.choice(["car", "lorry"]), *draw.sample(["drives", "petrol", "wheels"], 3)])


CARRY = VectorSettings(window=3, epochs=40)


def test_added_words_are_placed_by_their_context_and_known_ones_stay(tmp_path):
    before = write_source(tmp_path / "source.txt")
    trained = train_word_vectors(
        animals_and_cars(), NLP, tmp_path / "v.txt", CARRY, source=str(tmp_path / "source.txt")
    )
    assert set(trained.added) == {"kitten", "lorry"} and trained.n_rows == len(KNOWN) + 2
    after = KeyedVectors(12)
    table = read_vectors(str(tmp_path / "v.txt"))
    after.add_vectors(table.words, table.data)
    assert all((after[word] == row).all() for word, row in before.items())
    assert set(table.words) == {*KNOWN, "kitten", "lorry"} and table.words[-2:] == ["elsewhere", "iphone 4"]
    for word, near in (("kitten", "cat"), ("lorry", "car")):
        (first, similarity), (_, second) = after.most_similar(word, topn=2)
        assert first == near and similarity > second + 0.1


def test_known_words_move_if_they_may(tmp_path):
    before = write_source(tmp_path / "source.txt")
    settings = replace(CARRY, freeze_known=False, epochs=1)
    train_word_vectors(animals_and_cars(), NLP, tmp_path / "v.txt", settings, source=str(tmp_path / "source.txt"))
    table = read_vectors(str(tmp_path / "v.txt"))
    moved = {word for word, row in zip(table.words, table.data, strict=True) if (row != before.get(word, row)).any()}
    assert moved == set(KNOWN) - {"elsewhere", "iphone 4"}
    # They started from what they had: they are nearer to it than to anything else.
    start = KeyedVectors(12)
    start.add_vectors(list(before), list(before.values()))
    rows = dict(zip(table.words, table.data, strict=True))
    assert all(start.similar_by_vector(rows[word], topn=1)[0][0] == word for word in moved)


def test_vectors_of_a_pipeline_are_carried_on_without_white_space(tmp_path):
    nlp = spacy.blank("en")
    for word in ("cat", "\n", " ", "car"):
        nlp.vocab.set_vector(word, numpy.full(6, len(nlp.vocab.vectors) + 1, dtype="f"))
    nlp.to_disk(tmp_path / "pipeline")
    source = str(tmp_path / "pipeline")
    train_word_vectors(["cat kitten"] * 9, NLP, tmp_path / "v.bin", VectorSettings(), source=source)
    table = read_vectors(str(tmp_path / "v.bin"))
    assert sorted(table.words) == ["car", "cat", "kitten"]
    assert (table.data[table.words.index("cat")] == nlp.vocab["cat"].vector).all()


def test_a_source_in_lower_case(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    write_source(tmp_path / "source.txt")
    for lower in (False, True):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            settings = replace(SMALL, width=None, lower=lower)
            texts = ["Cat purrs The", "cat purrs the"] * 9
            source = str(tmp_path / "source.txt")
            train_word_vectors(texts, NLP, tmp_path / str(lower), settings, source=source)
        assert ("W811" in caplog.text and "1 of them" in caplog.text) == (not lower)


REFUSED = {
    "there": ({}, {}, "there.txt", "T811"),
    "rare": ({"min_count": 99_999}, {}, "v.txt", r"T813.*99999.*texts.txt.*comes \d+ times in \d+ tokens"),
    "width": ({"width": 50}, {"source": "source.txt"}, "v.txt", "T814.*50.*12 columns"),
    "fasttext": ({"method": "fasttext"}, {"source": "source.txt"}, "v.txt", "T812.*word2vec"),
    "other words": ({"width": None}, {"source": "others.txt"}, "v.txt", "T816.*Of 11 words.* 0 have.*--lower"),
    "same words": ({"width": None}, {"source": "same.txt"}, "v.txt", "T816.*--move-known"),
    "a file for a folder": ({}, {}, "there.txt/v.txt", "T818.*there.txt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_written(case, tmp_path):
    settings, given, name, says = REFUSED[case]
    (tmp_path / "there.txt").write_text("precious")
    write_source(tmp_path / "source.txt")
    write_source(tmp_path / "others.txt", ["Haus", "Baum"])
    write_source(tmp_path / "same.txt", sorted({word for line in tokenized(TEXTS) for word in line}))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    given = {key: str(tmp_path / value) for key, value in given.items()}
    with pytest.raises(ValueError, match=says):
        train_word_vectors(TEXTS, NLP, tmp_path / name, replace(SMALL, **settings), name="texts.txt", **given)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_source_without_words(tmp_path, tiny_bert):
    from ..backbones.vectors.test_vector_files import write_model2vec

    write_model2vec(tmp_path, tiny_bert)
    with pytest.raises(ValueError, match="T815"):
        train_word_vectors(TEXTS, NLP, tmp_path / "v.txt", source=str(tmp_path))


def test_words_with_spaces_go_into_text_alone(tmp_path):
    nlp = spacy.blank("en")
    nlp.tokenizer = lambda text: spacy.tokens.Doc(nlp.vocab, words=["Việt Nam", "là", "một"])
    with pytest.raises(ValueError, match=r"T819.*v.bin.*'Việt Nam'"):
        train_word_vectors(TEXTS, nlp, tmp_path / "v.bin", SMALL)
    trained = train_word_vectors(TEXTS, nlp, tmp_path / "v.txt", SMALL)
    table = read_vectors(str(tmp_path / "v.txt"))
    assert table.words == trained.vectors.index_to_key and (table.data == trained.vectors.vectors).all()


def test_without_gensim(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match=r"T817.*spacy-transfer\[vectors\]"):
        train_word_vectors(TEXTS, NLP, tmp_path / "v.txt", SMALL)
