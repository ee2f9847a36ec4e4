"""Exported encoders against the encoder in torch, and what is refused.

Guards also: onnx_graph.py, backbones/engines/onnx_backbone.py, backbones/engines/onnx_shim.py.
"""

import multiprocessing
import subprocess
import sys

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_transfer.engines.exports import export_onnx, find_encoder, with_settings
from spacy_transfer.engines.onnx_graph import parts_of, quantized, to_onnx

from ..backbones.transformer.test_transformer import tiny
from ..pipelines import TEXTS, backbone_config, make_examples, make_pipeline

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
NAME = "transfer_backbone"
# Longer than a window, without pieces, without tokens, with special tokens in the text.
ALL = [*TEXTS, "a dog sings " * 40, "", "  \n ", "[SEP] cat [CLS]"]


def cosines(one, other):
    return (one * other).sum(1) / numpy.linalg.norm(one, axis=1) / numpy.linalg.norm(other, axis=1)


def rows(nlp, texts=ALL):
    encoded = nlp.get_pipe(NAME).predict([nlp.make_doc(text) for text in texts])
    return numpy.concatenate(encoded.rows), encoded.documents


@pytest.fixture(scope="module")
def trained(tiny_bert):
    return make_pipeline(tiny_bert, ("tagger", "textcat"))[0]


@pytest.mark.parametrize("settings", [{}, {"pooling": "first", "document": "cls"}, {"special_tokens": True}])
def test_fp32_gives_the_same_rows(tiny_bert, settings):
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, config=backbone_config(tiny_bert, max_batch_items=40, **settings))
    nlp.initialize(lambda: make_examples(nlp))
    copy = export_onnx(nlp, NAME, "original")
    for wanted, found in zip(rows(nlp), rows(copy), strict=True):
        numpy.testing.assert_allclose(found, wanted, atol=1e-5)


def test_roberta_counts_positions_from_two(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, config=backbone_config(tiny("roberta", tmp_path)))
    nlp.initialize(lambda: make_examples(nlp))
    numpy.testing.assert_allclose(rows(export_onnx(nlp, NAME, ""))[0], rows(nlp)[0], atol=1e-5)


