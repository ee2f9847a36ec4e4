"""What differs between two backbones."""

import numpy
import spacy

from spacy_transfer.pipeline.labels.compare import differences


def pipeline():
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    nlp.initialize()
    return nlp


def test_the_largest_difference_of_a_layer():
    ours, theirs = pipeline(), pipeline()
    assert differences((ours, "tok2vec"), (theirs, "tok2vec")) == []
    node = next(node for node in theirs.get_pipe("tok2vec").model.walk() if node.name == "maxout")
    changed = node.get_param("b").copy()
    changed.flat[0] += 0.25
    changed.flat[1] -= 0.5
    node.set_param("b", changed)
    (line,) = differences((ours, "tok2vec"), (theirs, "tok2vec"))
    assert line.startswith("weights, largest difference") and line.endswith(" 5.0e-01")


def test_a_nan_is_the_largest_difference():
    ours, theirs = pipeline(), pipeline()
    node = next(node for node in theirs.get_pipe("tok2vec").model.walk() if node.name == "maxout")
    node.set_param("b", node.get_param("b") + numpy.nan)
    (line,) = differences((ours, "tok2vec"), (theirs, "tok2vec"))
    assert line.endswith(" nan")
