"""HashEmbedBackbone: rows are those of spaCy's own Tok2Vec with the same weights, and weights are those of the seed."""

import numpy
import pytest
import spacy
from spacy import registry
from spacy.tokens import Doc
from spacy.util import fix_random_seed
from thinc.api import Adam

from spacy_transfer.backbones.blas import by_numpy
from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1
from spacy_transfer.backbones.hash_embed import ATTRS, build_hash_embed_backbone_v1

from ..pipelines import TAGGER, TEXTCAT, make_examples, step

TEXTS = ["The U.K.'s cats see 3 dogs!", "", "  ", "Ünïcode \U0001f44d ok", "x"]
CONTEXTS = {
    "none": lambda: None,
    "cnn": lambda: build_cnn_context_v1(width=16),
    "bilstm": lambda: build_bilstm_context_v1(width=10, depth=2),
    "stacks": lambda: build_bilstm_context_v1(width=10, depth=2, mix_directions=False),
}


def make(kind="cnn", seed=0, docs=None, **settings):
    """A backbone with the weights of a seed."""
    model = build_hash_embed_backbone_v1(**{"width": 16, "rows": [50] * 4, "context": CONTEXTS[kind](), **settings})
    fix_random_seed(seed)
    model.initialize(X=docs)
    return model


def docs_of(nlp, texts=TEXTS):
    return [nlp.make_doc(text) for text in texts]


def give_vectors(nlp, width=5):
    draws = numpy.random.default_rng(0)
    for word in ("cats", "dogs", "ok"):
        nlp.vocab.set_vector(word, draws.normal(size=width).astype("f"))


@pytest.mark.parametrize("with_vectors", [False, True])
def test_rows_are_those_of_spacys_tok2vec(nlp, with_vectors):
    if with_vectors:
        give_vectors(nlp)
    docs = docs_of(nlp)
    model = make(docs=docs, include_static_vectors=with_vectors)
    architectures = {name: registry.get("architectures", f"spacy.{name}.v2") for name in ("Tok2Vec", "MultiHashEmbed")}
    attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
    embed = architectures["MultiHashEmbed"](16, attrs, [50] * 4, with_vectors)
    encode = registry.get("architectures", "spacy.MaxoutWindowEncoder.v2")(16, 1, 3, 2)
    stock = architectures["Tok2Vec"](embed, encode)
    stock.initialize(X=docs)
    # Our context begins with a projection: with the identity both have the same layers.
    cnn = model.layers[1].layers[0]
    projection = cnn.layers[0].layers[0]
    projection.set_param("W", numpy.eye(16, dtype="f"))
    projection.set_param("b", numpy.zeros(16, dtype="f"))
    for ours, theirs in ((model.layers[0], embed), (cnn.layers[1], encode)):
        for node, other in zip(ours.walk(), theirs.walk(), strict=True):
            for name in node.param_names:
                other.set_param(name, node.get_param(name).copy())
    for tolerance in (1e-5, 1e-6):  # First with spaCy's products, whose rounding is another one.
        for rows, expected in zip(model.predict(docs), stock.predict(docs), strict=True):
            numpy.testing.assert_allclose(rows, expected, atol=tolerance, rtol=0)
        by_numpy(stock)


@pytest.mark.parametrize("kind", CONTEXTS)
def test_the_same_seed_gives_the_same_weights(kind, nlp):
    model, twin = make(kind), make(kind)
    assert model.to_bytes() == twin.to_bytes()
    fingerprint, other = model.attrs["fingerprint"], make(kind, seed=1)
    assert len(fingerprint) == 64 and other.attrs["fingerprint"] != fingerprint
    rows, backprop = model(docs_of(nlp), True)
    backprop([numpy.ones_like(doc) * numpy.arange(doc.shape[1], dtype="f") for doc in rows])
    for _ in range(3):
        model.finish_update(Adam(0.01))
    assert model.to_bytes() != twin.to_bytes() and model.shims[0].steps == 3
    rows, backprop = model(docs_of(nlp), True)
    backprop(rows)  # A gradient that nobody takes.
    fix_random_seed(0)
    model.initialize()
    model.finish_update(Adam(0.01))
    model.shims[0].steps = 0
    assert model.attrs["fingerprint"] == fingerprint
    assert model.to_bytes() == twin.to_bytes()


