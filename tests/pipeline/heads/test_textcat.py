"""transfer_textcat and transfer_textcat_multilabel: labels, losses, masks, saving, errors.

Guards also: classifier.py, scorers.py, pipeline/argument_groups.py.
"""

import inspect
import logging
import math

import numpy
import pytest
import spacy
import torch
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.pipeline.heads.scorers import score_textcat

from ...pipelines import LISTENER, backbone_config

RNG = numpy.random.default_rng(0)
HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
DATA = [("a cat sings", "pet"), ("the dog sings", "pet"), ("a car drives", "car"), ("the car stops", "car")]


def pipeline(tiny_bert, cats=None, name="transfer_textcat", frozen=True, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": frozen})
    nlp.add_pipe(name, config=config)
    if cats is None:
        cats = [{"pet": float(label == "pet"), "car": float(label == "car")} for _, label in DATA]
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": c}) for (text, _), c in zip(DATA, cats, strict=True)]
    return nlp, examples


def train(nlp, examples, steps=40):
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.05, L2=0.0)
    losses = []
    for _ in range(steps):
        now = {}
        nlp.update(examples, sgd=False, losses=now)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        losses.append(now)
    return losses


@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
@pytest.mark.parametrize("frozen", [True, False])
def test_it_learns_and_is_saved(tiny_bert, tmp_path, name, frozen):
    nlp, examples = pipeline(tiny_bert, name=name, frozen=frozen)
    losses = train(nlp, examples)
    assert losses[-1][name] < 0.3 * losses[0][name]
    assert nlp.evaluate(examples)["cats_macro_f"] == 1.0
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    texts = [text for text, _ in DATA]
    assert [doc.cats for doc in loaded.pipe(texts)] == [doc.cats for doc in nlp.pipe(texts)]
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert [doc.cats for doc in again.pipe(texts)] == [doc.cats for doc in nlp.pipe(texts)]
    assert loaded.get_pipe(name).cfg == nlp.get_pipe(name).cfg


def loss_of(nlp, examples, name="transfer_textcat"):
    pipe = nlp.get_pipe(name)
    scores = numpy.array([[0.7, 0.3], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]], dtype="f")[: len(examples)]
    return pipe.get_loss(examples, scores)


def test_exclusive_labels_that_are_missing_teach_nothing(tiny_bert):
    cats = [{}, {"pet": 1.0}, {"pet": 0.0}, {"pet": 0.0, "car": 1.0}]
    nlp, examples = pipeline(tiny_bert, cats)
    nlp.initialize(lambda: examples)
    assert nlp.get_pipe("transfer_textcat").labels == ("pet", "car")
    loss, gradient = loss_of(nlp, examples)
    numpy.testing.assert_allclose(gradient, [[0, 0], [-0.4, 0.4], [0, 0], [0.2, -0.2]], atol=1e-6)
    assert loss == pytest.approx(-numpy.log(0.6) - numpy.log(0.8), rel=1e-5)


def test_multilabel_labels_that_are_missing_teach_nothing(tiny_bert):
    cats = [{}, {"pet": 1.0}, {"car": 0.0}, {"pet": 0.0, "car": 1.0}]
    nlp, examples = pipeline(tiny_bert, cats, "transfer_textcat_multilabel")
    nlp.initialize(lambda: examples)
    _, gradient = loss_of(nlp, examples, "transfer_textcat_multilabel")
    numpy.testing.assert_allclose(gradient, [[0, 0], [-0.4, 0], [0, 0.5], [0.2, -0.2]], atol=1e-6)


def test_soft_labels(tiny_bert):
    cats = [{"pet": 0.75, "car": 0.25}] * 4
    nlp, examples = pipeline(tiny_bert, cats)
    train(nlp, examples, steps=150)
    assert nlp(DATA[0][0]).cats["pet"] == pytest.approx(0.75, abs=0.05)


def test_gradients_of_parts_add_up(tiny_bert):
    nlp, examples = pipeline(tiny_bert, label_smoothing=0.1, class_weights="balanced")
    nlp.initialize(lambda: examples)
    whole_loss, whole = loss_of(nlp, examples)
    parts = []
    for eg, scores in zip(examples, [[0.7, 0.3], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]], strict=True):
        parts.append(nlp.get_pipe("transfer_textcat").get_loss([eg], numpy.array([scores], dtype="f")))
    assert whole_loss == pytest.approx(sum(loss for loss, _ in parts), rel=1e-6)
    numpy.testing.assert_allclose(whole, numpy.concatenate([d for _, d in parts]), rtol=1e-6)


def test_class_weights_given_and_balanced(tiny_bert):
    cats = [{"pet": 1.0, "car": 0.0}] * 3 + [{"pet": 0.0, "car": 1.0}]
    for wanted, expected in ({"pet": 0.5, "car": 2.0}, [0.5, 2.0]), ("balanced", [4 / 6, 2.0]):
        nlp, examples = pipeline(tiny_bert, cats, class_weights=wanted)
        nlp.initialize(lambda examples=examples: examples)
        assert nlp.get_pipe("transfer_textcat").cfg["weights"] == pytest.approx(expected)
        _, gradient = loss_of(nlp, examples)
        assert gradient[3, 1] == pytest.approx(expected[1] * -0.2, rel=1e-5)


