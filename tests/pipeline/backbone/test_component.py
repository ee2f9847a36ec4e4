"""transfer_backbone: who reaches it, what moves, what is kept.

Guards also: gradients.py, listened.py, steps.py, training_log.py.
"""

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SGD, Adam

from spacy_transfer.backbones.cached_rows.row_cache import CacheSettings, RowCache, doc_key, weights_version

from ...pipelines import (
    HEADS,
    LISTENER,
    NER,
    TAGGER,
    TEXTCAT,
    backbone_config,
    gradients,
    make_examples,
    make_pipeline,
    step,
    weights,
)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_stock_heads_learn_on_it(tiny_bert, head):
    """The loss falls, and the backbone moves: each stock head reaches it."""
    nlp, examples, optimizer = make_pipeline(tiny_bert, [head])
    before = weights(nlp)
    losses = [step(nlp, examples, optimizer)[head] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert numpy.abs(weights(nlp) - before).max() > 1e-3


def test_stock_listener_works_unchanged(tiny_bert):
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "transfer_backbone"}
    nlp, examples, optimizer = make_pipeline(tiny_bert, models={"tagger": {**TAGGER, "tok2vec": stock}})
    before = weights(nlp)
    losses = [step(nlp, examples, optimizer)["tagger"] for _ in range(20)]
    assert losses[-1] < losses[0] and (weights(nlp) != before).any()
    assert nlp("a dog sings")[0].tag_ == "A"


def test_heads_share_one_forward_pass(tiny_bert, monkeypatch):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger", "ner", "textcat"])
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    calls, cut = [], shim.cut
    monkeypatch.setattr(shim, "cut", lambda docs: calls.append(len(docs)) or cut(docs))
    step(nlp, examples, optimizer)
    assert calls == [4]


@pytest.mark.parametrize("frozen_head", ["tagger", "textcat"])
def test_a_frozen_head_stops_no_one(tiny_bert, frozen_head):
    """Wherever it stands: the gradient that arrives is the other head's alone."""
    heads = ["tagger", "textcat"]
    other = next(head for head in heads if head != frozen_head)
    nlp, examples, optimizer = make_pipeline(tiny_bert, heads)
    alone, _, _ = make_pipeline(tiny_bert, heads)
    for _ in range(2):  # Stock output layers start at zero, so the first step sends no gradient.
        step(nlp, examples, optimizer, exclude=[frozen_head])
    before = weights(nlp)
    step(nlp, examples, optimizer, exclude=[frozen_head])
    assert numpy.abs(weights(nlp) - before).max() > 1e-4
    assert nlp.get_pipe(frozen_head).model.to_bytes() == alone.get_pipe(frozen_head).model.to_bytes()
    assert nlp.get_pipe(other).model.to_bytes() != alone.get_pipe(other).model.to_bytes()


@pytest.mark.parametrize("heads", [["ner", "tagger"], ["tagger", "ner"]])
def test_a_head_that_returns_early_stops_no_one(tiny_bert, heads):
    """Stock ner does not backprop a batch without gold."""
    nlp, examples, optimizer = make_pipeline(tiny_bert, heads)
    tags_only = [Example.from_dict(nlp.make_doc(eg.text), {"tags": [t.tag_ for t in eg.reference]}) for eg in examples]
    for _ in range(2):
        step(nlp, tags_only, optimizer)
    before = weights(nlp)
    step(nlp, tags_only, optimizer)
    assert numpy.abs(weights(nlp) - before).max() > 1e-4


def warm(nlp, examples):
    """Give zero-initialised output layers weights, so that gradients flow."""
    optimizer = SGD(0.1)
    for _ in range(3):
        step(nlp, examples, optimizer, exclude=["transfer_backbone"], annotates=["transfer_backbone"])


def collected(nlp, batches):
    for batch in batches:
        nlp.update(batch, sgd=False)
    nlp.get_pipe("transfer_backbone").steps.flush()
    return gradients(nlp)


