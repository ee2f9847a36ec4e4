"""What labels of token classifiers are, and the rows that they give a head.

Guards also: state_dicts.py.
"""

import numpy
import pytest

from spacy_transfer.heads.tagging.schemes import Scheme
from spacy_transfer.huggingface.state_dicts import HeadWeights
from spacy_transfer.huggingface.tags import arrange_rows, read_tags

IOB = ["B-LOC", "O", "I-PER", "I-LOC", "B-PER"]
BILUO = ["O", "U-PER", "B-PER", "I-PER", "L-PER"]


def as_ours(name):
    """The spelling of our scheme, letter by letter."""
    return {"E": "L", "S": "U", "M": "I", "W": "U"}.get(name[0], name[0]) + "-" + name[2:] if len(name) > 1 else name


@pytest.mark.parametrize(
    ("names", "labels", "scheme"),
    [
        (IOB, ["LOC", "PER"], "bio"),
        ([name.replace("-", "_") for name in IOB], ["LOC", "PER"], "bio"),
        (BILUO, ["PER"], "biluo"),
        (["S-PER", "B-PER", "I-PER", "E-PER", "O"], ["PER"], "biluo"),
        (["O", "B-a", "M-a", "E-a", "S-a", "W-b", "B-b", "M-b", "E-b"], ["a", "b"], "biluo"),
    ],
)
def test_spellings(names, labels, scheme):
    found = read_tags("x", names)
    assert (found.task, found.labels, found.scheme) == ("ner", labels, scheme)
    assert not any(found.made)
    assert [as_ours(names[row]) for row in found.rows] == list(Scheme(labels, scheme).tags)


@pytest.mark.parametrize(
    ("names", "labels", "sources"),
    [
        # Labels alone.
        (["O", "PER", "LOC"], ["PER", "LOC"], ["O", "(PER)", "PER", "(LOC)", "LOC"]),
        (["S_protein", "O", "B_cell", "protein"], ["S_protein", "B_cell", "protein"], None),
        # IOB1 of a corpus where no two persons are neighbours.
        (["I-PER", "O", "B-LOC", "I-LOC"], ["PER", "LOC"], ["O", "(I-PER)", "I-PER", "B-LOC", "I-LOC"]),
        (["O", "B-AGE", "I-PER", "B-PER"], ["AGE", "PER"], ["O", "B-AGE", "(B-AGE)", "B-PER", "I-PER"]),
        (["O", "U-AGE", "B-PER", "L-PER"], ["AGE", "PER"], None),
    ],
)
def test_rows_that_are_not_there(names, labels, sources):
    found = read_tags("x", names)
    assert (found.task, found.labels) == ("ner", labels)
    shown = [f"({names[row]})" if made else names[row] for row, made in zip(found.rows, found.made, strict=True)]
    if sources is not None:
        assert shown == sources
    # Each of theirs is one of ours, and each of ours is theirs or made of one of its label.
    tags = Scheme(found.labels, found.scheme).tags
    assert sorted(found.rows[i] for i in found.kept) == list(range(len(names)))
    assert all(names[row].endswith(tag[2:]) for row, tag in zip(found.rows, tags, strict=True) if tag != "O")
    weight, bias = numpy.random.default_rng(0).normal(size=(2, len(names), 4)).astype("f")
    new_weight, new_bias = arrange_rows(HeadWeights([(weight, bias[:, 0])], None), found).layers[0]
    rows = numpy.random.default_rng(1).normal(size=(200, 4)).astype("f")
    theirs, ours = rows @ weight.T + bias[:, 0], rows @ new_weight.T + new_bias
    numpy.testing.assert_allclose(ours[:, found.kept], theirs[:, numpy.array(found.rows)[found.kept]], atol=1e-5)
    # The best tag is what it was, and none that is made.
    assert numpy.array_equal(numpy.array(found.rows)[ours.argmax(axis=1)], theirs.argmax(axis=1))
    assert not numpy.array(found.made)[ours.argmax(axis=1)].any()
    exps, made = numpy.exp(ours.astype("d")), [i for i, is_made in enumerate(found.made) if is_made]
    for i in made:
        kin = next(j for j in found.kept if found.rows[j] == found.rows[i])
        numpy.testing.assert_allclose(exps[:, i] / exps[:, kin], 0.01, rtol=1e-4)


@pytest.mark.parametrize(
    ("names", "task", "attribute"),
    [
        (["NOUN", "VERB", "PROPN", "X"], None, "pos"),
        (["NN", "VBZ", "NNP", "."], None, "tag"),
        (["NOUN", "VERB", "conj"], None, "tag"),
        (["LABEL_0", "LABEL_1"], None, "tag"),
        (["O", "COMMA", "PERIOD"], "tagger", "tag"),
        (IOB, "tagger", "tag"),
    ],
)
def test_tags_of_words(names, task, attribute):
    found = read_tags("x", names, task)
    assert (found.task, found.labels, found.attribute) == ("tagger", names, attribute)
    assert found.rows == list(range(len(names))) and found.kept == found.rows


@pytest.mark.parametrize(
    ("names", "task", "says"),
    [
        (["O", "B-PER", "I-PER", "[CLS]", "X"], None, r"\['\[CLS\]', 'X'\].*--task tagger"),
        (["O", "B-PER", "I-PER", "Q-PER", "I-"], None, r"same as another: \['Q-PER', 'I-'\]"),
        (["O", "B-PER", "E-PER", "L-PER"], None, r"same as another: \['L-PER'\]"),
        (["B-PER", "I-PER"], None, "there is no 'O'"),
        (["NOUN", "VERB"], "ner", "there is no 'O'"),
        (["O"], None, "no label of entities"),
    ],
)
def test_labels_that_cannot_be_used(names, task, says):
    with pytest.raises(ValueError, match=f"T389.*{says}"):
        read_tags("here", names, task)
