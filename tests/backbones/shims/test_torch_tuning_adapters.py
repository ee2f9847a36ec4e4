"""Adapters in a pipeline: what moves, what is saved, what merging changes.

Guards also: tuning/adapters.py.
"""

import json

import numpy
import pytest
import spacy
import torch
from safetensors.torch import load_file
from thinc.api import Adam

from spacy_transfer.pipeline.callbacks import merged_copy
from spacy_transfer.tuning.adapters import inject, plain_name
from spacy_transfer.tuning.optimizers import adamw_v1
from spacy_transfer.tuning.policy import build_tuning_v1

from ...pipelines import TEXTS, step
from .test_torch_tuning import encoder, pipeline

METHODS = {
    "lora": {"method": "lora", "r": 2},
    "dora": {"method": "lora", "r": 2, "use_dora": True},
    "rslora on all linear layers": {"method": "lora", "r": 2, "use_rslora": True, "target_modules": "all-linear"},
    "ia3": {
        "method": "ia3",
        "target_modules": ["key", "value", "output.dense"],
        "feedforward_modules": ["output.dense"],
    },
    "loha": {"method": "loha", "r": 2, "target_modules": ["query", "value"]},
}


def shim_of(nlp):
    return nlp.get_pipe("transfer_backbone").model.shims[0]


def split_state(nlp):
    """Tensors of the encoder by plain names, and of the adapter."""
    shim = shim_of(nlp)
    adapter = {f"transformer.{name}" for name in shim.adapter_tensors()}
    state = {name: tensor.detach().clone() for name, tensor in encoder(nlp).state_dict().items()}
    base = {plain_name(name): tensor for name, tensor in state.items() if name not in adapter}
    return base, {name: state[name] for name in adapter}


def train(nlp, examples, n_steps=6, optimizer=None):
    optimizer = optimizer or adamw_v1(learn_rate=0.05, weight_decay=0.1)
    for _ in range(n_steps):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()


def rows(nlp):
    return numpy.concatenate([doc.tensor for doc in nlp.pipe(TEXTS)])


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("optimizer", [None, Adam(0.05, L2=0.1)], ids=["ours", "Thinc's Adam"])
def test_only_the_adapter_moves(tiny_bert, name, optimizer):
    nlp, examples, _ = pipeline(tiny_bert, adapter=METHODS[name])
    base, adapter = split_state(nlp)
    source = load_file(f"{tiny_bert}/model.safetensors")
    assert set(base) == {f"transformer.{key}" for key in source}
    train(nlp, examples, optimizer=optimizer)
    base_after, adapter_after = split_state(nlp)
    for key, tensor in source.items():
        assert (base_after[f"transformer.{key}"] == tensor).all(), key
    assert adapter and any((adapter_after[key] != tensor).any() for key, tensor in adapter.items())
    assert sum(t.numel() for t in adapter.values()) < 0.6 * sum(t.numel() for t in base.values())


def test_it_begins_as_the_plain_encoder(tiny_bert):
    with_adapter, _, _ = pipeline(tiny_bert, adapter=METHODS["lora"])
    without, _, _ = pipeline(tiny_bert)
    numpy.testing.assert_array_equal(rows(with_adapter), rows(without))


def test_biases_only(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, adapter={"method": "bias"})
    before = {name: p.detach().clone() for name, p in encoder(nlp).named_parameters()}
    train(nlp, examples)
    moved = {name for name, p in encoder(nlp).named_parameters() if (p.detach() != before[name]).any()}
    assert moved and all(name.endswith(".bias") for name in moved)
    assert len(moved) > 15


@pytest.mark.parametrize("name", sorted(METHODS))
def test_saved_loaded_and_trained_on(tiny_bert, tmp_path, name):
    nlp, examples, _ = pipeline(tiny_bert, adapter=METHODS[name])
    train(nlp, examples, 3)
    expected = rows(nlp)
    nlp.to_disk(tmp_path)
    for again in (spacy.load(tmp_path), spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())):
        assert (rows(again) == expected).all()
        assert [doc.to_json()["tokens"] for doc in again.pipe(TEXTS)] == [
            doc.to_json()["tokens"] for doc in nlp.pipe(TEXTS)
        ]
        base, adapter = split_state(again)
        train(again, examples, 2)
        base_after, adapter_after = split_state(again)
        assert all((base_after[key] == tensor).all() for key, tensor in base.items())
        assert any((adapter_after[key] != tensor).any() for key, tensor in adapter.items())
    copy = nlp.get_pipe("transfer_backbone").model.copy()
    assert (copy.predict([nlp.make_doc(TEXTS[0])])[0] == nlp(TEXTS[0]).tensor).all()


