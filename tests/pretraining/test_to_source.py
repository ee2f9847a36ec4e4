"""Pretrained files as sources: for transformers, for PipelineBackbone."""

import numpy
import pytest
import spacy
import srsly
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM

from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.pretraining.objective import pretraining_of
from spacy_transfer.pretraining.objectives.masked_words import build_masked_words_v1
from spacy_transfer.pretraining.to_source import build_backbone, write_source
from spacy_transfer.tuning.policy import Tuning

from ..checkpoints import write_checkpoint
from .objectives.test_masked_pieces import peer_loss
from .pretrain import config, run, transformer, vectors_cnn, write_texts, write_vectors

OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'
TEXTS = ["the cat sings of a dog", "", "a bird", "big words in a long line of words. " * 9]


def pretrain(tmp_path, backbone):
    """The config and the file."""
    raw = write_texts(tmp_path / "raw.txt")
    return config(raw, backbone, OBJECTIVE), run(tmp_path / "out", raw, backbone, OBJECTIVE)


def rows(model):
    nlp = spacy.blank("en")
    return numpy.concatenate(model.predict([nlp.make_doc(text) for text in TEXTS]))


def loaded(settings, file):
    backbone = build_backbone(settings)[1]
    return backbone.from_bytes(file.read_bytes())


@pytest.mark.parametrize("adapter", [{}, {"adapter": '{"method": "lora", "r": 2}'}])
def test_the_loss_is_that_of_transformers_on_the_folder(adapter, tiny_bert, tmp_path, nlp):
    settings, file = pretrain(tmp_path, transformer(tiny_bert, **adapter))
    folder = tmp_path / "made" / "source"
    assert write_source(settings, file, folder) == "spacy-transfer.TransformerBackbone.v1"
    backbone = build_backbone(settings)[1]
    model = build_masked_words_v1(progress=False)(None, backbone)
    model.get_ref("tok2vec").from_bytes(file.read_bytes())
    pretraining, docs = pretraining_of(model), [nlp.make_doc(text) for text in TEXTS]
    measured = pretraining.held_out(docs)
    expected, peer = peer_loss(folder, pretraining.objective, docs, 0)
    assert type(peer) is BertForMaskedLM and abs(measured.mean - float(expected.detach())) <= 1e-4
    # The bias of its output layer has been learned, and begins at 0.
    assert float(peer.cls.predictions.bias.abs().max()) > 0


def test_the_bottom_layers_alone_become_a_source(tiny_bert, tmp_path):
    settings, file = pretrain(tmp_path, transformer(tiny_bert, extra="depth = 1"))
    write_source(settings, file, tmp_path / "source")
    for cls in (AutoModel, AutoModelForMaskedLM):
        model, info = cls.from_pretrained(tmp_path / "source", output_loading_info=True)
        assert not info["missing_keys"] and model.config.num_hidden_layers == 1
    backbone = build_transformer_backbone_v1(source=str(tmp_path / "source"), window=32)
    backbone.initialize()
    assert numpy.array_equal(rows(backbone), rows(loaded(settings, file)))


def test_masked_words_are_predicted_from_the_last_of_several_layers(tiny_bert, tmp_path):
    """The output layer was trained on the states of one layer."""
    for name in ("plain", "several"):
        (tmp_path / name).mkdir()
    plain = pretrain(tmp_path / "plain", transformer(tiny_bert))
    several = pretrain(tmp_path / "several", transformer(tiny_bert, extra="layers = 2"))
    one, two = (loaded(*made).shims[0].encoder.transformer.state_dict() for made in (plain, several))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_what_transformers_loads(tiny_bert, tmp_path):
    settings, file = pretrain(tmp_path, transformer(tiny_bert))
    write_source(settings, file, tmp_path / "source")
    encoder = loaded(settings, file).shims[0].encoder.transformer.state_dict()
    model, info = AutoModel.from_pretrained(tmp_path / "source", output_loading_info=True)
    assert not info["missing_keys"]  # The pooler is there.
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in model.state_dict().items())
    _, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "source", output_loading_info=True)
    assert not info["missing_keys"]
    old, new = (AutoTokenizer.from_pretrained(place) for place in (tiny_bert, tmp_path / "source"))
    assert old(TEXTS)["input_ids"] == new(TEXTS)["input_ids"] and new.mask_token == "[MASK]"
    backbone = build_transformer_backbone_v1(source=str(tmp_path / "source"), window=32)
    backbone.initialize()
    assert numpy.array_equal(rows(backbone), rows(loaded(settings, file)))
    assert (tmp_path / "source" / "model.safetensors.sha256").is_file()


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Electra"])
def test_other_kinds(kind, tmp_path, nlp):
    source = write_checkpoint(tmp_path / "checkpoint", kind)
    settings, file = pretrain(tmp_path, transformer(source))
    write_source(settings, file, tmp_path / "source")
    losses = []
    for place in (source, tmp_path / "source"):
        backbone = build_transformer_backbone_v1(source=str(place), window=32)
        backbone.initialize()
        model = build_masked_words_v1(progress=False)(None, backbone)
        pretraining = pretraining_of(model)
        if place == source:
            model.get_ref("tok2vec").from_bytes(file.read_bytes())
        else:
            pretraining.restore(pretraining.objective.start([], None), None)
            assert not pretraining.output._model.is_fresh
        losses.append(pretraining.held_out([nlp.make_doc(text) for text in TEXTS]).mean)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_another_objective_has_no_language_model(tiny_bert, tmp_path):
    settings, file = pretrain(tmp_path, transformer(tiny_bert))
    msg = srsly.msgpack_loads(file.read_bytes())
    msg["spacy_transfer_pretraining"]["name"] = "spacy-transfer.Other.v1"
    file.write_bytes(srsly.msgpack_dumps(msg))
    write_source(settings, file, tmp_path / "source")
    assert srsly.read_json(tmp_path / "source" / "config.json")["architectures"] == ["BertModel"]
    backbone = build_transformer_backbone_v1(source=str(tmp_path / "source"), window=32)
    backbone.initialize()
    assert numpy.array_equal(rows(backbone), rows(loaded(settings, file)))


