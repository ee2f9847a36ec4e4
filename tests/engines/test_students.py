"""Encoders with fewer layers learn the rows of the whole one."""

import io
import itertools

import numpy
from tqdm import tqdm

from spacy_transfer.backbones import encode as cached_encode
from spacy_transfer.engines import students
from spacy_transfer.engines.soft_heads import solve_heads
from spacy_transfer.engines.students import cut_and_distil

from ..pipelines import TEXTS, make_pipeline
from .test_soft_heads import TEXTS as LABELLED
from .test_soft_heads import cats, make

NAME = "transfer_backbone"


def error(teacher, student, texts):
    found = []
    for nlp in (teacher, student):
        docs = [nlp.make_doc(text) for text in texts]
        found.append(numpy.concatenate(nlp.get_pipe(NAME).predict(docs).rows))
    return float(numpy.square(found[0] - found[1]).mean())


def test_rows_come_nearer_and_the_teacher_stays(tiny_bert, monkeypatch):
    teacher = make_pipeline(tiny_bert, ("textcat",))[0]
    before = teacher.to_bytes()
    # A clock that counts steps.
    monkeypatch.setattr(students, "monotonic", itertools.count().__next__)
    cut, student = (cut_and_distil(teacher, NAME, 1, TEXTS, steps) for steps in (1, 120))
    assert error(teacher, student, TEXTS) < 0.8 * error(teacher, cut, TEXTS)
    assert teacher.to_bytes() == before
    encoder = student.get_pipe(NAME).model.shims[0].encoder
    assert encoder.n_layers == 1
    own = teacher.get_pipe(NAME).model.shims[0].encoder.transformer.embeddings.word_embeddings.weight
    assert (encoder.transformer.embeddings.word_embeddings.weight == own).all()
    assert student("a dog sings").cats.keys() == teacher("a dog sings").cats.keys()


def test_heads_are_solved_anew_for_the_rows_of_the_student(tiny_bert, monkeypatch):
    teacher = make(tiny_bert, "transfer_textcat")

    def distance(solve):
        monkeypatch.setattr(students, "monotonic", itertools.count().__next__)
        monkeypatch.setattr(students, "solve_heads", solve)
        student = cut_and_distil(teacher, NAME, 1, LABELLED, 5)
        return numpy.abs(cats(student) - cats(teacher)).mean()

    assert distance(solve_heads) < 0.7 * distance(lambda nlp, teacher, texts, rows: [])


def test_the_teacher_reads_each_text_once(tiny_bert, monkeypatch):
    teacher, read = make(tiny_bert, "transfer_textcat"), []
    encode = cached_encode.encode

    def spy(model, docs, is_train):
        read.extend(doc.text for doc in docs if model is teacher.get_pipe(NAME).model)
        return encode(model, docs, is_train)

    monkeypatch.setattr(cached_encode, "encode", spy)
    monkeypatch.setattr(students, "monotonic", itertools.count().__next__)
    cut_and_distil(teacher, NAME, 1, LABELLED, 30)
    assert sorted(read) == sorted(set(LABELLED))


def test_a_bar_counts_the_seconds(tiny_bert, monkeypatch):
    shown = []

    def bar(what, **settings):
        shown.append(tqdm(**settings, file=io.StringIO()))
        return shown[-1]

    monkeypatch.setattr(students, "progress", bar)
    monkeypatch.setattr(students, "monotonic", itertools.count(0, 0.5).__next__)
    cut_and_distil(make_pipeline(tiny_bert, ("textcat",))[0], NAME, 1, TEXTS, 3)
    # The clock is asked at 0.5, 1 and so on: at 3 seconds there is no time left.
    assert [(one.total, one.n, one.unit) for one in shown] == [(3, 2, " s")]