@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
def test_merging_keeps_what_it_predicts(tiny_bert, tmp_path, name):
    nlp, examples, _ = pipeline(tiny_bert, ["textcat"], adapter=METHODS[name])
    train(nlp, examples)
    merged = merged_copy(nlp)
    scale = numpy.abs(rows(nlp)).max()
    assert numpy.abs(rows(merged) - rows(nlp)).max() <= 1e-5 * scale
    for one, other in zip(nlp.pipe(TEXTS), merged.pipe(TEXTS), strict=True):
        assert one.cats == pytest.approx(other.cats, rel=1e-4)
    assert shim_of(nlp).adapter is not None  # The pipeline itself stays as it is.
    assert not [n for n, _ in encoder(merged).named_parameters() if "base_layer" in n or "lora" in n or "ia3" in n]
    merged.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert (rows(loaded) == rows(merged)).all()
    assert loaded.config["components"]["transfer_backbone"]["model"]["tuning"]["adapter"] is None
    assert "lora" not in (tmp_path / "config.cfg").read_text()
    before, _ = split_state(loaded)
    train(loaded, examples, 2)  # Now an encoder like any other: all of it moves.
    after, _ = split_state(loaded)
    assert sum((after[key] != tensor).any().item() for key, tensor in before.items()) > 20


def test_merge_in_place_and_nothing_to_merge(tiny_bert):
    nlp, examples, _ = pipeline(tiny_bert, adapter=METHODS["lora"])
    train(nlp, examples, 3)
    before = rows(nlp)
    nlp.get_pipe("transfer_backbone").merge_adapter()
    numpy.testing.assert_allclose(rows(nlp), before, rtol=1e-4, atol=1e-5)
    weights, _ = split_state(nlp)
    train(nlp, examples, 2)  # From now on all of it moves.
    after, _ = split_state(nlp)
    assert sum((after[key] != tensor).any().item() for key, tensor in weights.items()) > 20
    with pytest.raises(ValueError, match="T648.*transfer_backbone.*merge"):
        nlp.get_pipe("transfer_backbone").merge_adapter()
    with pytest.raises(ValueError, match="T648.*save"):
        nlp.get_pipe("transfer_backbone").save_adapter("never")


def test_an_adapter_of_its_own_file(tiny_bert, tmp_path):
    nlp, examples, _ = pipeline(tiny_bert, adapter=METHODS["lora"])
    train(nlp, examples, 3)
    nlp.get_pipe("transfer_backbone").save_adapter(tmp_path / "adapter")
    size = sum(file.stat().st_size for file in (tmp_path / "adapter").iterdir())
    assert size < 0.2 * len(nlp.get_pipe("transfer_backbone").to_bytes())
    again, _, _ = pipeline(tiny_bert, adapter={"method": "lora", "source": str(tmp_path / "adapter")})
    assert (rows(again) == rows(nlp)).all()
    assert shim_of(again).adapter["r"] == 2


def test_peft_reads_it_too(tiny_bert, tmp_path):
    from peft import PeftModel
    from transformers import AutoModel

    nlp, examples, _ = pipeline(tiny_bert, adapter={"method": "lora", "r": 2, "lora_alpha": 5})
    train(nlp, examples, 3)
    nlp.get_pipe("transfer_backbone").save_adapter(tmp_path)
    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_bert), tmp_path).eval()
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        expected = theirs(input_ids=ids).last_hidden_state
        found = encoder(nlp).transformer.eval()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, expected)


