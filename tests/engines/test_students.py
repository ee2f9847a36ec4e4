"""Encoders with fewer layers learn the rows of the whole one."""

import itertools

import numpy

from spacy_transfer.engines import students
from spacy_transfer.engines.students import cut_and_distil

from ..pipelines import TEXTS, make_pipeline

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
