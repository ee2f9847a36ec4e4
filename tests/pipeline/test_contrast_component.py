"""`transfer_contrast` trains an encoder beside a classifier, or alone before its head is solved."""

import logging

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import Adam

from ..pipelines import LISTENER, backbone_config
from .heads.test_maxent_start import GOLD, TEXTS


def pipeline(tiny_bert, weights=None, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    weighing = {"@misc": "spacy-transfer.TaskWeights.v1", "weights": weights or {}}
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "weighing": weighing})
    nlp.add_pipe("transfer_textcat")
    nlp.add_pipe("transfer_contrast", config=config)
    return nlp


def examples_of(nlp, cats=GOLD):
    return [Example.from_dict(nlp.make_doc(text), {"cats": c}) for text, c in zip(TEXTS, cats, strict=False)]


def rows(nlp, examples):
    docs = [nlp.make_doc(eg.reference.text) for eg in examples]
    found = [rows.mean(axis=0) for rows in nlp.get_pipe("transfer_backbone").predict(docs).rows]
    return numpy.array([row / numpy.linalg.norm(row) for row in found])


def gap(nlp, examples):
    """Mean similarity of texts of one label, less that of others."""
    found = rows(nlp, examples)
    alike = numpy.array([[a.reference.cats == b.reference.cats for a in examples] for b in examples])
    similar, pairs = found @ found.T, ~numpy.eye(len(examples), dtype=bool)
    return similar[alike & pairs].mean() - similar[~alike].mean()


@pytest.mark.parametrize("head", [{}, {"hidden": [8], "activation": "tanh"}, {"pooling": ["mean", "max"]}])
@pytest.mark.parametrize("alone", [True, False])
def test_texts_of_a_label_get_alike(tiny_bert, head, alone):
    model = {"@architectures": "spacy-transfer.ContrastHead.v1", "tok2vec": LISTENER, **head}
    nlp = pipeline(tiny_bert, {"transfer_textcat": 0.0} if alone else None, model=model)
    examples = examples_of(nlp)
    nlp.initialize(lambda: examples)
    before, optimizer, all_losses = gap(nlp, examples), Adam(0.003), []
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    for _ in range(12):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses, drop=0.0)
        all_losses.append(losses["transfer_contrast"])
    nlp.get_pipe("transfer_backbone").before_saving()
    assert gap(nlp, examples) > before + 0.02
    assert all_losses[-1] < all_losses[0] - 1.0
    assert bool(output.get_param("W").any()) != alone, "its weight is 0 where the pairs come first"
    assert set(nlp(TEXTS[0]).cats) == {"pet", "car"}


def test_texts_without_a_label_count_for_nothing(tiny_bert):
    nlp = pipeline(tiny_bert)
    labelled = examples_of(nlp)[10:14]
    unknown = [Example.from_dict(nlp.make_doc(text), {"cats": {}}) for text in TEXTS[:3]]
    nlp.initialize(lambda: labelled)
    found = []
    for batch in (labelled, [*unknown, *labelled]):
        losses = {}
        nlp.get_pipe("transfer_backbone").update(batch)
        nlp.get_pipe("transfer_contrast").update(batch, losses=losses)
        found.append(losses["transfer_contrast"])
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0] > 0.1


@pytest.mark.parametrize(
    "cats, what",
    [
        ([{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}], "no two share a label"),
        ([{"a": 1.0}, {"a": 1.0}, {}], "all have the label 'a'"),
        ([{}, {}], "no two share a label"),
    ],
)
def test_a_corpus_without_pairs(tiny_bert, cats, what):
    nlp = pipeline(tiny_bert)
    examples = examples_of(nlp, cats)
    with pytest.raises(ValueError, match=rf"T927.*components\.transfer_contrast.*{what}"):
        nlp.get_pipe("transfer_contrast").initialize(lambda: examples)


@pytest.mark.parametrize("chosen, what", [([0, 1, 2], "only texts"), ([0, 20], "no two texts")])
def test_a_batch_without_pairs_is_reported_once(tiny_bert, caplog, chosen, what):
    nlp = pipeline(tiny_bert)
    examples = examples_of(nlp)
    nlp.initialize(lambda: examples)
    with caplog.at_level(logging.WARNING, "spacy"):
        for _ in range(2):
            nlp.update([examples[i] for i in chosen], sgd=Adam(0.01))
    assert caplog.text.count("W925") == 1 and what in caplog.text


def test_temperature(tiny_bert):
    with pytest.raises(ValueError, match=r"T215.*components\.transfer_contrast\.temperature"):
        pipeline(tiny_bert, temperature=0.0)


def test_saved(tiny_bert, tmp_path):
    nlp = pipeline(tiny_bert, temperature=0.2)
    examples = examples_of(nlp)
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("transfer_contrast").cfg["temperature"] == 0.2
    assert again(TEXTS[0]).cats == nlp(TEXTS[0]).cats
