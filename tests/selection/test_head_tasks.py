"""What heads read, against the heads themselves, and what cannot be compared."""

import numpy
import pytest
import spacy
from spacy.training.initialize import init_nlp

from spacy_transfer.backbones.encode import encode
from spacy_transfer.selection.head_tasks import (
    TOKENS,
    backbone_name,
    features,
    find_heads,
    make_task,
    with_stand_in,
)

from ..pipelines import make_examples
from .tasks import CATS_KEYS, MODELS, config_of, heads_of, texts, write_texts

DOCUMENTS = {"@architectures": "spacy-transfer.DocumentListener.v1"}


def states(head, model, source, examples):
    """What the head itself reads: the input of its output layer, in a pipeline with the real backbone."""
    config = config_of([], source)
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.add_pipe(head, config={"model": model})
    nlp.initialize(lambda: examples)
    docs = [example.predicted.copy() for example in examples]
    backbone = nlp.get_pipe("transfer_backbone")
    backbone.set_annotations(docs, backbone.predict(docs))
    pipe = nlp.get_pipe(head)
    encoded, _ = encode(backbone.model, docs, False)
    return pipe.model.attrs["states"](pipe.model, docs, False)[0], encoded


@pytest.mark.parametrize("pooling", [["mean"], ["max"], ["first"], ["max", "mean"], ["attention"], "document mean"])
@pytest.mark.parametrize("normalize", [False, True])
def test_features_are_what_the_head_reads(tiny_bert, pooling, normalize):
    model = {**MODELS["transfer_textcat"], "normalize": normalize}
    is_document = isinstance(pooling, str)
    model.update({"tok2vec": DOCUMENTS} if is_document else {"pooling": pooling})
    examples = make_examples(spacy.blank("en"), texts(8))
    wanted, encoded = states("transfer_textcat", model, tiny_bert, examples)
    _, heads, _ = heads_of("transfer_textcat", settings={"transfer_textcat": {"model": model}})
    task = make_task(heads[0], examples, 100)
    own = (pooling,) if is_document else tuple(pooling)
    assert task.head.poolings[0] == (("document",) if is_document else own)
    documents = {"mean": encoded.documents}
    found = [features(task, own, encoded.rows[:5], {"mean": encoded.documents[:5]}, 0)]
    found.append(features(task, own, encoded.rows[5:], {"mean": documents["mean"][5:]}, 5))
    numpy.testing.assert_allclose(numpy.concatenate(found), wanted, atol=1e-6)


def test_token_heads_read_token_rows():
    _, heads, examples = heads_of("transfer_tagger")
    rows = [numpy.random.default_rng(i).random((len(eg.predicted), 3), "f") for i, eg in enumerate(examples)]
    task = make_task(heads[0], examples, 1000)
    found = [features(task, TOKENS, rows[:10], {}, 0), features(task, TOKENS, rows[10:], {}, 10)]
    numpy.testing.assert_array_equal(numpy.concatenate(found), numpy.concatenate(rows))
    assert task.targets.groups.tolist() == [i for i, own in enumerate(rows) for _ in own]


def test_tokens_are_bounded_by_whole_docs():
    _, heads, examples = heads_of("transfer_tagger")
    task = make_task(heads[0], examples, 20)
    n = len(task.gold.docs)
    assert 10 < n <= 20 and n == sum(len(eg.predicted) for eg in examples[: task.gold.docs[-1] + 1])


def test_poolings_that_can_be_chosen():
    pooled = [("mean",), ("max",), ("first",), ("document",)]
    assert heads_of("transfer_textcat")[1][0].poolings == pooled
    assert heads_of("textcat")[1][0].poolings == [("mean",)]
    assert heads_of("transfer_ner")[1][0].poolings == [TOKENS]


def test_weights_are_those_of_the_training():
    config = with_stand_in(config_of(["transfer_textcat", "transfer_tagger"], "x"), "transfer_backbone")
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.config["training"]["score_weights"] = {"cats_score": 0.75, "tag_acc": 0.25, "other": None}
    examples = make_examples(nlp, texts())
    nlp.initialize(lambda: examples)
    heads, skipped = find_heads(nlp, "transfer_backbone")
    assert [head.weight for head in heads] == [0.75, 0.25] and not skipped


def test_the_stand_in_leaves_out_what_reads_weights(tiny_bert, tmp_path):
    """The heads find the labels that they find in the training itself."""
    config = config_of(["transfer_textcat"], tiny_bert, train=write_texts(tmp_path))
    config["initialize"]["components"] = {
        "transfer_textcat": {"fit": "maxent"},
        "transfer_backbone": {"pretrained": "missing.bin"},
    }
    changed = with_stand_in(config, "transfer_backbone")
    assert changed["initialize"]["components"] == {"transfer_textcat": {}, "transfer_backbone": {}}
    config["initialize"]["components"] = {}
    assert init_nlp(changed).get_pipe("transfer_textcat").labels == init_nlp(config).get_pipe("transfer_textcat").labels


def test_one_backbone():
    config = config_of(["transfer_textcat"], "x")
    assert backbone_name(config) == "transfer_backbone"
    config["nlp"]["pipeline"] = ["transfer_textcat"]
    with pytest.raises(ValueError, match="T887.*none"):
        backbone_name(config)


def test_no_head_and_heads_that_cannot_be_scored():
    with pytest.raises(ValueError, match="T888.*parser"):
        heads_of("parser")
    nlp, _, _ = heads_of("transfer_tagger", "parser")
    heads, skipped = find_heads(nlp, "transfer_backbone")
    assert [head.name for head in heads] == ["transfer_tagger"] and "W881" in skipped[0] and "parser" in skipped[0]


def test_one_class():
    def change(doc, i):
        doc.cats = {"long": 1.0, "short": 0.0}

    _, heads, examples = heads_of("transfer_textcat", change=change)
    with pytest.raises(ValueError, match="T889.*long"):
        make_task(heads[0], examples, 100)
    _, heads, examples = heads_of("transfer_textcat_multilabel", change=change)
    with pytest.raises(ValueError, match="T889.*short"):
        make_task(heads[0], examples, 100)


@pytest.mark.parametrize("factory", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_fewer_texts_than_classes(factory):
    def change(doc, i):
        doc.cats = {f"label {j}": float(j == i) for j in range(24)}

    _, heads, examples = heads_of(factory, change=change)
    with pytest.raises(ValueError, match="T890.*24 classes"):
        make_task(heads[0], examples[:20], 100)


def test_a_constant_target():
    def change(doc, i):
        doc.cats = {"score": 3.0}

    _, heads, examples = heads_of("transfer_regressor", settings=CATS_KEYS, change=change)
    with pytest.raises(ValueError, match="T891.*score"):
        make_task(heads[0], examples, 100)
