"""Whose rows a head reads: those of the backbone that it listens to, whatever else stands in the pipeline.

Guards also: links.py.
"""

import gc
import pickle
import weakref

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import SGD

from ..pipelines import LISTENER, TAGGER, TEXTS, backbone_config, make_examples, make_pipeline, step, weights

DOCUMENT = {"@architectures": "spacy-transfer.DocumentListener.v1"}
STOCK = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
TEXT = "the cat sees a dog"


def textcat(listener):
    model = {"@architectures": "spacy-transfer.TextCatHead.v1", "exclusive_classes": True, "tok2vec": listener}
    return {"model": model}


def token(listener, **more):
    return {"model": {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": listener, **more}}


HEADS = {
    "tokens": ("transfer_textcat", lambda name: textcat({**LISTENER, "upstream": name})),
    "documents": ("transfer_textcat", lambda name: textcat({**DOCUMENT, "upstream": name})),
    "spaCy's listener": ("transfer_textcat", lambda name: textcat({**STOCK, "upstream": name})),
    "spaCy's head": ("tagger", lambda name: {"model": {**TAGGER, "tok2vec": {**STOCK, "upstream": name}}}),
}


def randomize(nlp):
    """Output layers begin at zero."""
    for name, pipe in nlp.pipeline:
        if "backbone" not in name and hasattr(pipe, "model") and pipe.model.has_ref("output"):
            output = pipe.model.get_ref("output")
            output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))


