"""`label_texts`: names and descriptions of labels are examples for `fit = "maxent"`."""

import logging

import numpy
import pytest
import spacy
from spacy.training import Example

from ...pipelines import backbone_config
from .test_maxent_start import ANIMALS, GOLD, HEAD, READERS, TEXTS, initialize, pipeline

DESCRIBED = {"pet": ["the dog barks", "a cat"], "car": "the van stops here"}
NAMES = ["transfer_textcat", "transfer_textcat_multilabel"]


def output(nlp, name="transfer_textcat"):
    layer = nlp.get_pipe(name).model.get_ref("output")
    return numpy.column_stack([layer.get_param("W"), layer.get_param("b")])


def fit(tiny_bert, cats=None, name="transfer_textcat", *, texts=TEXTS, config=None, **settings):
    nlp, examples = pipeline(tiny_bert, cats, name, texts=texts, **(config or {}))
    initialize(nlp, examples, name, **settings)
    return nlp


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", ["names", DESCRIBED])
@pytest.mark.parametrize("reader", ["tokens", "hidden", "documents"])
def test_each_text_counts_as_so_many_examples_of_its_label(tiny_bert, name, given, reader):
    """The same optimum as with two more texts of a corpus, by the same path through the backbone."""
    config = {"model": {**HEAD, **READERS[reader], "exclusive_classes": name == NAMES[0]}}
    nlp = fit(tiny_bert, name=name, config=config, label_texts=given, label_text_weight=2.0)
    pairs = [(label, label) for label in ("pet", "car")]
    if given != "names":
        pairs = [("the dog barks", "pet"), ("a cat", "pet"), ("the van stops here", "car")]
    texts = [text for text, _ in pairs for _ in range(2)]
    cats = [{"pet": float(label == "pet"), "car": float(label == "car")} for _, label in pairs for _ in range(2)]
    plain = fit(tiny_bert, [*GOLD, *cats], name, texts=[*TEXTS, *texts], config=config)
    numpy.testing.assert_allclose(output(nlp, name), output(plain, name), atol=2e-4)
    without = fit(tiny_bert, name=name, config=config)
    assert numpy.abs(output(nlp, name) - output(without, name)).max() > 1e-2


def test_two_backbones_and_a_backbone_inside_the_head(tiny_bert):
    own = {"@architectures": "spacy-transfer.OwnBackbone.v1", "backbone": backbone_config(tiny_bert)["model"]}
    outputs = []
    for tok2vec in (HEAD["tok2vec"], {**own, "rows_per": "token"}):
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
        nlp.add_pipe("transfer_textcat", config={"model": {**HEAD, "tok2vec": tok2vec}})
        examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(TEXTS, GOLD, strict=True)]
        initialize(nlp, examples, label_texts="names")
        outputs.append(output(nlp))
        assert nlp.get_pipe("transfer_backbone")._encoder.cache is None, "nothing is kept of them"
    numpy.testing.assert_allclose(*outputs, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_again_and_after_another_initialize(tiny_bert, name):
    settings = {"strength": None, "label_texts": DESCRIBED}
    nlp = fit(tiny_bert, name=name, **settings)
    again = fit(tiny_bert, name=name, **settings)
    found = nlp.get_pipe(name).to_bytes()
    assert again.get_pipe(name).to_bytes() == found
    _, examples = pipeline(tiny_bert, name=name)
    initialize(again, examples, name, **settings)
    assert again.get_pipe(name).to_bytes() == found


@pytest.mark.parametrize("name", NAMES)
def test_a_label_without_an_example(tiny_bert, name, caplog):
    """Found by its text alone; a warning names it, which needs no --verbose."""
    some = len(ANIMALS) * 2
    with caplog.at_level(logging.INFO, "spacy"):
        nlp = fit(tiny_bert, GOLD[:some], name, texts=TEXTS[:some], strength=1e-3, label_texts=DESCRIBED)
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "W928" in said and "1 labels have no example, only label texts: ['car']" in said
    assert f"{some} docs and 3 label texts" in caplog.text
    cats = nlp(DESCRIBED["car"]).cats
    assert cats["car"] > 0.5 > nlp(TEXTS[0]).cats["car"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [None, ["pet", "car"]])
def test_no_example_at_all(tiny_bert, name, labels, caplog):
    """The labels are those given, or those that are described."""
    with caplog.at_level(logging.INFO, "spacy"):
        settings = {"strength": None, "labels": labels, "label_texts": DESCRIBED}
        nlp = fit(tiny_bert, [{}] * len(TEXTS), name, **settings)
    assert (
        "W928" in caplog.text
        and "2 labels have no example" in caplog.text
        and "0 docs and 3 label texts" in caplog.text
    )
    assert nlp.get_pipe(name).labels == ("pet", "car")
    assert [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(["a cat", DESCRIBED["car"]])] == ["pet", "car"]


def test_a_label_with_neither_an_example_nor_a_text(tiny_bert, caplog):
    fit(tiny_bert, [{**cats, "A1": 0.0} for cats in GOLD], label_texts="names")
    assert "W920" in caplog.text and "['A1']" in caplog.text
    caplog.clear()
    fit(tiny_bert, [{**cats, "A1": 0.0} for cats in GOLD])
    assert "W920" not in caplog.text


def test_labels_that_are_given_may_have_no_example(tiny_bert):
    with pytest.raises(ValueError, match=r"T922.*'boat'"):
        fit(tiny_bert, label_texts={"boat": "a ship"})
    nlp = fit(tiny_bert, labels=["pet", "car", "boat"], label_texts={"boat": "a ship"})
    assert nlp("a ship").cats["boat"] > nlp("the van stops").cats["boat"]


@pytest.mark.parametrize(
    ("settings", "cats", "says"),
    [
        ({"fit": None, "strength": None, "label_texts": "names"}, GOLD, "T920.*fit is null"),
        ({"label_texts": "nmaes"}, GOLD, "T921.*'nmaes'"),
        ({"label_texts": "names", "label_text_weight": 0.0}, GOLD, "T215.*label_text_weight"),
        ({"label_texts": {"pet": "the van", "car": "the van"}}, GOLD, "T923.*'the van'"),
        ({"label_texts": "names"}, [{}] * len(TEXTS), r"T924.*components\.transfer_textcat\.labels"),
    ],
)
def test_bad_input(tiny_bert, settings, cats, says):
    with pytest.raises(ValueError, match=says):
        fit(tiny_bert, cats, **settings)


def test_without_a_pipeline(tiny_bert):
    own = {"@architectures": "spacy-transfer.OwnBackbone.v1", "backbone": backbone_config(tiny_bert)["model"]}
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("transfer_textcat", config={"model": {**HEAD, "tok2vec": {**own, "rows_per": "token"}}})
    examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(TEXTS, GOLD, strict=True)]
    with pytest.raises(ValueError, match="T920.*nlp=nlp"):
        pipe.initialize(lambda: examples, fit="maxent", label_texts="names")