def test_accumulated_gradients_are_the_big_batchs(tiny_bert):
    vectors = []
    for cuts in ([[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0], [1, 2], [3]]):
        nlp, examples, _ = make_pipeline(tiny_bert, ["tagger", "textcat"])
        warm(nlp, examples)
        vectors.append(collected(nlp, [[examples[i] for i in cut] for cut in cuts]))
    assert numpy.abs(vectors[0]).max() > 0
    for vector in vectors[1:]:
        assert numpy.linalg.norm(vector - vectors[0]) <= 1e-6 * numpy.linalg.norm(vectors[0])


def test_gradients_of_all_heads_add_up(tiny_bert):
    """Two heads' gradient is the sum of each head's alone."""
    vectors = []
    for skip in ([], ["tagger"], ["textcat"]):
        nlp, examples, _ = make_pipeline(tiny_bert, ["tagger", "textcat"])
        warm(nlp, examples)
        nlp.update(examples, sgd=False, exclude=skip)
        nlp.get_pipe("transfer_backbone").steps.flush()
        vectors.append(gradients(nlp))
    both, textcat, tagger = vectors
    numpy.testing.assert_allclose(both, textcat + tagger, atol=1e-5 * numpy.abs(both).max())


def test_plain_update_steps_with_the_gradient_of_its_own_weights(tiny_bert):
    """nlp.update(sgd=...) calls finish_update before the heads have run (explosion/spaCy#12136)."""
    loop, examples, _ = make_pipeline(tiny_bert, ["tagger"])
    plain, _, _ = make_pipeline(tiny_bert, ["tagger"])
    for nlp in (loop, plain):
        warm(nlp, examples)
    for _ in range(3):
        step(loop, examples, SGD(0.1))
        plain.update(examples, sgd=SGD(0.1))
    assert not numpy.allclose(weights(plain), weights(loop), atol=1e-7)  # one step still waits
    plain("a dog")  # predicting makes it
    numpy.testing.assert_allclose(weights(plain), weights(loop), atol=1e-6)


def test_document_listener_has_its_own_gradient_path(tiny_bert):
    model = {**TEXTCAT_HEAD, "tok2vec": {"@architectures": "spacy-transfer.DocumentListener.v1"}}
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_textcat", config={"model": model})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.01)
    before = weights(nlp)
    losses = [step(nlp, examples, optimizer)["transfer_textcat"] for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert numpy.abs(weights(nlp) - before).max() > 1e-3
    doc = nlp("the cat sees a dog")
    row = nlp.get_pipe("transfer_backbone").predict([nlp.make_doc(doc.text)]).documents[0]
    read = nlp.get_pipe("transfer_textcat").model.get_ref("tok2vec").predict([doc])
    assert (read == row).all() and not doc.user_data
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert again(doc.text).cats == doc.cats


TEXTCAT_HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER, "pooling": ["mean"]}


# Frozen


def test_frozen_is_bit_identical_and_has_no_gradient(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True)
    before = weights(nlp)
    losses = [step(nlp, examples, optimizer)["tagger"] for _ in range(30)]
    assert losses[-1] < losses[0]
    assert (weights(nlp) == before).all()
    assert all(p.grad is None for p in nlp.get_pipe("transfer_backbone").model.shims[0].encoder.parameters())


def count_cut(nlp, monkeypatch):
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    seen, cut = [], shim.cut
    monkeypatch.setattr(shim, "cut", lambda docs: seen.extend(doc.text for doc in docs) or cut(docs))
    return seen


def test_frozen_rows_are_computed_once_per_text(tiny_bert, monkeypatch):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True)
    seen = count_cut(nlp, monkeypatch)
    for _ in range(3):
        step(nlp, examples, optimizer)
        nlp.evaluate(examples)
    assert sorted(seen) == sorted(eg.text for eg in examples)


