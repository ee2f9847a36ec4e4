"""What is saved is what runs.

Guards also: backbones/own_backbone.py.
"""

import copy
import json
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
import srsly
from spacy import registry
from thinc.api import Adam

from spacy_transfer.integrity import unseal

from ...pipelines import TAGGER, backbone_config, make_examples, make_pipeline, step

pytestmark = pytest.mark.wheel

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
    state = unseal(msg["shims"][0][0], "it")
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
    with pytest.raises(ValueError, match=r"T40[78].*transfer_backbone/model.*model-best"):
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


OLD = Path(__file__).parents[2] / "saved" / "pipelines"


def harm(file, how):
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    if how == "empty":
        data.clear()
    elif how == "truncated":
        del data[len(data) // 2 :]
    else:
        data[int(how) % len(data)] ^= 1 << int(how) % 8
    file.write_bytes(data)


HARMS = ["missing", "empty", "truncated", *range(0, 3000, 277)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline of `tests/saved`, saved by the code of today."""
    folder = tmp_path_factory.mktemp("saved")
    spacy.load(OLD / "heads").to_disk(folder / "heads")
    return folder


@pytest.mark.parametrize("name", ["transfer_backbone", "transfer_textcat", "transfer_ner", "transfer_regressor"])
def test_a_harmed_file_is_an_error_that_names_it(saved, tmp_path, name):
    files = sorted(file.name for file in (saved / "heads" / name).iterdir())
    assert files == ["cfg", "cfg.sha256", "model", "model.sha256"]
    pipe = spacy.load(saved / "heads").get_pipe(name)
    for file in files:
        for how in HARMS:
            shutil.copytree(saved / "heads" / name, tmp_path / name, dirs_exist_ok=True)
            harm(tmp_path / name / file, how)
            with pytest.raises(ValueError, match=rf"T40[78].*{name}/{file.removesuffix('.sha256')}.*model-best"):
                pipe.from_disk(tmp_path / name, exclude=["vocab"])


@pytest.mark.parametrize("gone", ["transfer_textcat", "transfer_textcat/*", "vocab"])
def test_a_pipeline_that_was_not_saved_whole(saved, tmp_path, gone):
    shutil.copytree(saved / "heads", tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / gone.removesuffix("/*"))
    if gone.endswith("*"):
        (tmp_path / "transfer_textcat").mkdir()
    with pytest.raises(ValueError, match=rf"T407.*{gone.removesuffix('/*')}.*not saved whole.*model-best"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("how", ["truncated", "empty"])
@pytest.mark.parametrize("file", ["cfg", "model"])
def test_old_heads_without_checksums(tmp_path, file, how):
    """They load (`test_saved.py`); what cannot be parsed is named."""
    shutil.copytree(OLD / "heads", tmp_path, dirs_exist_ok=True)
    harm(tmp_path / "transfer_ner" / file, how)
    with pytest.raises(ValueError, match=f"T437.*transfer_ner/{file}"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("field", ["nodes", "attrs", "params", "shims"])
@pytest.mark.parametrize("value", ["gone", 7, [], [1], {"a": 1}])
def test_fields_of_an_old_head(tmp_path, field, value):
    shutil.copytree(OLD / "heads" / "transfer_ner", tmp_path, dirs_exist_ok=True)
    pipe = spacy.load(OLD / "heads").get_pipe("transfer_ner")
    msg = srsly.msgpack_loads((tmp_path / "model").read_bytes())
    del msg[field]
    (tmp_path / "model").write_bytes(srsly.msgpack_dumps(msg | ({} if value == "gone" else {field: value})))
    with pytest.raises(ValueError, match="T437|E149"):
        pipe.from_disk(tmp_path, exclude=["vocab"])


def test_a_harmed_file_of_the_drop_in(peer, tmp_path):
    nlp = spacy.load(OLD / "dropin")
    nlp.to_disk(tmp_path / "saved")
    pipe, harmed = nlp.get_pipe("transformer"), tmp_path / "harmed"
    for how in [*HARMS[1:], *range(30, 40_000, 3001)]:
        shutil.copytree(tmp_path / "saved" / "transformer", harmed, dirs_exist_ok=True)
        harm(harmed / "model", how)
        with pytest.raises(ValueError, match="T437.*`model`"):
            pipe.from_disk(harmed, exclude=["vocab"])


def test_a_backbone_inside_a_stock_head_has_its_own_checksum(tmp_path):
    """After `nlp.replace_listeners` the file is spaCy's."""
    spacy.load(OLD / "replaced").to_disk(tmp_path)
    file = tmp_path / "tagger" / "model"
    good = file.read_bytes()
    pipe = spacy.load(OLD / "replaced").get_pipe("tagger")
    start = good.index(b"spacy-transfer.sha256\n") + 25
    for at in range(start, start + 35_000, 2503):
        file.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(ValueError, match="T437.*encoder.*checksum"):
            pipe.from_disk(file.parent, exclude=["vocab"])


@pytest.mark.parametrize("most", range(4))
def test_a_head_is_saved_over_whole(saved, tmp_path, monkeypatch, most):
    """Killed between any two renames, the old files are there or the new ones."""
    shutil.copytree(saved / "heads" / "transfer_textcat", tmp_path, dirs_exist_ok=True)
    pipe = spacy.load(saved / "heads").get_pipe("transfer_textcat")
    bias = pipe.model.get_ref("output").get_param("b")
    before = bias.copy()
    bias += 1
    renames = []

    def counted(self, target, real=Path.replace):
        if len(renames) == most:
            raise KeyboardInterrupt
        renames.append(target)
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", counted)
        pipe.to_disk(tmp_path, exclude=["vocab"])
    pipe.from_disk(tmp_path, exclude=["vocab"])
    found = pipe.model.get_ref("output").get_param("b")
    # One rename for cfg, which is the same; then checksums, model, checksums.
    assert found.tolist() == (before if most < 3 else before + 1).tolist()


OPTIMIZERS = {
    "thinc": lambda: Adam(0.01),
    "ours": lambda: registry.resolve({"o": {"@optimizers": "spacy-transfer.AdamW.v1"}})["o"],
}
KINDS = {
    "plain": {},
    "frozen": {"frozen": True},
    "pcgrad": {"surgery": "pcgrad", "weighing": {"@misc": "spacy-transfer.TaskWeights.v1", "weights": {"tagger": 2.0}}},
}


COPIES = {"pickle": lambda nlp: pickle.loads(pickle.dumps(nlp)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_pipeline_in_training(tiny_bert, kind, optimizer, how):
    """Also with a step that is owed: a copy is what would be saved, and learns by itself."""
    nlp, examples, _ = make_pipeline(tiny_bert, ["tagger", "textcat"], **KINDS[kind])
    optimizer = OPTIMIZERS[optimizer]()
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)
    twin = COPIES[how](nlp)
    assert scores(twin) == scores(nlp)
    before = scores(nlp)
    step(twin, make_examples(twin), Adam(0.01))
    assert scores(nlp) == before != scores(twin)


@pytest.mark.parametrize("tuning", [{"freeze": 1}, {"anchor": 0.1}, {"adapter": {"method": "lora", "r": 2}}], ids=str)
def test_states_on_disk_are_not_pickled(tiny_bert, tuning):
    nlp = spacy.blank("en")
    config = backbone_config(tiny_bert, tuning={"@misc": "spacy-transfer.Tuning.v1", **tuning})
    nlp.add_pipe("transfer_backbone", config={**config, "cache_mb": 0, "cache_disk_mb": 1})
    nlp.add_pipe("tagger", config={"model": TAGGER})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    step(nlp, examples, Adam(0.01))
    twin = pickle.loads(pickle.dumps(nlp))
    assert twin("a dog").tensor.tolist() == nlp("a dog").tensor.tolist()


def test_worker_processes_after_an_update(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
    nlp.update(examples, sgd=optimizer)
    try:
        two = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS * 3, n_process=2, batch_size=3)]
    except ValueError as error:  # Builds of torch with threads for devices.
        assert "T162" in str(error)
        nlp("")
        two = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS * 3, n_process=2, batch_size=3)]
    assert two == [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS * 3)]


def test_a_step_that_torch_cannot_make_in_a_worker_process(tiny_bert, monkeypatch):
    """What torch says there, raised where it would be; other errors stay as they are."""
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger"])
    backbone = nlp.get_pipe("transfer_backbone")
    for message, code in (
        ("Unable with fork-based multiprocessing", "T162.*transfer_backbone"),
        ("x", "^x$"),
    ):
        nlp.update(examples, sgd=optimizer)

        def fail(*args, message=message):
            raise RuntimeError(message)

        monkeypatch.setattr(backbone.steps.pending, "backprop", fail)
        with pytest.raises((ValueError, RuntimeError), match=code):
            nlp("")