def two_backbones(tiny_bert, factory, config, **settings):
    """A head on the first of two backbones; the second gives other rows of the same width."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", "first_backbone", config={**backbone_config(tiny_bert), **settings})
    nlp.add_pipe("transfer_backbone", "second_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe(factory, "head", config=config("first_backbone"))
    nlp.add_pipe("transfer_textcat", "other", config=textcat(LISTENER))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    for tensor in nlp.get_pipe("second_backbone").model.shims[0].encoder.parameters():
        tensor.data = tensor.data + 0.3
    randomize(nlp)
    return nlp, examples


def said(doc):
    return [*doc.cats.values(), *(t.tag for t in doc)]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("keep_rows", [True, False])
def test_each_head_reads_its_own_backbone(tiny_bert, kind, keep_rows):
    nlp, _ = two_backbones(tiny_bert, *HEADS[kind], keep_rows=keep_rows)
    doc, alone = nlp(TEXT), nlp.make_doc(TEXT)
    for name in ("first_backbone", "head"):
        alone = nlp.get_pipe(name)(alone)
    wrong = nlp.get_pipe("second_backbone")(nlp.make_doc(TEXT))
    assert not numpy.allclose(wrong.tensor, nlp.get_pipe("first_backbone").predict([nlp.make_doc(TEXT)]).rows[0])
    nlp.remove_pipe("other")
    alone_cats, cats = said(alone), said(nlp(TEXT))
    numpy.testing.assert_allclose(cats, alone_cats, atol=1e-6)
    if kind == "spaCy's head":
        assert [t.tag for t in doc] == [t.tag for t in alone]
    assert (doc.tensor == wrong.tensor).all(), "doc.tensor is the last backbone's"
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert said(again(TEXT)) == cats
    (spread,) = nlp.pipe([TEXT], n_process=2)
    numpy.testing.assert_allclose(said(spread), cats, atol=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_each_head_teaches_its_own_backbone(tiny_bert, kind):
    nlp, examples = two_backbones(tiny_bert, *HEADS[kind])
    before = {name: weights(nlp, name) for name in ("first_backbone", "second_backbone")}
    step(nlp, examples, SGD(0.1), exclude=["other"])
    step(nlp, examples, SGD(0.1), exclude=["other"])
    moved = [abs(weights(nlp, name) - old).max() for name, old in before.items()]
    assert moved[0] > 1e-4 and moved[1] == 0.0


def test_any_backbone_is_the_nearest(tiny_bert):
    nlp, examples = two_backbones(tiny_bert, *HEADS["tokens"])
    pipe = nlp.get_pipe("other")
    alone = nlp.get_pipe("second_backbone")(nlp.make_doc(TEXT))
    assert pipe(alone).cats == pytest.approx({k: nlp(TEXT).cats[k] for k in pipe.labels})
    before = weights(nlp, "first_backbone")
    step(nlp, examples, SGD(0.1), exclude=["head"])
    assert (weights(nlp, "first_backbone") == before).all()


def with_later_tok2vec(tiny_bert, later=True):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_tagger", config=token({**LISTENER, "upstream": "transfer_backbone"}, decoder="softmax"))
    if later:
        nlp.add_pipe("tok2vec")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    randomize(nlp)
    return nlp, examples


def test_scores_do_not_depend_on_what_comes_later(tiny_bert):
    scores = []
    for later in (False, True):
        nlp, examples = with_later_tok2vec(tiny_bert, later)
        scores.append(nlp.evaluate(examples))
    assert scores[0]["tag_ece"] > 0.0
    assert scores[1]["tag_ece"] == pytest.approx(scores[0]["tag_ece"], abs=1e-7)


# Tokens that change


@Language.component("merge_of_the_test")
def merge(doc):
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    return doc


@Language.component("split_of_the_test")
def split(doc):
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[1], ["c", "at"], heads=[doc[0], doc[0]])
    return doc


@Language.component("clean_of_the_test")
def clean(doc):
    doc.tensor = numpy.zeros((0,), dtype="f")
    return doc


@pytest.mark.parametrize("change", ["merge_of_the_test", "split_of_the_test", "clean_of_the_test"])
def test_rows_are_those_of_the_tokens_as_they_are(tiny_bert, change):
    nlp, examples, _ = make_pipeline(tiny_bert, ["tagger"])
    nlp.add_pipe(change, after="transfer_backbone")
    doc = nlp(TEXT)
    read = nlp.get_pipe("tagger").model.get_ref("tok2vec").predict([doc])[0]
    twin = Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
    expected = nlp.get_pipe("transfer_backbone").predict([twin]).rows[0]
    assert read.shape == (len(doc), 16)
    numpy.testing.assert_allclose(read, expected, atol=1e-6)


def test_learning_from_tokens_that_changed_is_an_error(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
    nlp.add_pipe("merge_of_the_test", after="transfer_backbone")
    with pytest.raises(ValueError, match="T451.*components.tagger.*4 tokens.*the cat sees.*5 rows"):
        step(nlp, examples, optimizer, annotates=["merge_of_the_test"])


# Docs without rows


def test_a_doc_of_another_pipeline(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, ["tagger"])
    other, _, _ = make_pipeline(tiny_bert, ["tagger"])
    doc = other(TEXT)
    found = r"T402.*components.tagger.*the cat sees.*transfer_backbone \(width 16\).*another pipeline"
    for foreign in (doc, doc.copy(), Doc(nlp.vocab).from_bytes(doc.to_bytes())):
        with pytest.raises(ValueError, match=found if foreign is doc else "T402.*no backbone"):
            nlp.get_pipe("tagger")(foreign)


def test_a_renamed_backbone_is_named(tiny_bert):
    listener = {**LISTENER, "upstream": "transfer_backbone"}
    nlp, _, _ = make_pipeline(tiny_bert, ["tagger"], models={"tagger": {**TAGGER, "tok2vec": listener}})
    nlp.rename_pipe("transfer_backbone", "encoder")
    with pytest.raises(ValueError, match=r"T452.*'transfer_backbone'.*encoder \(width 16\).*correct 'upstream'"):
        nlp(TEXT)


def test_a_sourced_head_needs_its_backbone(tiny_bert):
    def source():
        return make_pipeline(tiny_bert, ["tagger"])[0]

    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", source=source())
    gc.collect()
    with pytest.raises(ValueError, match="T452.*no backbone.*replace_listeners"):
        nlp(TEXT)
    own = source()
    own.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", source=own)
    assert [t.tag_ for t in nlp(TEXT)] == [t.tag_ for t in own(TEXT)]


def test_a_head_that_was_loaded_disabled(tiny_bert, tmp_path):
    """Enabled later it predicts and learns like any other, and so does its backbone."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_textcat", config=textcat(DOCUMENT))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    randomize(nlp)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, disable=["transfer_textcat"])
    loaded.enable_pipe("transfer_textcat")
    assert loaded(TEXT).cats == pytest.approx(nlp(TEXT).cats)
    losses = []
    for each in (nlp, loaded):
        before = weights(each)
        losses.append(step(each, examples, SGD(0.1))["transfer_textcat"])
        assert (weights(each) != before).any()
    assert losses[0] == pytest.approx(losses[1])
    assert loaded(TEXT).cats == pytest.approx(nlp(TEXT).cats, abs=1e-5)


# Steps with and without the backbone


