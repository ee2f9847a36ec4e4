"""A copy of a pipeline: the same weights in other arrays, and no trace in random numbers."""

import random

import numpy
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_transfer.pipeline.pipeline_copy import copy_of


@Language.factory("test_pipeline_copy_draws")
def make_drawing(nlp, name):
    random.random(), numpy.random.random()  # noqa: NPY002
    return lambda doc: doc


def test_a_copy_shares_nothing():
    nlp = spacy.blank("en")
    nlp.add_pipe("test_pipeline_copy_draws")
    nlp.add_pipe("textcat")
    example = Example.from_dict(nlp.make_doc("a dog"), {"cats": {"A": 1.0, "B": 0.0}})
    nlp.initialize(lambda: [example])
    states = random.getstate(), numpy.random.get_state()[1].copy()  # noqa: NPY002
    copied = copy_of(nlp)
    assert random.getstate() == states[0] and (numpy.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert type(copied) is type(nlp) and copied.config == nlp.config and copied.vocab is not nlp.vocab
    assert copied("a dog").cats == nlp("a dog").cats
    before = nlp("a dog").cats
    copied.update([example], sgd=copied.create_optimizer())
    assert nlp("a dog").cats == before != copied("a dog").cats
