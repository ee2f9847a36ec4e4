"""Pretrained files in backbones: what fits, what does not, adapters, anchors, caches."""

import numpy
import pytest
import spacy
import srsly
import torch
from spacy.training import Example
from thinc.api import SGD

from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1
from spacy_transfer.backbones.hash_embed import build_hash_embed_backbone_v1
from spacy_transfer.backbones.pretrained_weights import PRETRAINING, load_pretrained
from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.tuning.policy import Tuning

from ..checkpoints import write_checkpoint
from ..pipelines import TEXTS, backbone_config, make_pipeline
from ..pretraining.pretrain import write_vectors

LORA = {"method": "lora", "r": 2}
MAXENT = {"fit": "maxent", "strength": 0.1}


@pytest.fixture
def words(tmp_path):
    return str(write_vectors(tmp_path / "words.txt"))


def bert(source, **settings):
    model = build_transformer_backbone_v1(source=source, **{"window": 32, "overlap": 8, **settings})
    model.initialize()
    return model


def vectors(source, **settings):
    model = build_vectors_backbone_v1(source=source, **{"context": build_cnn_context_v1(width=12, depth=1), **settings})
    model.initialize()
    return model


def file_of(model):
    """What `spacy pretrain` writes of a model, after some noise on its weights."""
    draw = torch.Generator().manual_seed(3)
    for node in model.walk():
        for name in node.param_names:
            if node.has_param(name) and name != "E":
                node.set_param(name, node.get_param(name) + 0.1)
        for shim in node.shims:
            if hasattr(shim._model, "parameters"):
                for parameter in shim._model.parameters():
                    parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    if "fingerprint" in model.attrs:
        model.attrs["fingerprint"] = "a new one"
    return srsly.msgpack_dumps({**model.to_dict(), PRETRAINING: {"name": "test", "settings": {}, "weights": b""}})


def rows(model):
    nlp = spacy.blank("en")
    return numpy.concatenate(model.predict([nlp.make_doc(text) for text in TEXTS]))