def test_an_adapter_of_other_weights(tiny_bert, tmp_path):
    nlp, _, _ = pipeline(tiny_bert, adapter=METHODS["lora"])
    component = nlp.get_pipe("transfer_backbone")
    shim_of(nlp).pretrained.fingerprint = "0" * 64
    component.save_adapter(tmp_path / "one")
    with pytest.raises(ValueError, match="T646.*000000000000"):
        pipeline(tiny_bert, adapter={"method": "lora", "source": str(tmp_path / "one")})
    with pytest.raises(ValueError, match="T647.*adapter_config.json"):
        pipeline(tiny_bert, adapter={"method": "lora", "source": str(tmp_path)})
    with pytest.raises(ValueError, match="T647.*holds a lora adapter"):
        pipeline(tiny_bert, adapter={"method": "ia3", "source": str(tmp_path / "one")})
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    (tmp_path / "one" / "adapter_config.json").write_text(json.dumps({**config, "r": 3}))
    shim_of(nlp).pretrained.fingerprint = ""
    with pytest.raises(ValueError, match="T646|T102"):
        pipeline(tiny_bert, adapter={"method": "lora", "source": str(tmp_path / "one")})


def test_a_pipeline_as_source_gives_its_merged_encoder(tiny_bert, tmp_path):
    nlp, examples, _ = pipeline(tiny_bert, adapter=METHODS["lora"])
    train(nlp, examples, 3)
    nlp.to_disk(tmp_path)
    again, _, _ = pipeline(str(tmp_path))
    numpy.testing.assert_allclose(rows(again), rows(nlp), rtol=1e-4, atol=1e-5)
    assert set(encoder(again).state_dict()) == {
        f"transformer.{key}" for key in load_file(f"{tiny_bert}/model.safetensors")
    }
    reloaded = spacy.blank("en").from_config(again.config).from_bytes(again.to_bytes())
    assert (rows(reloaded) == rows(again)).all()


def test_slips_of_the_pen(tiny_bert, monkeypatch):
    with pytest.raises(ValueError, match="T640.*'r'"):
        build_tuning_v1(adapter={"r": 4})
    with pytest.raises(ValueError, match="T641.*lora"):
        build_tuning_v1(adapter={"method": "lora"}, freeze=2)
    with pytest.raises(ValueError, match="T643.*lorra.*lora"):
        pipeline(tiny_bert, adapter={"method": "lorra"})
    with pytest.raises(ValueError, match="T644.*rank"):
        pipeline(tiny_bert, adapter={"method": "lora", "rank": 2})
    with pytest.raises(ValueError, match="T645.*q_proj.*query"):
        pipeline(tiny_bert, adapter={"method": "lora", "target_modules": ["q_proj"]})
    with pytest.raises(ValueError, match="T644.*modules_to_save"):
        pipeline(tiny_bert, adapter={"method": "lora", "modules_to_save": ["pooler"]})
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ImportError, match=r"T642.*spacy-transfer\[peft\]"):
        inject(torch.nn.Linear(2, 2), {"method": "lora"})


@pytest.mark.parametrize(
    "options",
    [
        {"method": "lora", "r": 10**9},
        {"method": "lora", "rank_pattern": {"query": 10**9}, "target_modules": ["query"]},
        {"method": "loha", "r": 10**9, "target_modules": ["query"]},
        {"method": "adalora", "init_r": 10**9, "total_step": 10},
        {"method": "vblora", "num_vectors": 10**9, "vector_length": 4, "target_modules": ["query"]},
    ],
)
def test_absurd_sizes_take_no_memory(options):
    with pytest.raises(ValueError, match="T644.*1000000000.*at most 4096"):
        inject(torch.nn.Sequential(torch.nn.Linear(8, 8)), options)


def test_prompt_methods_have_no_place_in_an_encoder(tiny_bert):
    with pytest.raises(ValueError, match="T643"):
        pipeline(tiny_bert, adapter={"method": "prefix_tuning"})


def test_an_adapter_alone_has_a_checksum(tmp_path):
    import torch

    from spacy_transfer.tuning.adapters import read_adapter, save_adapter

    lora = {"method": "lora", "r": 2, "target_modules": ["query"]}
    save_adapter(tmp_path, lora, {"layer.lora_A.default.weight": torch.ones(2, 4)}, "f" * 64)
    _, tensors = read_adapter(str(tmp_path), lora, "f" * 64)
    assert tensors["layer.lora_A.weight"].sum() == 8
    weights, sums = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_model.safetensors.sha256"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match="T408.*adapter_model"):
        read_adapter(str(tmp_path), lora, "f" * 64)
    weights.write_bytes(good)
    sums.unlink()
    with pytest.raises(ValueError, match="T407.*adapter_model.safetensors.sha256"):
        read_adapter(str(tmp_path), lora, "f" * 64)
