"""What is saved is what runs."""

import json
import os
import pickletools
import subprocess
import sys

import numpy
import pytest
import spacy
import srsly

from .util import make_examples, make_pipeline, step

TEXTS = ["the cat sees a dog", "a dog", "", "dogs see the big cat here. " * 12]


@pytest.fixture
def trained(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger", "textcat"])
    for _ in range(3):
        step(nlp, examples, optimizer)
    return nlp


def scores(nlp):
    return [(doc.tensor.tolist(), doc.cats, [t.tag_ for t in doc]) for doc in nlp.pipe(TEXTS)]


def test_bytes_disk_and_copies_are_bit_equal(trained, tmp_path):
    trained.to_disk(tmp_path / "one")
    loaded = spacy.load(tmp_path / "one")
    assert scores(loaded) == scores(trained)
    again = spacy.blank("en").from_config(trained.config).from_bytes(trained.to_bytes())
    assert scores(again) == scores(trained)
    loaded.to_disk(tmp_path / "two")
    for name in ("model", "model.sha256", "cfg"):
        one, two = (tmp_path / d / "transfer_backbone" / name for d in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    copy = trained.get_pipe("transfer_backbone").model.copy()
    doc = trained.make_doc(TEXTS[0])
    rows = trained.get_pipe("transfer_backbone").model.predict([doc])[0]
    assert (copy.predict([doc])[0] == rows).all()


def test_a_copy_shares_nothing(trained):
    model = trained.get_pipe("transfer_backbone").model
    copy = model.copy()
    assert copy.shims[0].id != model.shims[0].id
    before = model.to_bytes()
    for param in copy.shims[0].encoder.parameters():
        param.data += 1
    assert model.to_bytes() == before


def test_fresh_process_without_source_and_network(trained, tmp_path):
    """The config names a source that is gone; nothing may look for it."""
    trained.to_disk(tmp_path / "saved")
    config = (tmp_path / "saved" / "config.cfg").read_text()
    source = trained.config["components"]["transfer_backbone"]["model"]["source"]
    (tmp_path / "saved" / "config.cfg").write_text(config.replace(source, "/gone"))
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    code = (
        "import json, socket, spacy, torch, pickle\n"
        "def no_network(*args, **kwargs): raise RuntimeError('network')\n"
        "socket.socket.connect = no_network\n"
        "def no_pickle(*args, **kwargs): raise RuntimeError('pickle')\n"
        "torch.load = pickle.loads = pickle.load = no_pickle\n"
        "torch.set_num_threads(1)\n"
        f"nlp = spacy.load({str(tmp_path / 'saved')!r})\n"
        f"texts = json.load(open({str(tmp_path / 'texts.json')!r}))\n"
        "print(json.dumps([(d.tensor.tolist(), d.cats, [t.tag_ for t in d]) for d in nlp.pipe(texts)]))\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert json.loads(out.stdout.splitlines()[-1]) == json.loads(json.dumps(scores(trained)))


def test_nothing_saved_is_a_pickle(trained, tmp_path):
    trained.to_disk(tmp_path)
    msg = srsly.msgpack_loads((tmp_path / "transfer_backbone" / "model").read_bytes())
    state = msg["shims"][0][0]
    header = int.from_bytes(state[:8], "little")
    assert "transformer.embeddings.word_embeddings.weight" in json.loads(state[8 : 8 + header])
    with pytest.raises(ValueError):
        list(pickletools.genops(state))


def test_not_yet_initialised_pipeline_round_trips(tmp_path, nlp):
    nlp.add_pipe("transfer_backbone")
    nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match="T406"):
        spacy.load(tmp_path)("a dog")


@pytest.mark.parametrize("harm", ["missing", "truncated", "tampered", "no checksum"])
def test_harmed_weight_file(trained, tmp_path, harm):
    trained.to_disk(tmp_path)
    file = tmp_path / "transfer_backbone" / "model"
    data = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    elif harm == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif harm == "tampered":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.with_name("model.sha256").unlink()
    with pytest.raises(ValueError, match=r"T40[78].*transfer_backbone/model"):
        spacy.load(tmp_path)


def test_two_processes(trained):
    """Same labels, scores to 1e-5, and it ends."""
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 6)]
    one = list(trained.pipe(texts))
    two = list(trained.pipe(texts, n_process=2, batch_size=5))
    for a, b in zip(one, two, strict=True):
        assert [t.tag_ for t in a] == [t.tag_ for t in b]
        numpy.testing.assert_allclose(list(a.cats.values()), list(b.cats.values()), atol=1e-5)


def test_a_forked_worker_uses_one_thread(trained, monkeypatch):
    import multiprocessing

    import torch

    shim = trained.get_pipe("transfer_backbone").model.shims[0]
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    trained("a dog")
    assert asked == []  # a child that loaded the pipeline itself may use what it has
    monkeypatch.setattr(shim, "_home", -1)
    trained("a dog")
    trained("a dog")
    assert asked == [1]


def test_replace_listeners_gives_heads_their_own_backbone(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger", "textcat"])
    step(nlp, examples, optimizer)
    before = [t.tag_ for t in nlp(TEXTS[0])]
    nlp.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    assert nlp.get_pipe("transfer_backbone").listening_components == ["textcat"]
    assert [t.tag_ for t in nlp(TEXTS[0])] == before
    config = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert config["@architectures"] == "spacy-transfer.TransformerBackbone.v1"
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert [t.tag_ for t in again(TEXTS[0])] == before
    assert step(nlp, examples, optimizer)["tagger"] > 0


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("rows_per", ["token", "document"])
def test_replaced_listeners_keep_what_they_read_and_whether_it_moves(tiny_bert, frozen, rows_per):
    listener = {"token": "Listener", "document": "DocumentListener"}[rows_per]
    head = {
        "@architectures": "spacy-transfer.TextCatHead.v1",
        "tok2vec": {"@architectures": f"spacy-transfer.{listener}.v1"},
    }
    models = {"transfer_textcat": head}
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["transfer_textcat"], frozen=frozen, models=models)
    for _ in range(3):
        step(nlp, examples, optimizer)
    before = nlp(TEXTS[0]).cats
    nlp.replace_listeners("transfer_backbone", "transfer_textcat", ["model.tok2vec"])
    nlp.remove_pipe("transfer_backbone")
    assert nlp(TEXTS[0]).cats == before
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert again(TEXTS[0]).cats == before

    def encoder():
        nodes = again.get_pipe("transfer_textcat").model.walk()
        (shim,) = [node.shims[0] for node in nodes if node.name == "transfer_transformer"]
        return shim.encoder

    old = {name: parameter.detach().clone() for name, parameter in encoder().named_parameters()}
    for _ in range(3):
        step(again, make_examples(again), optimizer)
    assert again(TEXTS[0]).cats != before
    moved = any((old[name] != parameter).any() for name, parameter in encoder().named_parameters())
    assert moved is not frozen


def test_same_seed_same_bytes(tiny_bert):
    saved = []
    for _ in range(2):
        nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
        for _ in range(3):
            step(nlp, examples, optimizer)
        saved.append(nlp.get_pipe("transfer_backbone").model.shims[0].to_bytes())
    assert saved[0] == saved[1]