@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_streamed_corpora_have_no_balance(tiny_bert, name):
    """spaCy shows 100 examples of them, and sampled corpora have chosen which."""
    nlp, examples = pipeline(tiny_bert, name=name, class_weights="balanced")
    nlp.config["training"]["max_epochs"] = -1
    with pytest.raises(ValueError, match=f"T311.*{name}.class_weights.*first 100 examples.*as numbers.*max_epochs = 0"):
        nlp.initialize(lambda: examples * 25)
    nlp.initialize(lambda: examples * 24)  # All that there are.
    nlp.config["training"]["max_epochs"] = 0
    nlp.initialize(lambda: examples * 25)
    nlp, examples = pipeline(tiny_bert, name=name, class_weights={"pet": 0.5, "car": 2.0})
    nlp.config["training"]["max_epochs"] = -1
    nlp.initialize(lambda: examples * 25)
    assert nlp.get_pipe(name).cfg["weights"] == [0.5, 2.0]


def test_predictions_do_not_hang_on_the_batch(tiny_bert):
    """Docs without tokens are scored by the biases, whether or not other docs are beside them."""
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples, steps=5)
    alone = nlp("").cats
    together = list(nlp.pipe(["", DATA[0][0]]))[0].cats
    assert alone == pytest.approx(together, abs=1e-6)
    assert sum(alone.values()) == pytest.approx(1.0, abs=1e-5)