@pytest.mark.parametrize("kind", CONTEXTS)
def test_copies_and_bytes(kind, nlp):
    model, docs = make(kind), docs_of(nlp)
    settings = {"width": 16, "rows": [50] * 4}
    loaded = build_hash_embed_backbone_v1(**settings, context=CONTEXTS[kind]()).from_bytes(model.to_bytes())
    copied = model.copy()
    before = [rows.copy() for rows in model.predict(docs)]
    assert [rows.shape for rows in before] == [(len(doc), model.get_dim("nO")) for doc in docs]
    for other in (loaded, copied):
        assert all((a == b).all() for a, b in zip(other.predict(docs), before, strict=True))
        assert other.attrs["fingerprint"] == model.attrs["fingerprint"]
        rows, backprop = other(docs, True)
        backprop([numpy.ones_like(doc) * numpy.arange(doc.shape[1], dtype="f") for doc in rows])
        other.finish_update(Adam(0.01))
        assert numpy.abs(other.predict(docs)[0] - before[0]).max() > 1e-4
    assert all((a == b).all() for a, b in zip(model.predict(docs), before, strict=True))


@pytest.mark.parametrize("lang", ["xx", "de"])
def test_any_language(lang, tmp_path):
    nlp, texts = spacy.blank(lang), ["der Hund singt", "犬 は", "", "\u200b\x07"]
    block = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "context": None}
    nlp.add_pipe("transfer_backbone", config={"model": block})
    nlp.initialize()
    expected = [doc.tensor for doc in nlp.pipe(texts)]
    nlp.to_disk(tmp_path)
    assert nlp.config["components"]["transfer_backbone"]["model"]["rows"] == [5000, 1000, 2500, 2500]
    for doc, rows in zip(spacy.load(tmp_path).pipe(texts), expected, strict=True):
        assert doc.tensor.shape == (len(doc), 96) and doc.tensor.tobytes() == rows.tobytes()


def test_frozen_with_a_cache():
    """Random rows that stay: heads learn on them, and nothing is computed twice."""
    nlp = spacy.blank("en")
    block = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "width": 16}
    nlp.add_pipe("transfer_backbone", config={"model": block, "frozen": True, "cache_mb": 10})
    nlp.add_pipe("textcat", config={"model": TEXTCAT})
    nlp.add_pipe("tagger", config={"model": TAGGER})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    model = nlp.get_pipe("transfer_backbone").model
    before, calls, run = model.to_bytes(), [], model.shims[0].run
    model.shims[0].run = lambda *given: calls.append(1) or run(*given)
    losses = [step(nlp, examples, Adam(0.01))["tagger"] for _ in range(3)]
    assert losses[-1] < losses[0] and len(calls) == 1 and model.to_bytes() == before


@pytest.mark.parametrize("attr", ATTRS)
def test_every_feature_is_of_the_word_alone(attr, nlp):
    """What components write to a doc makes no difference: rows may be cached."""
    model = make("none", attrs=[attr], rows=[50])
    words = ["He", "OK", "(", ")", '"', "3", "a.b@c.de", "http://a.de", "€", "the", " "]
    plain = Doc(nlp.vocab, words=words, spaces=[True, False] * 5 + [True])
    n, spaces = len(words), [bool(token.whitespace_) for token in plain]
    set_by_others = {"tags": words, "pos": ["NOUN"] * n, "lemmas": words, "ents": ["B-X"] * n}
    written = Doc(nlp.vocab, words=words, spaces=spaces, **set_by_others)
    assert (model.predict([plain])[0] == model.predict([written])[0]).all()
    assert len({row.tobytes() for row in model.predict([plain])[0]}) > 1


def test_vectors_that_are_not_there(nlp):
    docs = docs_of(nlp)
    with pytest.raises(ValueError, match="T224.*include_static_vectors = true.*width 0"):
        make(docs=docs, include_static_vectors=True)
    give_vectors(nlp)
    model, other = make(docs=docs, include_static_vectors=True), spacy.blank("en")
    for width in (0, 7):
        if width:
            give_vectors(other, width)
        with pytest.raises(ValueError, match=f"T224.*width: 5.*width {width}"):
            model.predict(docs_of(other))
    give_vectors(nlp, 5)
    model.initialize(X=docs)


def test_errors(nlp):
    with pytest.raises(ValueError, match=r"T221.*\['TAG'\].*NORM, ORTH"):
        make(attrs=["NORM", "TAG", "ORTH", "SHAPE"])
    with pytest.raises(ValueError, match="T222.*4 entries.*rows 2"):
        make(rows=[5, 5])
    with pytest.raises(ValueError, match="T226.*initialize"):
        build_hash_embed_backbone_v1().predict(docs_of(nlp))