def other_pipeline(folder, width):
    nlp = spacy.blank("en")
    config = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": width, "depth": 1}
    size = {"embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    nlp.add_pipe("tok2vec", config={"model": {**config, **size}})
    nlp.initialize()
    nlp.to_disk(folder)
    return str(folder)


def pipeline(folder, width=8):
    model = build_pipeline_backbone_v1(source=other_pipeline(folder, width))
    model.initialize()
    return model


def hashes(**settings):
    model = build_hash_embed_backbone_v1(**{"width": 8, "attrs": ["NORM", "SHAPE"], "rows": [50, 20], **settings})
    model.initialize()
    return model


def test_what_fits_gives_the_rows_of_the_file(tiny_bert, words, tmp_path):
    makers = [hashes, lambda: bert(tiny_bert), lambda: vectors(words), lambda: pipeline(tmp_path / "p")]
    makers.append(lambda: vectors(words, context=build_bilstm_context_v1(width=6)))
    for make in makers:
        trained = make()
        data = file_of(trained)
        model = make()
        assert not numpy.allclose(rows(model), rows(trained))
        model.from_bytes(data)
        assert numpy.array_equal(rows(model), rows(trained))


def test_what_differs_is_named(tiny_bert, words, tmp_path):
    wide = write_checkpoint(tmp_path / "wide", "Bert", hidden_size=32)
    deep = write_checkpoint(tmp_path / "deep", "Bert", num_hidden_layers=3)
    fewer = str(write_vectors(tmp_path / "fewer.txt", words=("the", "a", "cat")))
    others = str(write_vectors(tmp_path / "others.txt", words=("the", "a", "cat", "dog", "sings", "no")))
    long = str(write_vectors(tmp_path / "long.txt", width=5))
    lstm = build_bilstm_context_v1
    cases = [
        (bert(wide), lambda: bert(tiny_bert), "nO = 32, not 16"),
        (bert(deep), lambda: bert(tiny_bert), "layer.2"),
        (bert(tiny_bert, layers="mix"), lambda: bert(tiny_bert), "it has a mix.weights"),
        (bert(tiny_bert), lambda: bert(tiny_bert, layers="mix"), "it has no mix.weights"),
        (vectors(words), lambda: bert(tiny_bert), "the architecture 'transfer_vectors', not 'transfer_transformer'"),
        (pipeline(tmp_path / "p"), lambda: bert(tiny_bert), "transfer_pipeline"),
        (vectors(words), lambda: vectors(words, context=build_cnn_context_v1(width=12, depth=2)), "layers, not"),
        (vectors(words), lambda: vectors(words, context=build_cnn_context_v1(width=9, depth=1)), "nO = 12, not 9"),
        (vectors(words), lambda: vectors(words, context=lstm(width=12)), "not 'transfer_bilstm'"),
        (vectors(words, context=lstm(width=4)), lambda: vectors(words, context=lstm(width=4, depth=2)), "depth"),
        (vectors(fewer), lambda: vectors(words), r"E has the shape \(3, 8\), not \(6, 8\)"),
        (vectors(others), lambda: vectors(words), "its words are others"),
        (vectors(long), lambda: vectors(words), "nO = 5, not 8"),
        (vectors(words, oov="zero"), lambda: vectors(words), "another oov"),
        (hashes(), lambda: hashes(attrs=["NORM", "PREFIX"]), "another columns"),
        (hashes(), lambda: hashes(rows=[50, 30]), r"nV = 20, not 30"),
        (pipeline(tmp_path / "a", 8), lambda: pipeline(tmp_path / "b", 6), "nO = 8, not 6"),
    ]
    for source, make, said in cases:
        model = make()
        before = model.to_bytes()
        with pytest.raises(ValueError, match=rf"T861.*{said}.*to-source"):
            model.from_bytes(file_of(source))
        assert model.to_bytes() == before, said


def test_other_words_of_a_tokenizer(tiny_bert, tmp_path):
    """As many, so that all shapes are equal."""
    model = bert(tiny_bert)
    other = bert(write_checkpoint(tmp_path / "cased", "Bert"))
    sizes = [m.shims[0].encoder.transformer.config.vocab_size for m in (model, other)]
    assert sizes[0] == sizes[1]
    tokenizer = other.shims[0].pretrained.tokenizer
    text = tokenizer.to_str().replace('"##z"', '"##qq"')
    other.shims[0].pretrained.tokenizer = type(tokenizer).from_str(text)
    with pytest.raises(ValueError, match=r"T861.*the words of its tokenizer"):
        model.from_bytes(file_of(other))


def test_another_encoder_of_the_same_width(tmp_path):
    model = pipeline(tmp_path / "a")
    data = file_of(pipeline(tmp_path / "b"))
    changed = srsly.msgpack_loads(data)
    state = srsly.msgpack_loads(changed["shims"][0][0][len(b"spacy-transfer.sha256\n") + 32 :])
    state["config"] = state["config"].replace('"embed_size":50', '"embed_size":60')
    changed["shims"][0][0] = srsly.msgpack_dumps(state)
    with pytest.raises(ValueError, match=r"T861.*encoder\.embed_size = 60, not 50"):
        model.from_bytes(srsly.msgpack_dumps(changed))


def test_settings_are_the_configs_own(words):
    """Thinc would take those of the file."""
    data = file_of(vectors(words, finetune=True))
    model = vectors(words, finetune=False)
    model.from_bytes(data)
    assert model.layers[0].attrs["finetune"] is False and model.attrs["source"] == words
    assert model.attrs["fingerprint"] == "a new one"


def test_no_file_and_a_damaged_one(tiny_bert, tmp_path):
    model = bert(tiny_bert)
    with pytest.raises(ValueError, match=r"T862.*initialize\.x = .*gone\.bin.*model-last"):
        load_pretrained(model, tmp_path / "gone.bin", "initialize.x")
    (tmp_path / "cut.bin").write_bytes(file_of(bert(tiny_bert))[:-100])
    with pytest.raises(ValueError, match=r"T437.*The pretrained file"):
        load_pretrained(model, tmp_path / "cut.bin", "initialize.x")


def test_a_saved_pipeline_still_loads_into_one_that_is_initialised(tiny_bert):
    nlp, other = (make_pipeline(tiny_bert)[0] for _ in range(2))
    file_of(nlp.get_pipe("transfer_backbone").model)  # Which moves its weights.
    assert other.to_bytes() != nlp.to_bytes()
    assert other.from_bytes(nlp.to_bytes()).to_bytes() == nlp.to_bytes()


# Adapters


def test_an_adapter_that_the_config_lacks_is_merged(tiny_bert):
    trained = bert(tiny_bert, tuning=Tuning(adapter=LORA))
    data, expected = file_of(trained), rows(trained)
    model = bert(tiny_bert)
    model.from_bytes(data)
    shim = model.shims[0]
    assert shim.adapter is None and not shim.adapter_tensors()
    numpy.testing.assert_allclose(rows(model), expected, atol=1e-5)
    # And trained on as a whole.
    assert set(shim.encoder.transformer.state_dict()) == set(bert(tiny_bert).shims[0].encoder.transformer.state_dict())


def test_the_same_adapter_goes_on(tiny_bert):
    trained = bert(tiny_bert, tuning=Tuning(adapter=LORA))
    data = file_of(trained)
    model = bert(tiny_bert, tuning=Tuning(adapter=LORA))
    model.from_bytes(data)
    old, new = (m.shims[0].adapter_tensors() for m in (trained, model))
    assert old and all(torch.equal(old[name], new[name]) for name in old)
    assert numpy.array_equal(rows(model), rows(trained))
    moving = model.shims[0].policy.moving(0)
    assert moving and all("lora" in name for name in moving)


@pytest.mark.parametrize("saved", [None, {"method": "lora", "r": 3}])
def test_another_adapter_begins_on_what_was_pretrained(saved, tiny_bert):
    trained = bert(tiny_bert, tuning=Tuning(adapter=saved) if saved else None)
    data, expected = file_of(trained), rows(trained)
    model = bert(tiny_bert, tuning=Tuning(adapter=LORA))
    fresh = model.shims[0].adapter_tensors()
    model.from_bytes(data)
    # A new adapter adds nothing yet.
    numpy.testing.assert_allclose(rows(model), expected, atol=1e-5)
    now = model.shims[0].adapter_tensors()
    assert fresh.keys() == now.keys() and all(torch.equal(fresh[name], now[name]) for name in fresh)


# Anchors


@pytest.mark.parametrize("kind", ["bert", "vectors", "pipeline"])
def test_an_anchor_pulls_to_what_was_pretrained(kind, tiny_bert, words, tmp_path, nlp):
    """After a step away, the pull is that of the distance to the file's weights, whatever the source has."""
    tuning = Tuning(anchor=0.5)
    if kind == "bert":
        model, name = bert(tiny_bert, tuning=tuning), "transformer.encoder.layer.0.output.dense.weight"
        data = file_of(bert(tiny_bert))
    elif kind == "vectors":
        model, name = vectors(words, finetune=True, tuning=tuning), "embeddings.E"
        data = file_of(vectors(words, finetune=True))
    else:
        folder = other_pipeline(tmp_path / "p", 8)
        model, name = build_pipeline_backbone_v1(source=folder, tuning=tuning), "layer.0.maxout.W"
        model.initialize()
        data = file_of(pipeline(tmp_path / "p"))
    model.from_bytes(data)
    shim = model.shims[0]
    docs = [nlp.make_doc(text) for text in TEXTS]
    out, back = model.begin_update(docs)
    back([row * 0 + 1 for row in out])
    found = numpy.asarray(shim._origin[name])
    parameter = shim.weights[name].parameter.value if kind != "bert" else shim._model.get_parameter(name).detach()
    assert numpy.array_equal(found, numpy.asarray(parameter))
    model.finish_update(SGD(0.1, L2=0.0, grad_clip=0.0, use_averages=False))
    assert numpy.array_equal(found, numpy.asarray(shim._origin[name]))


# The component


def cached(source, **more):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": True, "cache_mb": 8, **more})
    nlp.add_pipe("textcat", config={"model": {"@architectures": "spacy.TextCatReduce.v1", **REDUCE}})
    return nlp, pipe


REDUCE = {
    "exclusive_classes": True,
    "use_reduce_first": False,
    "use_reduce_last": False,
    "use_reduce_max": False,
    "use_reduce_mean": True,
    "tok2vec": {"@architectures": "spacy-transfer.Listener.v1"},
}


def examples(nlp):
    cats = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}]
    return [Example.from_dict(nlp.make_doc(text), {"cats": cats[i % 2]}) for i, text in enumerate(TEXTS)]


