"""Static students: their vectors give the encoder's rows of texts, and VectorsBackbone reads them."""

import logging
import random
from dataclasses import replace

import numpy
import pytest
import spacy

from spacy_transfer.backbones.encode import encode
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.pretraining import static_student
from spacy_transfer.pretraining.bag_regression import cosine, project, unit
from spacy_transfer.pretraining.static_student import StaticSettings, document_rows, make_static

pytest.importorskip("model2vec.distill")
NLP = spacy.blank("en")
DRAWN = random.Random(0)
WORDS = ["cat", "Dog", "sings", "the", "don't", "tree", "of", "house", "Über", "x-y", "12"]
TEXTS = [" ".join(DRAWN.choices(WORDS, k=DRAWN.randint(2, 9))) + f" once{i}" for i in range(240)]
SMALL = StaticSettings(width=8, window=32)


@pytest.fixture(scope="module")
def student(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "new" / "student"
    return folder, make_static(tiny_bert, iter([*TEXTS, TEXTS[0]]), NLP, folder, SMALL)


def student_rows(folder, docs):
    model = build_vectors_backbone_v1(source=str(folder))
    model.initialize(X=docs)
    return encode(model, docs, False)[0].documents


def teacher_of(source, **settings):
    teacher = build_transformer_backbone_v1(source=source, window=32, overlap=8, **settings)
    teacher.initialize()
    return teacher


def test_rows_come_near_to_those_of_the_encoder(student, tiny_bert):
    folder, made = student
    docs = [NLP.make_doc(text) for text in TEXTS]
    rows, _ = project(document_rows(teacher_of(tiny_bert), docs), 8)
    found = student_rows(folder, docs)
    # The vectors of VectorsBackbone are those that were solved: their rows are nearer than what was held out.
    assert cosine(found, rows) > made.after > made.before
    assert made.after > 0.5
    assert (made.n_texts, made.n_tokens, made.shape[1]) == (240, sum(map(len, docs)), 8)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["student"]


def test_words_that_come_often_have_a_vector_of_their_own(student, tiny_bert, tmp_path):
    from tokenizers import Tokenizer

    folder, made = student
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for word in ("cat", "Dog", "dog", "sings", "house"):
        assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1
    assert len(tokenizer.encode("once17", add_special_tokens=False).ids) > 1
    tokens = [token.text for text in TEXTS for token in NLP.make_doc(text)]
    whole = [word for word in set(tokens) if len(tokenizer.encode(word, add_special_tokens=False).ids) == 1]
    assert made.n_words == len(whole)
    assert made.share == pytest.approx(sum(token in whole for token in tokens) / len(tokens))


def test_model2vec_reads_it_too(student):
    from model2vec import StaticModel

    folder, made = student
    model = StaticModel.from_pretrained(folder)
    row = student_rows(folder, [NLP.make_doc("cat")])[0]
    numpy.testing.assert_allclose(model.encode("cat"), unit(row[None])[0], atol=1e-5)
    assert model.embedding.shape == made.shape


def test_rows_of_the_first_token_are_matched_if_asked_for(tiny_bert, tmp_path, monkeypatch):
    asked = []
    import model2vec.distill

    distil = model2vec.distill.distill
    monkeypatch.setattr(model2vec.distill, "distill", lambda *a, **k: asked.append(k["pooling"]) or distil(*a, **k))
    make_static(tiny_bert, TEXTS, NLP, tmp_path / "s", replace(SMALL, document="cls", sif=0.0))
    assert asked == ["first"]
    docs = [NLP.make_doc(text) for text in TEXTS]
    found = student_rows(tmp_path / "s", docs)
    near = [
        cosine(found, project(document_rows(teacher_of(tiny_bert, document=d), docs), 8)[0]) for d in ("cls", "mean")
    ]
    assert near[0] > near[1]


def test_rare_words_are_shortened_less():
    bags = static_student.Bags([[[0], [0], [1]], [[0], [2]]], 4)
    first = static_student._first(numpy.eye(4, dtype="f"), bags, 0.1)
    lengths = numpy.linalg.norm(first, axis=1)
    numpy.testing.assert_allclose(lengths / lengths[3], [0.1 / 0.7, 0.1 / 0.3, 0.1 / 0.3, 1], rtol=1e-5)
    assert numpy.linalg.norm(static_student._first(numpy.eye(4, dtype="f"), bags, 0.0), axis=1).std() < 1e-6


def test_a_student_that_learned_nothing_is_warned_of(tiny_bert, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(static_student.Regression, "held_out", lambda self: (0.5, 0.25))
    with caplog.at_level(logging.WARNING, logger="spacy"):
        make_static(tiny_bert, TEXTS, NLP, tmp_path / "s", SMALL)
    assert "[W470]" in caplog.text and "cosine 0.250, before 0.500" in caplog.text


@pytest.mark.parametrize(
    ("texts", "changes", "says"),
    [
        (TEXTS[:99] * 3, {}, r"T472.*TEXTS has 99 different texts.* 100"),
        (TEXTS, {"width": 0}, r"T215.*static\.width"),
        (TEXTS, {"min_count": 0}, r"T215.*static\.min_count"),
        (TEXTS, {"sif": 1.5}, r"T215.*static\.sif"),
        (TEXTS, {"strength": 0.0}, r"T215.*static\.strength"),
    ],
)
def test_texts_and_settings_that_will_not_do(texts, changes, says, tiny_bert, tmp_path):
    with pytest.raises(ValueError, match=says):
        make_static(tiny_bert, texts, NLP, tmp_path / "s", replace(SMALL, **changes), name="TEXTS")
    assert not (tmp_path / "s").exists()


def test_sources_that_will_not_do(tiny_bert, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="T100"):
        make_static("./nowhere", TEXTS, NLP, tmp_path / "s", SMALL)
    NLP.to_disk(tmp_path / "pipeline")
    with pytest.raises(ValueError, match="T471.*is a spaCy pipeline"):
        make_static(str(tmp_path / "pipeline"), TEXTS, NLP, tmp_path / "s", SMALL)
    import model2vec.distill

    def fail(*args, **settings):
        raise KeyError("pad")

    monkeypatch.setattr(model2vec.distill, "distill", fail)
    with pytest.raises(ValueError, match="T473.*KeyError: 'pad'"):
        make_static(tiny_bert, TEXTS, NLP, tmp_path / "s", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


def test_without_model2vec(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setitem(static_student.import_extra.__globals__, "importlib", Missing)
    with pytest.raises(ImportError, match=r"T470.*spacy-transfer\[static\]"):
        make_static(tiny_bert, TEXTS, NLP, tmp_path / "s", SMALL)


class Missing:
    @staticmethod
    def import_module(name):
        raise ModuleNotFoundError(name=name)


def test_a_place_that_cannot_be_written(student, tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="T811"):
        make_static(tiny_bert, TEXTS, NLP, student[0])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="T818"):
        make_static(tiny_bert, TEXTS, NLP, tmp_path / "file" / "s", SMALL)