def test_a_mix_of_layers_is_not_written(tiny_bert, tmp_path, caplog):
    settings, file = pretrain(tmp_path, transformer(tiny_bert, extra='layers = "mix"'))
    write_source(settings, file, tmp_path / "source")
    assert "W861" in caplog.text and "mix" in caplog.text


def hash_cnn(folder):
    nlp = spacy.blank("en")
    size = {"width": 8, "depth": 1, "embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    model = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, **size}
    nlp.add_pipe("tok2vec", config={"model": model})
    nlp.initialize()
    nlp.to_disk(folder)
    return f'@architectures = "spacy-transfer.PipelineBackbone.v1"\nsource = "{folder}"'


HASHES = """@architectures = "spacy-transfer.HashEmbedBackbone.v1"
width = 8
attrs = ["NORM", "SHAPE"]
rows = [50, 20]
[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.CNNContext.v1"
width = 8
depth = 1"""


@pytest.mark.parametrize("kind", ["vectors", "hashes", "pipeline"])
def test_any_other_backbone_becomes_a_pipeline(kind, tmp_path):
    made = {"vectors": lambda: vectors_cnn(write_vectors(tmp_path / "words.txt")), "hashes": lambda: HASHES}
    made["pipeline"] = lambda: hash_cnn(tmp_path / "inner")
    settings, file = pretrain(tmp_path, made[kind]())
    folder = tmp_path / "source"
    assert write_source(settings, file, folder) == "spacy-transfer.PipelineBackbone.v1"
    expected = rows(loaded(settings, file))
    nlp = spacy.load(folder)
    assert nlp.pipe_names == ["transfer_backbone"]
    numpy.testing.assert_array_equal(numpy.concatenate([doc.tensor for doc in nlp.pipe(TEXTS) if len(doc)]), expected)
    backbone = build_pipeline_backbone_v1(source=str(folder))
    backbone.initialize()
    numpy.testing.assert_allclose(rows(backbone), expected, atol=1e-6)
    # One encoder, not one in another.
    assert backbone.shims[0].encoder.name != "transfer_pipeline"
    again = build_pipeline_backbone_v1(source="gone").from_bytes(backbone.to_bytes())
    numpy.testing.assert_allclose(rows(again), expected, atol=1e-6)


def test_what_was_a_source_is_tuned(tmp_path):
    settings, file = pretrain(tmp_path, hash_cnn(tmp_path / "inner"))
    write_source(settings, file, tmp_path / "source")
    backbone = build_pipeline_backbone_v1(source=str(tmp_path / "source"), tuning=Tuning(freeze="embeddings"))
    backbone.initialize()
    assert any(name.startswith("embeddings.") for name in backbone.shims[0].weights)


def test_refused(tiny_bert, tmp_path):
    settings, file = pretrain(tmp_path, transformer(tiny_bert))
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match=r"T390.*there"):
        write_source(settings, file, tmp_path / "there")
    with pytest.raises(ValueError, match=r"T862.*FILE = .*gone"):
        write_source(settings, tmp_path / "gone.bin", tmp_path / "new")
    with pytest.raises(ValueError, match="T863"):
        write_source(spacy.util.Config({**settings, "pretraining": {}}), file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_layer_inside_a_component(tmp_path):
    """spaCy pretrains the tok2vec of a tagger, too."""
    raw, objective = write_texts(tmp_path / "raw.txt"), OBJECTIVE
    settings = config(raw, '@architectures = "spacy.Tagger.v2"', objective)
    settings["components"] = {"tagger": {"factory": "tagger", "model": TAGGER}}
    settings["nlp"]["pipeline"] = ["tagger"]
    settings["pretraining"] |= {"component": "tagger", "layer": "tok2vec"}
    backbone = build_backbone(settings)[1]
    (tmp_path / "file.bin").write_bytes(backbone.to_bytes())
    with pytest.raises(ValueError, match="T864.*layer"):
        write_source(settings, tmp_path / "file.bin", tmp_path / "new")


TAGGER = {
    "@architectures": "spacy.Tagger.v2",
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 8,
        "depth": 1,
        "embed_size": 50,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
    },
}
