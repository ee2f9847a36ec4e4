"""Output layers that are solved for the answers of another pipeline."""

import random

import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_transfer.engines.soft_heads import answers_of, solve_heads

from ..pipelines import backbone_config

DRAWN = random.Random(0)
WORDS = ["the", "cat", "sees", "a", "dog", "sings", "big", "house", "of"]
TEXTS = [" ".join(DRAWN.choices(WORDS, k=DRAWN.randint(1, 6))) for _ in range(60)]
HEADS = {"transfer_textcat": True, "transfer_textcat_multilabel": False}


def labels_of(text):
    words = text.split()
    return {"DOG": float("dog" in words), "CAT": float("cat" in words), "REST": float(not {"dog", "cat"} & set(words))}


def make(source, head):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": True})
    nlp.add_pipe(head)
    examples = []
    for text in TEXTS:
        cats = labels_of(text)
        if HEADS[head] and sum(cats.values()) > 1:
            cats["CAT"] = 0.0
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    nlp.config["initialize"]["components"] = {head: {"fit": "maxent", "strength": 0.01}}
    nlp.initialize(lambda: examples)
    return nlp


def forgotten(nlp, head):
    """A copy whose output layer answers the same to all."""
    copy = nlp.from_config(nlp.config).from_bytes(nlp.to_bytes())
    output = copy.get_pipe(head).model.get_ref("output")
    for name in ("W", "b"):
        output.set_param(name, numpy.zeros_like(output.get_param(name)))
    return copy


def cats(nlp):
    return numpy.array([list(doc.cats.values()) for doc in nlp.pipe(TEXTS)])


@pytest.mark.parametrize("head", sorted(HEADS))
def test_heads_answer_as_the_teacher_does_calibrated_or_not(tiny_bert, head):
    teacher = make(tiny_bert, head)
    teacher.get_pipe(head).model.attrs["temperature"] = 1.7
    before, wanted = teacher.to_bytes(), cats(teacher)
    student = forgotten(teacher, head)
    assert numpy.abs(cats(student) - wanted).max() > 0.3
    assert solve_heads(student, teacher, TEXTS) == [head]
    numpy.testing.assert_allclose(cats(student), wanted, atol=0.06)
    assert student.get_pipe(head).model.attrs["temperature"] == 1.7
    assert teacher.to_bytes() == before


@pytest.mark.parametrize("head", sorted(HEADS))
def test_answers_are_probabilities_before_calibration(tiny_bert, head):
    nlp = make(tiny_bert, head)
    plain = cats(nlp)
    nlp.get_pipe(head).model.attrs["temperature"] = 3.0
    assert numpy.abs(cats(nlp) - plain).max() > 0.05
    numpy.testing.assert_allclose(answers_of(nlp, [head], TEXTS)[head], plain, atol=1e-5)


def test_without_a_classifier_nothing_is_solved(tiny_bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    assert solve_heads(nlp, nlp, TEXTS) == []
