"""A second `initialize` gives what the first gave, whatever was learned between."""

import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example
from thinc.api import Adam

from ...pipelines import LISTENER, backbone_config
from ..test_calibration import WORDS, make_docs

TOKENS = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
TEXTCAT = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
MULTI = {**TEXTCAT, "exclusive_classes": False}
NUMBERS = {"@architectures": "spacy-transfer.RegressionHead.v1", "tok2vec": LISTENER}
BILSTM = {"@architectures": "spacy-transfer.BiLSTMContext.v1", "width": 6}
CNN = {"@architectures": "spacy-transfer.CNNContext.v1", "width": 6}
HEADS = {
    "softmax": ("transfer_tagger", TOKENS),
    "crf": ("transfer_ner", {**TOKENS, "decoder": "crf"}),
    "wide": ("transfer_ner", {**TOKENS, "decoder": "crf", "hidden": [16, 5]}),
    "lstm": ("transfer_ner", {**TOKENS, "bilstm": 6, "hidden": [6]}),
    "textcat": ("transfer_textcat", {**TEXTCAT, "hidden": [5, 7], "pooling": ["mean", "attention"]}),
    "tanh": ("transfer_textcat", {**TEXTCAT, "hidden": [5], "activation": "tanh", "layer_norm": 1e-5}),
    "textcat lstm": ("transfer_textcat", {**TEXTCAT, "context": BILSTM}),
    "textcat cnn": ("transfer_textcat", {**TEXTCAT, "context": CNN}),
    "multilabel": ("transfer_textcat_multilabel", MULTI),
    "regressor": ("transfer_regressor", {**NUMBERS, "hidden": [5]}),
}


def build(tiny_bert, kind):
    nlp = spacy.blank("en")
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "target_modules": ["query"]}}
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert, layers="mix", tuning=tuning))
    name, model = HEADS[kind]
    nlp.add_pipe(name, config={"model": model, **({"source": "cats"} if name == "transfer_regressor" else {})})
    return nlp, name


def examples_for(nlp, labels=tuple(WORDS)):
    found = []
    for doc in make_docs(nlp, 12):
        doc.cats = {new: doc.cats[old] for new, old in zip(labels, sorted(doc.cats), strict=True)}
        doc.ents = [Span(doc, 0, 1, labels[doc[0].text[0] == "a"])]
        for token in doc:
            token.tag_ = labels[token.text[0] == "a"]
        found.append(Example(nlp.make_doc(doc.text), doc))
    return found


def begin(nlp, examples):
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: examples)
    return {name: pipe.model.to_bytes() for name, pipe in nlp.pipeline}


def learn(nlp, examples):
    optimizer = Adam(0.01)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    nlp.update(examples)  # Gradients that no step takes.


@pytest.mark.parametrize("kind", HEADS)
def test_the_second_time_is_the_first(tiny_bert, kind):
    nlp, name = build(tiny_bert, kind)
    examples = examples_for(nlp)
    first = begin(nlp, examples)
    learn(nlp, examples)
    if "temperature" in (attrs := nlp.get_pipe(name).model.attrs):
        attrs["temperature"] = 2.0
    assert all(pipe.model.to_bytes() != first[key] for key, pipe in nlp.pipeline)
    assert begin(nlp, examples) == first
    learn(nlp, examples)


@pytest.mark.parametrize("kind", HEADS)
def test_other_labels_take_the_place_of_the_old(tiny_bert, kind):
    nlp, name = build(tiny_bert, kind)
    pipe = nlp.get_pipe(name)
    begin(nlp, old := examples_for(nlp))
    learn(nlp, old)
    begin(nlp, new := examples_for(nlp, ("x", "y")))
    learn(nlp, new)
    assert sorted(pipe.labels) == ["x", "y"]
    fresh, _ = build(tiny_bert, kind)
    assert begin(fresh, new)[name] == begin(nlp, new)[name]


@pytest.mark.parametrize("kind", ["crf", "multilabel"])
def test_labels_that_were_added_by_hand_count(tiny_bert, kind):
    nlp, name = build(tiny_bert, kind)
    pipe = nlp.get_pipe(name)
    pipe.add_label("own")
    first = begin(nlp, examples := examples_for(nlp))
    labels = pipe.labels
    assert labels[0] == "own" and len(labels) == 3
    assert begin(nlp, examples) == first and pipe.labels == labels
    pipe.add_label("later")
    begin(nlp, examples)
    assert pipe.labels[:2] == ("own", "later") and len(pipe.labels) == 4


@pytest.mark.parametrize("value", [None, "yes", [1.0]])
@pytest.mark.parametrize("kind", ["textcat", "multilabel"])
def test_a_category_that_is_no_number(tiny_bert, kind, value):
    nlp, _ = build(tiny_bert, kind)
    examples = examples_for(nlp)
    begin(nlp, examples)
    before = nlp.to_bytes()
    examples[1].reference.cats = {"pet": value, "car": 0.0}
    says = f"T339.*'pet'.*{examples[1].reference.text[:5]}"
    for action in (nlp.evaluate, nlp.update, lambda some: nlp.get_pipe(nlp.pipe_names[1]).initialize(lambda: some)):
        with pytest.raises(ValueError, match=says):
            action(examples)
    assert nlp.to_bytes() == before


def test_two_classifiers_with_labels_of_their_own(tiny_bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    sets = {"one": ["pet", "car"], "two": ["p", "q"]}
    examples = examples_for(nlp)
    for example in examples:
        example.reference.cats |= {"p": example.reference.cats["car"], "q": example.reference.cats["pet"]}
    for name, labels in sets.items():
        nlp.add_pipe("transfer_textcat", name=name, config={"model": TEXTCAT})
        nlp.config["initialize"]["components"][name] = {"labels": labels}
    begin(nlp, examples)
    learn(nlp, examples)
    assert {name: list(nlp.get_pipe(name).labels) for name in sets} == sets
    examples[0].reference.cats["p"] = examples[0].reference.cats["q"] = 1.0
    with pytest.raises(ValueError, match="T305.*components.two"):
        nlp.update(examples)


def test_two_recognizers_keep_their_probabilities(tiny_bert):
    nlp, _ = build(tiny_bert, "crf")
    nlp.add_pipe("transfer_ner", name="second", config={"model": HEADS["crf"][1]})
    begin(nlp, examples := examples_for(nlp))
    optimizer = Adam(0.03)
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    text = "aab aba xyz zyx"
    with nlp.select_pipes(disable=["second"]):
        alone = [(e.start, e.end, e._.confidence) for e in nlp(text).ents]
    doc = nlp(text)
    kept = {(e.start, e.end): e._.confidence for e in doc.ents}
    assert alone and all(kept[start, end] == sure < 1.0 for start, end, sure in alone)
    assert {"transfer_ner", "second"} <= set(doc.spans)


@pytest.mark.parametrize(
    "factory", ["transfer_textcat", "transfer_textcat_multilabel", "transfer_tagger", "transfer_ner"]
)
def test_labels_that_were_added_are_enough(factory, tiny_bert):
    """As for spaCy's own components: nlp.initialize() without examples."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    pipe = nlp.add_pipe(factory)
    for label in ("sport", "business"):
        pipe.add_label(label)
    nlp.initialize()
    assert pipe.labels == ("sport", "business")
    nlp("a dog sings")