def test_a_frozen_backbone_with_a_cache_serves_no_old_rows(tiny_bert):
    nlp, pipe = cached(tiny_bert)
    batch = examples(nlp)
    optimizer = nlp.initialize(lambda: batch)
    nlp.update(batch, sgd=optimizer)
    old = pipe.predict([eg.x for eg in batch]).rows
    assert pipe._encoder.cache is not None and len(pipe._encoder.cache) == len(batch)
    trained = bert(tiny_bert)
    pipe.model.from_bytes(file_of(trained))
    nlp.update(batch, sgd=optimizer)
    found = numpy.concatenate(pipe.predict([eg.x for eg in batch]).rows)
    numpy.testing.assert_allclose(found, rows(trained), atol=1e-5)
    assert not numpy.allclose(found, numpy.concatenate(old))


def test_a_head_that_is_solved_at_the_start_reads_the_new_rows(tiny_bert, tmp_path):
    """`pretrained` comes before the heads are initialised; spaCy's init_tok2vec after."""
    trained = bert(tiny_bert)
    (tmp_path / "model-last.bin").write_bytes(file_of(trained))
    weights = []
    for file in (None, tmp_path / "model-last.bin"):
        nlp = spacy.blank("en")
        pipe = nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
        nlp.add_pipe("transfer_textcat")
        nlp.config["initialize"]["components"]["transfer_textcat"] = MAXENT
        nlp.config["initialize"]["components"]["transfer_backbone"] = {
            "pretrained": None if file is None else str(file)
        }
        batch = examples(nlp)
        nlp.initialize(lambda batch=batch: batch)
        weights.append(nlp.get_pipe("transfer_textcat").model.get_ref("output").get_param("W"))
    numpy.testing.assert_allclose(rows(pipe.model), rows(trained), atol=1e-6)
    # The same head from a source with these weights: the optimum is unique.
    nlp = spacy.blank("en")
    trained.shims[0].encoder.transformer.save_pretrained(tmp_path / "source")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "source" / name).write_bytes((type(tmp_path)(tiny_bert) / name).read_bytes())
    nlp.add_pipe("transfer_backbone", config=backbone_config(tmp_path / "source"))
    head = nlp.add_pipe("transfer_textcat")
    nlp.config["initialize"]["components"]["transfer_textcat"] = MAXENT
    batch = examples(nlp)
    nlp.initialize(lambda: batch)
    numpy.testing.assert_allclose(weights[1], head.model.get_ref("output").get_param("W"), atol=1e-4)
    assert not numpy.allclose(weights[0], weights[1], atol=1e-3)