@pytest.mark.parametrize("listener", [LISTENER, STOCK], ids=["ours", "spaCy's"])
@pytest.mark.parametrize("same_texts", [True, False])
def test_a_backbone_that_is_frozen_after_steps_gives_fresh_rows(tiny_bert, listener, same_texts, monkeypatch):
    listener = {**listener, "upstream": "transfer_backbone"}
    nlp, examples, optimizer = make_pipeline(tiny_bert, models={"tagger": {**TAGGER, "tok2vec": listener}})
    for _ in range(3):
        step(nlp, examples[:2], optimizer)
    read, node = [], nlp.get_pipe("tagger").model.get_ref("tok2vec")
    func = node._func
    monkeypatch.setattr(node, "_func", lambda *args, is_train: read.append(func(*args, is_train)) or read[-1])
    batch = examples[:2] if same_texts else examples[2:]
    before = weights(nlp)
    loss = step(nlp, batch, optimizer, exclude=["transfer_backbone"], annotates=["transfer_backbone"])["tagger"]
    assert loss > 0 and (weights(nlp) == before).all()
    expected = nlp.get_pipe("transfer_backbone").predict([nlp.make_doc(eg.text) for eg in batch]).rows
    for rows, own in zip(read[0][0], expected, strict=True):
        numpy.testing.assert_allclose(rows, own, atol=1e-6)
    step(nlp, batch, optimizer)
    assert (weights(nlp) != before).any()
    with pytest.raises(ValueError, match="T402.*annotating_components"):
        step(nlp, batch, optimizer, exclude=["transfer_backbone"])


def test_frozen_is_switched_on_and_off(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
    backbone = nlp.get_pipe("transfer_backbone")
    step(nlp, examples, optimizer)  # The first sends no gradient: output layers begin at zero.
    for frozen in (False, True, True, False, True):
        backbone.frozen = frozen
        before = weights(nlp)
        assert step(nlp, examples, optimizer)["tagger"] > 0
        assert (weights(nlp) == before).all() == frozen
        rows = backbone.predict([nlp.make_doc(TEXTS[0])]).rows[0]
        backbone._encoder.forget()
        numpy.testing.assert_allclose(rows, backbone.predict([nlp.make_doc(TEXTS[0])]).rows[0], atol=1e-6)


@pytest.mark.parametrize("head", ["tagger", "textcat", "transfer_textcat", "transfer_ner"])
def test_rehearse_says_what_to_do_instead(tiny_bert, head):
    """Whichever component spaCy asks first."""
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger", "textcat"])
    if "transfer" in head:
        nlp.add_pipe(head)
        nlp.get_pipe(head).initialize(lambda: examples, nlp=nlp)
    step(nlp, examples[:2], optimizer)
    rest = [name for name in nlp.pipe_names if name not in (head, "transfer_backbone")]
    for exclude in ([], rest, [*rest, "transfer_backbone"]):
        if exclude == [*rest, "transfer_backbone"] and head == "tagger":
            continue
        with pytest.raises(ValueError, match=r"T4(02|50).*Rehearsal.v1"):
            nlp.rehearse(examples[2:], sgd=nlp.resume_training(), exclude=exclude)


# What is held


def test_nothing_outlives_a_doc_and_nothing_is_written_to_it(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, ["tagger"])
    rows_of = nlp.get_pipe("transfer_backbone").rows
    gc.collect()
    count = len(rows_of)
    docs = list(nlp.pipe(TEXTS))
    assert len(rows_of) == count + len(TEXTS) and not any(doc.user_data for doc in docs)
    rows = weakref.ref(docs[0].tensor)
    assert nlp.get_pipe("tagger").model.get_ref("tok2vec").predict(docs[:1])[0] is docs[0].tensor, "the same array"
    clean(docs[0])
    gc.collect()
    assert rows() is None, "spaCy's doc_cleaner frees the memory"
    del docs
    gc.collect()
    assert len(rows_of) == count


def test_a_pipeline_is_pickled_between_steps(tiny_bert):
    """With two backbones, between an update and its step: the copy has the step, and its heads their rows."""
    nlp, examples = two_backbones(tiny_bert, *HEADS["tokens"])
    nlp.update(examples, sgd=SGD(0.1))
    copied = pickle.loads(pickle.dumps(nlp))
    assert said(copied(TEXT)) == said(nlp(TEXT))
    before = weights(copied, "first_backbone")
    step(copied, examples, SGD(0.1))
    assert (weights(copied, "first_backbone") != before).any()
    assert (weights(nlp, "first_backbone") == before).all()
    head = pickle.dumps(nlp.get_pipe("head"))
    assert len(head) < len(nlp.get_pipe("first_backbone").to_bytes()), "a head does not take its backbone along"