def test_labels_from_the_whole_corpus_and_from_a_list(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    late = Example.from_dict(nlp.make_doc("x"), {"cats": {"late": 1.0}})
    nlp.initialize(lambda: [*examples * 60, late])
    assert nlp.get_pipe("transfer_textcat").labels == ("pet", "car", "late")
    nlp, examples = pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    nlp.get_pipe("transfer_textcat").initialize(lambda: examples, nlp=nlp, labels=["car", "pet", "new"])
    assert list(nlp("a car").cats) == ["car", "pet", "new"]


def test_add_label_after_training(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples, steps=10)
    before = nlp("a car").cats
    assert nlp.get_pipe("transfer_textcat").add_label("new") == 1
    after = nlp("a car").cats
    assert after["pet"] / after["car"] == pytest.approx(before["pet"] / before["car"], rel=1e-4)
    assert set(after) == {"pet", "car", "new"}


@pytest.mark.parametrize(
    ("cats", "config", "says"),
    [
        ([{}] * 4, {}, "T307.*doc.cats"),
        ([{"pet": 1.0}] * 4, {}, "T308.*'pet' is the only label"),
        ([{"pet": 1.0, "car": 1.0}] * 4, {}, "T305.*'a cat sings'"),
        ([{"pet": 1.5, "car": 0.0}] * 4, {}, "T304.*1.5"),
        ([{"pet": 0.8, "car": 0.8}] * 4, {}, "T306.*1.6"),
        (None, {"class_weights": {"pet": 1.0, "carr": 2.0}}, "T309.*'car'"),
        (None, {"label_smoothing": 1.0}, "T301"),
        (None, {"model": {**HEAD, "exclusive_classes": False}}, "T302"),
    ],
)
def test_bad_input(tiny_bert, cats, config, says):
    with pytest.raises(ValueError, match=says):
        nlp, examples = pipeline(tiny_bert, cats, **config)
        nlp.initialize(lambda: examples)


def test_positive_label(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    pipe = nlp.get_pipe("transfer_textcat")
    pipe.initialize(lambda: examples, nlp=nlp, positive_label="car")
    assert pipe.cfg["positive_label"] == "car"
    with pytest.raises(ValueError, match="T310"):
        pipe.initialize(lambda: examples, nlp=nlp, positive_label="boat")


def test_predicting_before_initialize(nlp):
    pipe = nlp.add_pipe("transfer_textcat")
    with pytest.raises(ValueError, match="T303"):
        pipe(nlp.make_doc("a"))


def test_scores_are_written_as_spacy_writes_them(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples, 3)
    pipe, docs = nlp.get_pipe("transfer_textcat"), [nlp.make_doc(text) for text, _ in DATA]
    scores = RNG.random((len(DATA), 2)).astype("f")
    pipe.set_annotations(docs, scores)
    theirs = [nlp.make_doc(text) for text, _ in DATA]
    TextCategorizer.set_annotations(pipe, theirs, scores)
    assert [list(doc.cats.items()) for doc in docs] == [list(doc.cats.items()) for doc in theirs]
    assert all(type(value) is float for doc in docs for value in doc.cats.values())


# Categories of nobody


def unknown_categories(caplog):
    return [line for line in caplog.messages if "W352" in line]


def test_a_category_that_no_component_has_is_said_once(tiny_bert, caplog):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    examples[1].reference.cats = {"pet": 1.0, "car": 0.0, "cat": 1.0}
    with caplog.at_level(logging.WARNING, logger="spacy"):
        nlp.update(examples[:1])
        assert not unknown_categories(caplog)
        for _ in range(2):
            nlp.update(examples)
    (line,) = unknown_categories(caplog)
    assert "'the dog sings' has the category 'cat'" in line and "the nearest: ['car']" in line
    nlp.initialize(lambda: [eg for eg in examples if "cat" not in eg.reference.cats])
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="spacy"):
        nlp.update(examples)
    assert len(unknown_categories(caplog)) == 1


@pytest.mark.parametrize("factory", ["transfer_textcat_multilabel", "textcat_multilabel", "transfer_regressor"])
def test_categories_of_other_components_are_no_surprise(tiny_bert, caplog, factory):
    nlp, examples = pipeline(tiny_bert)
    nlp.add_pipe(factory, config={"source": "cats"} if factory == "transfer_regressor" else {})
    nlp.config["initialize"]["components"] = {"transfer_textcat": {"labels": ["pet", "car"]}}
    for eg in examples:
        eg.reference.cats["loud"] = 1.0
    nlp.initialize(lambda: examples)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        nlp.update(examples)
    assert not unknown_categories(caplog)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        examples[0].reference.cats["quiet"] = 1.0
        nlp.get_pipe("transfer_textcat").check_gold(examples)
    assert len(unknown_categories(caplog)) == 1


# Not a number


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_score_that_is_not_a_number_wins_nothing(nlp, exclusive):
    """With a NaN in first place `max` would take it for the highest."""
    examples = [Example.from_dict(nlp.make_doc("a b"), {"cats": {"pet": 1.0, "car": 0.0}}) for _ in range(2)]
    examples[0].predicted.cats = {"pet": 0.8, "car": 0.2}
    examples[1].predicted.cats = {"pet": 0.9, "car": 0.1}
    settings = {"labels": ["pet", "car"], "threshold": 0.5}
    found = score_textcat(examples, exclusive_classes=exclusive, **settings)
    assert found["cats_ece"] == pytest.approx(0.15)
    examples[1].predicted.cats["pet"] = math.nan
    assert score_textcat(examples, exclusive_classes=exclusive, **settings)["cats_ece"] is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_likelihood_is_torchs(nlp, exclusive, seed):
    """The mean cross-entropy by torch, for labels of one doc and soft labels; docs without gold do not count."""
    labels, rng = ["pet", "car", "sun"], numpy.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(5, 3)))
    scores = logits.softmax(1) if exclusive else logits.sigmoid()
    gold = (
        torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1]] if exclusive else torch.tensor(rng.integers(0, 2, (4, 3)) * 1.0)
    )
    gold[3] = torch.tensor([0.2, 0.5, 0.3])
    examples = [Example(nlp.make_doc("a"), nlp.make_doc("a")) for _ in range(5)]
    for example, row in zip(examples, scores.tolist(), strict=True):
        example.predicted.cats = dict(zip(labels, row, strict=True))
    for example, row in zip(examples, gold.tolist(), strict=False):
        example.reference.cats = dict(zip(labels, row, strict=True))
    settings = {"labels": labels, "threshold": 0.5, "exclusive_classes": exclusive}
    if exclusive:
        nll = torch.nn.functional.cross_entropy(logits[:4], gold)
    else:
        nll = torch.nn.functional.binary_cross_entropy(scores[:4], gold)
    assert score_textcat(examples, **settings)["cats_likelihood"] == round(math.exp(-nll), 2)
    assert score_textcat(examples[4:], **settings)["cats_likelihood"] is None
    for wrong in (0.0, math.nan):
        examples[0].predicted.cats = dict.fromkeys(labels, wrong)
        examples[0].reference.cats = {"pet": 1.0, "car": 0.0, "sun": 0.0}
        assert score_textcat(examples[:1], **settings)["cats_likelihood"] == 0.0


def test_gold_that_is_not_a_number_is_refused(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    examples[1].reference.cats = {"pet": math.nan, "car": 0.0}
    pipe = nlp.get_pipe("transfer_textcat")
    for attempt in (pipe.score, pipe.decisions, pipe.update):
        with pytest.raises(ValueError, match="T304.*'pet' has the value nan in the text 'the dog sings'"):
            attempt(examples)


# Settings of `initialize`

CARRY = ["carry_from", "carry_component", "label_map", "merge", "only_new"]


@pytest.mark.parametrize(
    "factory",
    ["transfer_textcat", "transfer_textcat_multilabel", "transfer_ner", "transfer_tagger", "transfer_regressor"],
)
def test_keys_of_carry_are_arguments_of_initialize(nlp, factory):
    """spaCy checks the block [initialize.components.NAME] against the signature."""
    parameters = inspect.signature(nlp.add_pipe(factory).initialize).parameters
    assert [name for name in parameters if name in CARRY] == CARRY and "carry" not in parameters
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in CARRY)
    nlp.config["initialize"]["components"] = {factory: {"carry_form": "x"}}
    with pytest.raises(Exception, match="carry_form"):
        nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a"), {})])


def test_rehearse_is_refused(nlp):
    with pytest.raises(ValueError, match="T450.*Rehearsal.v1"):
        nlp.add_pipe("transfer_textcat").rehearse([])