def test_cached_rows_equal_computed_rows(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True)
    plain = [doc.tensor.copy() for doc in nlp.pipe(eg.text for eg in examples)]
    step(nlp, examples, optimizer)
    for doc, rows in zip(nlp.pipe(eg.text for eg in examples), plain, strict=True):
        numpy.testing.assert_allclose(doc.tensor, rows, atol=1e-5)


def test_no_cache_in_a_loaded_pipeline(tiny_bert, monkeypatch):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True)
    step(nlp, examples, optimizer)
    loaded = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    seen = count_cut(loaded, monkeypatch)
    loaded("a dog")
    loaded("a dog")
    assert seen == ["a dog", "a dog"]


def test_full_cache_admits_no_more(nlp):
    docs = [nlp.make_doc(text) for text in ("a b c", "d e f", "g h")]
    cache = RowCache(CacheSettings(memory_mb=1))
    rows = numpy.ones((120_000,), dtype="f")  # 0.46 MB
    for doc in docs:
        cache.gather([doc_key(doc)], lambda lacking: [rows])
    assert [cache.get(doc_key(doc)) is not None for doc in docs] == [True, True, False]
    assert cache.used <= 2**20


def test_cache_key_knows_text_and_tokens(nlp):
    doc = nlp.make_doc("a bc")
    other_tokens = Doc(nlp.vocab, words=["a b", "c"], spaces=[False, False])
    assert other_tokens.text == doc.text
    assert doc_key(doc) != doc_key(other_tokens)
    assert doc_key(doc) == doc_key(nlp.make_doc("a bc"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_frozen_rows_go_to_disk_and_take_the_precision(tiny_bert, monkeypatch, dtype):
    """Without memory all of them are on disk; none is computed twice, and they are the computed ones to rounding."""
    nlp, examples, optimizer = make_pipeline(
        tiny_bert, ["tagger"], frozen=True, cache_mb=0, cache_disk_mb=8, cache_dtype=dtype
    )
    plain = [doc.tensor for doc in nlp.pipe(eg.text for eg in examples)]
    seen, sizes = count_cut(nlp, monkeypatch), {"float32": 4, "float16": 2}
    for _ in range(3):
        step(nlp, examples, optimizer)
    assert sorted(seen) == sorted(eg.text for eg in examples)
    cache = nlp.get_pipe("transfer_backbone")._encoder.cache
    assert cache.used == 0
    assert cache.used_on_disk == sum(len(rows) + 1 for rows in plain) * 16 * sizes[dtype]
    for doc, rows in zip(nlp.pipe(eg.text for eg in examples), plain, strict=True):
        numpy.testing.assert_allclose(doc.tensor, rows, atol=1e-6 if dtype == "float32" else 2e-3)
        assert dtype == "float32" or (doc.tensor == doc.tensor.astype("float16")).all()


def test_a_disk_that_is_full_ends_no_training(tiny_bert, monkeypatch):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True, cache_mb=0, cache_disk_mb=8)

    def full(**settings):
        raise OSError("No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.warns(UserWarning, match="W450.*No space left.*cache_disk_mb = 0"):
        step(nlp, examples, optimizer)
    assert step(nlp, examples, optimizer)["tagger"] > 0


def test_rows_of_other_weights_are_not_taken(tiny_bert, monkeypatch):
    """Frozen, then other weights come from bytes: computed again, whoever loaded them."""
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"], frozen=True)
    backbone = nlp.get_pipe("transfer_backbone")
    moving, _, _ = make_pipeline(tiny_bert, ["tagger"])
    for _ in range(3):
        step(moving, examples, optimizer)
    step(nlp, examples, optimizer)
    mark = weights_version(backbone.model)
    backbone.model.from_bytes(moving.get_pipe("transfer_backbone").model.to_bytes())
    assert weights_version(backbone.model) != mark
    for eg in examples:
        numpy.testing.assert_allclose(nlp(eg.text).tensor, moving(eg.text).tensor, atol=1e-6)


def test_the_mark_of_weights_knows_layers_of_thinc():
    from thinc.api import Linear, chain

    model = chain(Linear(4, 4), Linear(4, 4)).initialize()
    mark = weights_version(model)
    assert weights_version(model) == mark
    model.layers[1].get_param("b")[2] += 1e-3
    assert weights_version(model) != mark


def test_default_cache_holds_500_bbc_articles():
    """About 480 tokens an article, 384 numbers a token."""
    from spacy_transfer.pipeline.backbone.component import Backbone

    nlp = spacy.blank("en")
    component = nlp.add_pipe("transfer_backbone")
    assert isinstance(component, Backbone)
    assert component.cache.memory_mb * 2**20 >= 500 * 480 * 384 * 4


# Rows on docs


def test_rows_are_copied_out_of_the_batch(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert, ["tagger"])
    docs = list(nlp.pipe(eg.text for eg in examples))
    assert all(doc.tensor.base is None for doc in docs)
    numpy.testing.assert_allclose(docs[0].vector, docs[0].tensor.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("stock", [False, True])
def test_rows_are_dropped_after_the_last_listener(tiny_bert, stock):
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"} if stock else LISTENER
    models = {"tagger": {**TAGGER, "tok2vec": listener}, "ner": {**NER, "tok2vec": listener}}
    kept, examples, _ = make_pipeline(tiny_bert, ["tagger", "ner"], models=models)
    dropped, _, optimizer = make_pipeline(tiny_bert, ["tagger", "ner"], models=models, keep_rows=False)
    doc, other = kept("the cat sees a dog"), dropped("the cat sees a dog")
    assert doc.tensor.shape == (5, 16) and other.tensor.size == 0
    assert [t.tag_ for t in doc] == [t.tag_ for t in other]
    assert step(dropped, examples, optimizer)["tagger"] > 0


# Errors


@spacy.Language.component("function_of_the_test")
def leave_alone(doc):
    return doc


def test_functions_as_components(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert)
    nlp.add_pipe("function_of_the_test")
    step(nlp, examples, optimizer)
    assert nlp("a cat").has_annotation("TAG")


def test_listener_without_a_backbone(nlp):
    nlp.add_pipe("tagger", config={"model": TAGGER})
    with pytest.raises(ValueError, match="T401.*transfer_backbone"):
        nlp.initialize(lambda: make_examples(nlp))


@pytest.mark.parametrize("upstream", ["*", "transfer_backbone"])
@pytest.mark.parametrize("stock", [True, False])
def test_backbone_after_its_head(nlp, tiny_bert, upstream, stock):
    listener = {"@architectures": "spacy-transfer.Listener.v1", "upstream": upstream}
    if stock:
        listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": upstream}
    nlp.add_pipe("tagger", config={"model": {**TAGGER, "tok2vec": listener}})
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    with pytest.raises(ValueError, match="T40[15]"):
        nlp.initialize(lambda: make_examples(nlp))


def test_width_mismatch(nlp, tiny_bert):
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "*"}
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("textcat", config={"model": {**TEXTCAT, "tok2vec": stock}})
    with pytest.raises(ValueError, match="T403.*components.textcat.model.tok2vec.width = 96.*16"):
        nlp.initialize(lambda: make_examples(nlp))


def test_predicting_before_initialize(nlp):
    nlp.add_pipe("transfer_backbone")
    with pytest.raises(ValueError, match="T406.*nlp.initialize"):
        nlp("a dog")


def test_disabled_backbone_is_no_silent_garbage(tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert, ["tagger"])
    nlp("a dog")
    with nlp.select_pipes(disable=["transfer_backbone"]), pytest.raises(ValueError, match="T402"):
        nlp("a dog")


def test_no_examples(nlp, tiny_bert):
    component = nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    with pytest.raises(ValueError, match="T404"):
        component.initialize(lambda: iter([]), nlp=nlp)


def test_frozen_component_without_annotating_says_what_to_do(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
    with pytest.raises(ValueError, match="T402.*annotating_components"):
        step(nlp, examples, optimizer, exclude=["transfer_backbone"])