def test_another_activation(tmp_path):
    """Rows after ReLU have no value below 0, and some are zero throughout."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    tiny("bert", tmp_path)
    config = BertConfig.from_pretrained(tmp_path, hidden_act="relu", initializer_range=0.3)
    model = BertModel(config)
    torch.nn.init.constant_(model.encoder.layer[1].intermediate.dense.bias, -100.0)
    model.save_pretrained(tmp_path)
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, config=backbone_config(tmp_path))
    nlp.initialize(lambda: make_examples(nlp))
    wanted = rows(nlp)[0]
    numpy.testing.assert_allclose(rows(export_onnx(nlp, NAME, ""))[0], wanted, atol=1e-5)
    found = rows(export_onnx(nlp, NAME, "", parts_of(find_encoder(nlp, "")[1].encoder.transformer)))[0]
    whole = wanted.any(axis=1)
    assert cosines(found[whole], wanted[whole]).min() > 0.99


def test_int8_is_near_and_parts_are_what_differs(trained):
    shim = find_encoder(trained, "")[1]
    parts = parts_of(shim.encoder.transformer)
    assert parts == ["layer 0 attention", "layer 0 feed-forward", "layer 1 attention", "layer 1 feed-forward"]
    wanted = rows(trained)[0]
    error = {}
    for int8 in ([], parts[:1], parts):
        found = rows(export_onnx(trained, NAME, "", int8))[0]
        error[len(int8)] = numpy.square(found - wanted).mean()
    assert error[0] < 1e-10 < error[1] < error[4]
    whole = wanted.any(axis=1)
    assert cosines(rows(export_onnx(trained, NAME, "", parts))[0][whole], wanted[whole]).min() > 0.99


def test_rows_in_int8_do_not_depend_on_the_batch(trained):
    copy = export_onnx(trained, NAME, "", parts_of(find_encoder(trained, "")[1].encoder.transformer))
    together = rows(copy, TEXTS)[0]
    alone = numpy.concatenate([rows(copy, [text])[0] for text in TEXTS])
    # A sum in another order may round to the next step.
    numpy.testing.assert_allclose(together, alone, atol=0.02)


def test_int8_weights_are_whole_steps():
    weight = numpy.random.default_rng(0).normal(size=(8, 5)).astype("f")
    weight[:, 2] = 0
    whole, steps = quantized(weight)
    assert whole.dtype == numpy.int8 and numpy.abs(whole).max(axis=0).tolist() == [63, 63, 0, 63, 63]
    assert numpy.all(numpy.abs(whole * steps - weight) <= steps / 2 + 1e-7)


def test_int8_is_smaller(trained):
    transformer = find_encoder(trained, "")[1].encoder.transformer
    assert len(to_onnx(transformer, parts_of(transformer))) < len(to_onnx(transformer)) + 4000


def test_saved_copied_and_in_processes(trained, tmp_path):
    copy = export_onnx(trained, NAME, "original")
    wanted = [(doc.cats, [token.tag_ for token in doc]) for doc in copy.pipe(TEXTS)]
    assert [tags for _, tags in wanted] == [[token.tag_ for token in doc] for doc in trained.pipe(TEXTS)]
    copy.to_disk(tmp_path / "out")
    loaded = spacy.load(tmp_path / "out")
    again = spacy.blank("en").from_config(loaded.config).from_bytes(loaded.to_bytes())
    n_process = 2 if multiprocessing.get_start_method() == "fork" else 1
    for nlp, count in ((loaded, 1), (again, 1), (loaded, n_process)):
        found = [(doc.cats, [token.tag_ for token in doc]) for doc in nlp.pipe(TEXTS, n_process=count)]
        assert [tags for _, tags in found] == [tags for _, tags in wanted]
        for (one, _), (other, _) in zip(found, wanted, strict=True):
            assert one == pytest.approx(other, abs=1e-6)


def test_heads_with_a_backbone_of_their_own(trained, tmp_path):
    copy = export_onnx(trained, NAME, "original")
    wanted = copy("a dog sings").cats
    copy.replace_listeners(NAME, "textcat", ["model.tok2vec"])
    copy.to_disk(tmp_path / "out")
    assert spacy.load(tmp_path / "out")("a dog sings").cats == pytest.approx(wanted)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_names_the_original(tiny_bert, frozen):
    copy = export_onnx(make_pipeline(tiny_bert, frozen=frozen)[0], NAME, "path/of/original")
    example = Example.from_dict(copy.make_doc("a dog"), {"tags": ["DET", "NOUN"]})
    for train in (lambda: copy.update([example], sgd=False), lambda: copy.initialize(lambda: [example])):
        with pytest.raises(ValueError, match=r"T272.*path/of/original"):
            train()
    with pytest.raises(ValueError, match=r"T272.*path/of/original"):
        find_encoder(copy, "copy")


def test_a_pipeline_without_an_encoder():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"T274.*none among sentencizer"):
        find_encoder(nlp, "x")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data[:-1] + b"x", lambda data: b""]
)
def test_a_damaged_file(trained, tmp_path, damage):
    export_onnx(trained, NAME, "original").to_disk(tmp_path / "out")
    path = tmp_path / "out" / NAME / "model"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="T408"):
        spacy.load(tmp_path / "out")


def test_damaged_bytes_and_a_graph_that_is_none(trained):
    shim = export_onnx(trained, NAME, "original").get_pipe(NAME).model.shims[0]
    data = shim.to_bytes()
    with pytest.raises(ValueError, match="T437"):
        shim.from_bytes(data[:-1] + b"x")
    shim.exported.__dict__["graph"] = b"no graph"
    with pytest.raises(ValueError, match="T273"):
        shim.from_bytes(shim.to_bytes())


def test_without_the_engine(trained, monkeypatch):
    copy = export_onnx(trained, NAME, "original").to_bytes(exclude=["vocab"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"T271.*onnxruntime.*spacy-transfer\[onnx\]"):
        export_onnx(trained, NAME, "original").from_bytes(copy)


def test_another_precision_is_another_config(trained):
    assert with_settings(trained, NAME, depth=1).get_pipe(NAME).model.shims[0].encoder.n_layers == 1


SCRIPT = """
import sys
import spacy_transfer
spacy_transfer.no_torch()
import spacy
nlp = spacy.load(sys.argv[1])
assert nlp("a dog sings").cats and nlp("a dog sings")[0].tag_
assert not {"torch", "transformers"} & set(sys.modules), "loaded"
try:
    import torch
except ImportError as error:
    print(error)
"""


def test_a_process_without_torch(trained, tmp_path):
    export_onnx(trained, NAME, "original").to_disk(tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "T278" in done.stdout
    late = "import thinc, spacy_transfer; spacy_transfer.no_torch()"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True)
    assert "T279" in done.stderr
