"""`similarity` goes by the rows of a backbone, without spaCy's warning that there are no word vectors."""

import pickle
import warnings

import numpy
import pytest

from ..pipelines import make_pipeline


def test_docs_spans_and_tokens_are_compared_by_their_rows(tiny_bert):
    nlp, *_ = make_pipeline(tiny_bert)
    one, other = nlp("the cat sees"), pickle.loads(pickle.dumps(nlp("a dog")))

    def cosine(a, b):
        return float(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.similarity(other) == pytest.approx(cosine(one.tensor.mean(0), other.tensor.mean(0)), abs=1e-5)
        assert one[1].similarity(other[1]) == pytest.approx(cosine(one.tensor[1], other.tensor[1]), abs=1e-5)
        assert one[1:3].similarity(other) == pytest.approx(
            cosine(one.tensor[1:].mean(0), other.tensor.mean(0)), abs=1e-5
        )
        assert one.similarity(nlp("")) == 0.0


def test_word_vectors_and_hooks_of_others_stay(tiny_bert):
    nlp, *_ = make_pipeline(tiny_bert)
    doc = nlp.make_doc("the cat")
    doc.user_hooks["similarity"] = lambda a, b: 7.0
    assert nlp(doc).similarity(nlp("a dog")) == 7.0
    nlp.vocab.set_vector("cat", numpy.ones(4, dtype="f"))
    assert "similarity" not in nlp("the cat").user_hooks
