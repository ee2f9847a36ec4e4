"""`fit = "maxent"`: the head starts at the optimum on the backbone's rows, whatever it reads them through."""

import logging

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Config

from ...pipelines import LISTENER, TEXTCAT, backbone_config, weights

HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
ANIMALS, CARS = ["cat", "dog", "bird", "fish", "cow", "pig"], ["van", "bus", "truck", "bike", "jeep", "tram"]
TEXTS = [f"the {word} {verb}" for word in ANIMALS + CARS for verb in ("stops", "sings here")]
GOLD = [{"pet": float(i < len(TEXTS) / 2), "car": float(i >= len(TEXTS) / 2)} for i in range(len(TEXTS))]


def pipeline(tiny_bert, cats=None, name="transfer_textcat", *, texts=TEXTS, frozen=True, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": frozen})
    nlp.add_pipe(name, config=config)
    pairs = zip(texts, GOLD if cats is None else cats, strict=True)
    return nlp, [Example.from_dict(nlp.make_doc(text), {"cats": c}) for text, c in pairs]


def initialize(nlp, examples, name="transfer_textcat", **settings):
    settings = {"fit": "maxent", "strength": 0.1, **settings}
    nlp.config["initialize"]["components"][name] = {k: v for k, v in settings.items() if v is not None}
    return nlp.initialize(lambda: examples)


def loss_and_gradient(nlp, examples, name="transfer_textcat"):
    """At the first step, over the whole corpus; and the gradient of the output layer's weights."""
    pipe, losses = nlp.get_pipe(name), {}
    nlp.update(examples, sgd=False, losses=losses, drop=0.0)
    output = pipe.model.get_ref("output")
    return losses[name], output.get_grad("W"), output.get_grad("b"), output.get_param("W")


READERS = {
    "tokens": {},
    "normalized": {"normalize": True},
    "poolings": {"pooling": ["mean", "max", "attention"]},
    "hidden": {"hidden": [12], "activation": "tanh"},
    "documents": {"tok2vec": {"@architectures": "spacy-transfer.DocumentListener.v1"}},
}


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("frozen", [True, False])
def test_training_starts_at_the_optimum(tiny_bert, reader, frozen):
    nlp, examples = pipeline(tiny_bert, model={**HEAD, **READERS[reader]}, frozen=frozen)
    initialize(nlp, examples)
    loss, d_W, d_b, W = loss_and_gradient(nlp, examples)
    assert loss < 0.9 * len(TEXTS) * numpy.log(2), "less than with weights of zero"
    # The loss pulls with just the strength that the prior pulls back.
    numpy.testing.assert_allclose(d_W, -0.1 * W, atol=2e-3)
    numpy.testing.assert_allclose(d_b, 0.0, atol=2e-3)


def test_nothing_else_moves_and_no_rows_are_left(tiny_bert):
    start, examples = pipeline(tiny_bert, model={**HEAD, "hidden": [12], **READERS["documents"]})
    start.initialize(lambda: examples)
    nlp, examples = pipeline(tiny_bert, model={**HEAD, "hidden": [12], **READERS["documents"]})
    initialize(nlp, examples)
    assert (weights(nlp) == weights(start)).all()
    hidden, before = (n.get_pipe("transfer_textcat").model.layers[2] for n in (nlp, start))
    assert hidden.to_bytes() == before.to_bytes()
    for example in examples:
        for doc in (example.reference, example.predicted):
            assert doc.tensor.size == 0 and not doc.user_data
    assert nlp.get_pipe("transfer_backbone").steps.pending is None
    assert nlp.get_pipe("transfer_backbone")._encoder.cache is None


@pytest.mark.parametrize("rows_per", ["token", "document"])
def test_a_backbone_inside_the_head(tiny_bert, rows_per):
    own = {"@architectures": "spacy-transfer.OwnBackbone.v1", "backbone": backbone_config(tiny_bert)["model"]}
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat", config={"model": {**HEAD, "tok2vec": {**own, "rows_per": rows_per}}})
    examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(TEXTS, GOLD, strict=True)]
    initialize(nlp, examples)
    loss, d_W, _, W = loss_and_gradient(nlp, examples)
    assert loss < 0.9 * len(TEXTS) * numpy.log(2)
    numpy.testing.assert_allclose(d_W, -0.1 * W, atol=2e-3)


def test_two_backbones_and_rows_that_are_not_kept(tiny_bert):
    nlp, examples = pipeline(tiny_bert, model={**HEAD, "tok2vec": {**LISTENER, "upstream": "transfer_backbone"}})
    other = {**backbone_config(tiny_bert, layers="mix"), "keep_rows": False, "frozen": True}
    nlp.add_pipe("transfer_backbone", name="second", config=other, before="transfer_textcat")
    reader = {"model": {**HEAD, "tok2vec": {**LISTENER, "upstream": "second"}}}
    nlp.add_pipe("transfer_textcat", name="other", config=reader)
    nlp.config["initialize"]["components"]["other"] = {"fit": "maxent", "strength": 0.1}
    initialize(nlp, examples)
    nlp.update(examples, sgd=False, losses={}, drop=0.0)
    for name in ("transfer_textcat", "other"):
        output = nlp.get_pipe(name).model.get_ref("output")
        numpy.testing.assert_allclose(output.get_grad("W"), -0.1 * output.get_param("W"), atol=2e-3)


