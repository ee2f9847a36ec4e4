"""What `spacy pretrain` writes: a start as a source's is, with the output layer beside it."""

import numpy
import pytest
import spacy
import srsly
import torch
from spacy.training.initialize import init_nlp
from spacy.util import load_config, registry
from thinc.api import Config

from spacy_transfer.backbones.shims import tunable
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.pretraining.objectives.masked_words import build_masked_words_v1
from spacy_transfer.tuning.policy import Tuning

from ..pipelines import make_pipeline
from ..training import write_training
from .pretrain import config, run, transformer, vectors_cnn, write_texts, write_vectors

PLACE = "components.transfer_backbone.model"
OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'


@pytest.fixture(scope="module")
def pretrained(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return run(folder, write_texts(folder / "raw.txt"), transformer(tiny_bert), OBJECTIVE, epochs=1)


def shim_of(tiny_bert, file=None, **settings):
    model = build_transformer_backbone_v1(source=tiny_bert, window=32, overlap=8, **settings)
    model.initialize()
    if file is not None:
        model.from_bytes(file.read_bytes())
    return model.shims[0]


def test_a_start_with_a_fingerprint_of_its_own(pretrained, tiny_bert, tmp_path):
    source, loaded = shim_of(tiny_bert), shim_of(tiny_bert, pretrained)
    assert loaded.steps == 0 and loaded.pretrained.fingerprint != source.pretrained.fingerprint
    again = run(tmp_path / "again", pretrained.parent / "raw.txt", transformer(tiny_bert), OBJECTIVE, epochs=2)
    assert shim_of(tiny_bert, again).pretrained.fingerprint != loaded.pretrained.fingerprint
    moved = [
        not torch.equal(a, b) for a, b in zip(source.encoder.parameters(), loaded.encoder.parameters(), strict=True)
    ]
    assert sum(moved) > 10


@pytest.mark.parametrize("kind", ["transformer", "vectors"])
def test_rows_are_cached_by_another_fingerprint(kind, tiny_bert, tmp_path):
    """Rows of a frozen backbone are found by `model.attrs["fingerprint"]`."""
    block = transformer(tiny_bert) if kind == "transformer" else vectors_cnn(write_vectors(tmp_path / "words.txt"))
    raw = write_texts(tmp_path / "raw.txt")
    files = [run(tmp_path / str(n), raw, block, OBJECTIVE, epochs=n) for n in (1, 2)]
    built = registry.resolve({"model": Config().from_str(f"[model]\n{block}".replace(PLACE, "model"))["model"]})
    model, found = built["model"], []
    model.initialize(X=[spacy.blank("en").make_doc("the cat")])
    for file in (None, *files):
        if file is not None:
            model.from_bytes(file.read_bytes())
        found.append(model.attrs["fingerprint"])
    assert len(set(found)) == 3


def test_saving_changes_nothing_in_the_model(tiny_bert):
    """Steps and fingerprint stand in the file only."""
    backbone = build_transformer_backbone_v1(source=tiny_bert, window=32)
    backbone.initialize()
    model, shim = build_masked_words_v1(progress=False)(None, backbone), backbone.shims[0]
    shim.steps, fingerprint = 7, shim.pretrained.fingerprint
    first = model.get_ref("tok2vec").to_bytes()
    assert (shim.steps, shim.pretrained.fingerprint) == (7, fingerprint) == (7, backbone.attrs["fingerprint"])
    assert model.get_ref("tok2vec").to_bytes() == first


def test_init_tok2vec_of_spacy_train(pretrained, tiny_bert, tmp_path):
    pretraining = config(pretrained.parent / "raw.txt", transformer(tiny_bert), OBJECTIVE)
    found = []
    for file in (None, pretrained):
        settings = load_config(write_training(tmp_path, tiny_bert))
        settings["pretraining"] = pretraining["pretraining"]
        settings["corpora"]["pretrain"] = pretraining["corpora"]["pretrain"]
        settings["initialize"] = {"init_tok2vec": None if file is None else str(file)}
        nlp = init_nlp(settings)
        found.append(nlp.get_pipe("transfer_backbone").model.shims[0].encoder.state_dict())
    expected = shim_of(tiny_bert, pretrained).encoder.state_dict()
    assert all(torch.equal(found[1][name], expected[name]) for name in expected)
    assert any(not torch.equal(found[0][name], expected[name]) for name in expected)


def test_training_after_it(pretrained, tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").model.from_bytes(pretrained.read_bytes())
    for _ in range(3):
        losses = nlp.update(examples, sgd=optimizer)
    assert numpy.isfinite(losses["tagger"])
    again = make_pipeline(tiny_bert)[0]
    assert again.from_bytes(nlp.to_bytes()).get_pipe("transfer_backbone").model.shims[0].steps == 3
    assert again.to_bytes() == nlp.to_bytes()


@pytest.mark.parametrize("layer", ["transformer", "vectors"])
def test_a_run_that_goes_on_is_anchored_to_the_source(layer, tiny_bert, tmp_path, monkeypatch):
    raw = write_texts(tmp_path / "raw.txt")
    if layer == "transformer":
        backbone = transformer(tiny_bert, anchor="0.1")
    else:
        backbone = vectors_cnn(write_vectors(tmp_path / "words.txt"), extra="finetune = true")
        tuning = '\n[components.transfer_backbone.model.tuning]\n@misc = "spacy-transfer.Tuning.v1"\nanchor = 0.1'
        backbone += tuning
    run(tmp_path / "a", raw, backbone, OBJECTIVE, epochs=1)
    seen = []
    pull = tunable.pull
    monkeypatch.setattr(tunable, "pull", lambda p, origin, strength: (seen.append(origin), pull(p, origin, strength)))
    run(tmp_path / "fresh", raw, backbone, OBJECTIVE, epochs=1)
    n_fresh = len(seen)
    run(tmp_path / "b", raw, backbone, OBJECTIVE, epochs=2, resume=tmp_path / "a" / "model0.bin")
    fresh, resumed = numpy.asarray(seen[0]), numpy.asarray(seen[n_fresh])
    assert numpy.array_equal(fresh, resumed)


def test_an_adapter_alone_moves_and_the_file_is_merged_without_it(tiny_bert, tmp_path):
    backbone = transformer(tiny_bert, adapter='{"method": "lora", "r": 2}')
    file = run(tmp_path / "a", write_texts(tmp_path / "raw.txt"), backbone, OBJECTIVE, epochs=1)
    with_adapter = shim_of(tiny_bert, file, tuning=Tuning(adapter={"method": "lora", "r": 2}))
    source = shim_of(tiny_bert).encoder.state_dict()
    base = with_adapter.own_state()
    assert all(torch.equal(source[name], base[name]) for name in source)
    merged = shim_of(tiny_bert, file).encoder.state_dict()
    others = {name for name in source if not torch.equal(source[name], merged[name])}
    assert others and all(name.endswith(("query.weight", "value.weight")) for name in others)


def test_the_output_layer_stands_beside_what_thinc_reads(pretrained):
    msg = srsly.msgpack_loads(pretrained.read_bytes())
    assert {"nodes", "attrs", "params", "shims", "spacy_transfer_pretraining"} == set(msg)
    assert set(msg["spacy_transfer_pretraining"]) == {"name", "settings", "weights"}
