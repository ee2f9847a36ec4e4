"""`fit = "maxent"` of heads of tokens: entities and tags start at the optimum on the backbone's rows."""

import numpy
import pytest
import spacy
from scipy.optimize import minimize
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_transfer.heads.maxent import solve_maxent

from ...pipelines import LISTENER, backbone_config

WORDS = {"PET": ["cat", "dog", "bird", "cow"], "CAR": ["van", "bus", "jeep", "tram"]}
MODEL = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}


def pipeline(tiny_bert, name, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe(name, config=config)
    examples = []
    for label, words in WORDS.items():
        for word in words:
            doc = Doc(nlp.vocab, ["the", word, "sings"], tags=["DT", label, "VB"])
            doc.set_ents([Span(doc, 1, 2, label)], default="outside")
            examples.append(Example(nlp.make_doc("the " + word + " sings"), doc))
    return nlp, examples


def initialize(nlp, examples, name, **settings):
    nlp.config["initialize"]["components"][name] = {"fit": "maxent", **settings}
    nlp.initialize(lambda: examples)
    return nlp.get_pipe(name)


def rows_of(nlp, examples):
    """What the head reads, by spaCy's own `pipe`."""
    return numpy.concatenate([nlp.get_pipe("transfer_backbone")(eg.predicted.copy()).tensor for eg in examples])


@pytest.mark.parametrize(
    "name, config, labels",
    [
        ("transfer_ner", {"model": {**MODEL, "decoder": "crf"}}, ["O", "B-PET", "O", "O", "B-CAR", "O"]),
        ("transfer_tagger", {"model": {**MODEL, "decoder": "softmax"}}, ["DT", "PET", "VB", "DT", "CAR", "VB"]),
    ],
)
def test_output_layer_is_that_of_plain_logistic_regression(tiny_bert, name, config, labels):
    nlp, examples = pipeline(tiny_bert, name, **config)
    pipe = initialize(nlp, examples, name, strength=0.5)
    rows = rows_of(nlp, examples).astype("d")
    gold = numpy.array([pipe.tags.index(tag) for tag in labels[:3] * 4 + labels[3:] * 4])

    def loss(flat):
        W, b = flat[: len(pipe.tags) * rows.shape[1]].reshape(len(pipe.tags), -1), flat[-len(pipe.tags) :]
        logits = rows @ W.T + b
        logs = logits - numpy.logaddexp.reduce(logits, axis=1, keepdims=True)
        return -logs[range(len(gold)), gold].sum() + 0.25 * (W**2).sum()

    best = minimize(loss, numpy.zeros(len(pipe.tags) * (rows.shape[1] + 1)), method="L-BFGS-B").fun
    output = pipe.model.get_ref("output")
    found = loss(numpy.concatenate([output.get_param("W").ravel(), output.get_param("b")]))
    assert found == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_entities_are_found_without_a_step_of_training(tiny_bert, decoder):
    nlp, examples = pipeline(tiny_bert, "transfer_ner", model={**MODEL, "decoder": decoder})
    initialize(nlp, examples, "transfer_ner", strength=1e-4)
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_tokens_without_annotation_count_nothing(tiny_bert):
    nlp, examples = pipeline(tiny_bert, "transfer_ner")
    pipe = initialize(nlp, examples, "transfer_ner", strength=0.5)
    doc = Doc(nlp.vocab, ["the", "cat", "sings"])
    doc.set_ents([Span(doc, 1, 2, "PET")], default="missing")
    evidence = pipe.weigh([Example(nlp.make_doc(doc.text), doc)])
    assert evidence.positive.sum(axis=1).tolist() == [0.0, 1.0, 0.0]


def test_label_smoothing_is_that_of_the_loss(tiny_bert):
    nlp, examples = pipeline(tiny_bert, "transfer_tagger", label_smoothing=0.2)
    pipe = initialize(nlp, examples, "transfer_tagger", strength=0.5)
    losses = {}
    nlp.update(examples, sgd=False, losses=losses, drop=0.0)
    output = pipe.model.get_ref("output")
    numpy.testing.assert_allclose(output.get_grad("W"), -0.5 * output.get_param("W"), atol=2e-3)


def test_tokens_of_a_doc_are_held_out_together(tiny_bert, monkeypatch):
    nlp, examples = pipeline(tiny_bert, "transfer_ner")
    seen = []

    def solve(states, evidence, *rest):
        seen.append(evidence)
        return solve_maxent(states, evidence, *rest)

    monkeypatch.setattr("spacy_transfer.pipeline.heads.maxent_start.BATCH", 3)
    monkeypatch.setattr("spacy_transfer.pipeline.heads.maxent_start.solve_maxent", solve)
    initialize(nlp, examples, "transfer_ner")
    assert seen[0].groups.tolist() == numpy.repeat(range(8), 3).tolist()


def test_strength_is_found_by_folds_of_docs():
    """Every doc is a run of equal rows with a label at random. Its own rows tell its label, another doc's do not: folds
    that cut docs would choose a weak prior, and folds of docs choose the strongest."""
    draw = numpy.random.default_rng(0)
    docs = numpy.repeat(numpy.arange(40), 5)
    states = draw.normal(size=(40, 30))[docs]
    holds = (draw.integers(2, size=40)[docs][:, None]) == numpy.arange(2)
    from spacy_transfer.heads.maxent import Evidence

    cut, kept = (
        solve_maxent(states, Evidence(holds.astype("d"), None, holds, groups=groups)) for groups in (None, docs)
    )
    assert kept.strength > 30 * cut.strength
    assert kept.accuracy < 0.7 < cut.accuracy


@pytest.mark.parametrize(
    "settings, found",
    [({"fit": "svm"}, "T320"), ({"strength": -1.0}, "T321"), ({"fit": None, "strength": 1.0}, "T322")],
)
def test_bad_settings(tiny_bert, settings, found):
    nlp, examples = pipeline(tiny_bert, "transfer_ner")
    with pytest.raises(ValueError, match=found):
        initialize(nlp, examples, "transfer_ner", **settings)


def test_only_the_beginning_of_a_stream(tiny_bert, monkeypatch):
    nlp, examples = pipeline(tiny_bert, "transfer_ner")
    monkeypatch.setattr("spacy_transfer.pipeline.heads.base.STREAM_SAMPLE", len(examples))
    nlp.config["training"]["max_epochs"] = -1
    with pytest.raises(ValueError, match="T324"):
        initialize(nlp, examples, "transfer_ner")