@pytest.mark.parametrize(
    ("cats", "config"),
    [
        ([{"pet": c["pet"] * 0.6 + 0.2, "car": c["car"] * 0.6 + 0.2} for c in GOLD], {}),
        (None, {"label_smoothing": 0.1}),
        (None, {"class_weights": {"pet": 0.5, "car": 2.0}}),
        ([{}, {"pet": 0.0}, *GOLD[2:]], {"class_weights": "balanced"}),
    ],
    ids=["soft", "smoothed", "weights", "missing"],
)
@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_it_is_the_components_loss_that_is_solved(tiny_bert, name, cats, config):
    nlp, examples = pipeline(tiny_bert, cats, name, **config)
    initialize(nlp, examples, name)
    _, d_W, d_b, W = loss_and_gradient(nlp, examples, name)
    assert numpy.abs(W).max() > 0.05
    numpy.testing.assert_allclose(d_W, -0.1 * W, atol=5e-3)
    numpy.testing.assert_allclose(d_b, 0.0, atol=5e-3)


@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_a_classifier_without_training_is_saved(tiny_bert, tmp_path, name, caplog):
    nlp, examples = pipeline(tiny_bert, name=name)
    with caplog.at_level(logging.INFO, "spacy"):
        initialize(nlp, examples, name, strength=None)
    assert f"{name}: maxent on {len(TEXTS)} docs, strength " in caplog.text
    assert "held-out accuracy" in caplog.text and "log-likelihood" in caplog.text
    assert nlp.evaluate(examples)["cats_macro_f"] > 0.8
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert [doc.cats for doc in loaded.pipe(TEXTS)] == [doc.cats for doc in nlp.pipe(TEXTS)]
    again, examples = pipeline(tiny_bert, name=name)
    initialize(again, examples, name, strength=None)
    assert again.get_pipe(name).to_bytes() == nlp.get_pipe(name).to_bytes()


def test_training_goes_on_from_it(tiny_bert):
    nlp, examples = pipeline(tiny_bert, frozen=False)
    optimizer = initialize(nlp, examples)
    losses = []
    optimizer = Adam(0.01, L2=0.0)
    for _ in range(10):
        now = {}
        nlp.update(examples, sgd=False, losses=now, drop=0.0)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        losses.append(now["transfer_textcat"])
    assert losses[-1] < losses[0] < 0.9 * len(TEXTS) * numpy.log(2)


def test_by_the_config_and_a_backbone_that_is_disabled_for_now(tiny_bert):
    """`spacy train` disables frozen components while it initialises the others."""
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    filled = Config().from_str(nlp.config.to_str())
    assert filled["components"]["transfer_textcat"]["factory"] == "transfer_textcat"
    with nlp.select_pipes(disable=["transfer_backbone"]):
        nlp.get_pipe("transfer_textcat").initialize(lambda: examples, nlp=nlp, fit="maxent", strength=0.1)
    assert nlp.evaluate(examples)["cats_macro_f"] > 0.8


def test_docs_without_tokens_or_labels(tiny_bert):
    texts, cats = ["", "  ", *TEXTS, "no label"], [{"pet": 1.0, "car": 0.0}] * 2 + GOLD + [{}]
    nlp, examples = pipeline(tiny_bert, cats, texts=texts)
    initialize(nlp, examples)
    assert nlp.evaluate(examples)["cats_macro_f"] > 0.7


def test_examples_keep_their_tokens(tiny_bert):
    """The rows are those of the docs that training sees, not of their texts tokenized anew."""
    nlp, _ = pipeline(tiny_bert)
    docs = [Doc(nlp.vocab, words=list(text.replace(" ", "_"))) for text in TEXTS]
    examples = [Example.from_dict(doc, {"cats": c}) for doc, c in zip(docs, GOLD, strict=True)]
    initialize(nlp, examples)
    _, d_W, _, W = loss_and_gradient(nlp, examples)
    numpy.testing.assert_allclose(d_W, -0.1 * W, atol=2e-3)


@pytest.mark.parametrize(
    ("cats", "settings", "config", "says"),
    [
        (None, {"fit": "maxnet"}, {}, "T320.*'maxnet'.*\"maxent\""),
        (None, {"strength": 0.0}, {}, "T321.*strength = 0.0"),
        (None, {"strength": -1.0}, {}, "T321"),
        (None, {"fit": None}, {}, "T322.*fit is null"),
        (None, {}, {"model": TEXTCAT}, "T323.*TextCatHead"),
        ([{}] * len(TEXTS), {}, {}, "T307.*doc.cats"),
        ([{"pet": 0.0, "car": 0.0}] * len(TEXTS), {}, {}, "T325.*add up to 1"),
    ],
)
def test_bad_input(tiny_bert, cats, settings, config, says):
    nlp, examples = pipeline(tiny_bert, cats, **config)
    with pytest.raises(ValueError, match=says):
        initialize(nlp, examples, **settings)
    output = nlp.get_pipe("transfer_textcat").model.maybe_get_ref("output")
    assert output is None or not output.has_param("W") or not output.get_param("W").any()


def test_dummy_examples_have_no_labels(tiny_bert):
    nlp, _ = pipeline(tiny_bert)
    nlp.config["initialize"]["components"]["transfer_textcat"] = {"fit": "maxent"}
    with pytest.raises(ValueError, match="T307"):
        nlp.initialize()


def test_streamed_corpora_are_cut(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.config["training"]["max_epochs"] = -1
    with pytest.raises(ValueError, match="T324.*first 100 examples.*max_epochs = 0"):
        initialize(nlp, (examples * 5)[:100])
    initialize(nlp, examples)
    nlp.config["training"]["max_epochs"] = 0
    initialize(nlp, (examples * 5)[:100])


def test_without_the_pipeline_there_are_no_rows(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    with pytest.raises(ValueError, match="T326.*nlp=nlp"):
        nlp.get_pipe("transfer_textcat").initialize(lambda: examples, fit="maxent")


def test_rows_that_are_not_finite(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder
    next(encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="T327.*'the cat stops'"):
        nlp.get_pipe("transfer_textcat").initialize(lambda: examples, nlp=nlp, fit="maxent")
