"""Deltas: what they leave out, what they share, and what they refuse.

Guards also: backbones/bases.py, backbones/transformer/shared.py.
"""

import gc
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest
import spacy
from safetensors.torch import load_file, save_file
from spacy.cli.package import package
from thinc.api import Adam

from spacy_transfer.backbones.transformer.shared import _LIVING
from spacy_transfer.engines.deltas import as_delta

from ..pipelines import TEXTS, make_examples, make_pipeline, step

LORA = {"method": "lora", "r": 2}


def tuning(**settings):
    return {"@misc": "spacy-transfer.Tuning.v1", **settings}


def trained(source, heads=("tagger", "textcat"), *, frozen=False, steps=2, **settings):
    nlp, examples, optimizer = make_pipeline(source, heads, frozen=frozen, **settings)
    for _ in range(steps):
        step(nlp, examples, optimizer)
    return nlp


@pytest.fixture
def base(tiny_bert, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "base"))


def block(source, **settings):
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": str(source)}
    return {"model": {**model, "window": 32, "overlap": 8, **settings}}


def shim_of(nlp):
    return nlp.get_pipe("transfer_backbone").model.shims[0]


def tensors(nlp):
    return {name: tensor.numpy().copy() for name, tensor in shim_of(nlp).encoder.state_dict().items()}


def save(nlp, folder):
    with as_delta(nlp) as deltas:
        nlp.to_disk(folder)
    return deltas[0]


def said(nlp):
    docs = list(nlp.pipe(TEXTS))
    return [doc.tensor.tobytes() for doc in docs], [doc.cats for doc in docs], [[t.tag_ for t in doc] for doc in docs]


KINDS = {
    "frozen": {"frozen": True},
    "lora": block("SOURCE", tuning=tuning(adapter=LORA)),
    "top": block("SOURCE", tuning=tuning(freeze=["embeddings", r"layer\.0\."])),
    "all": {},
    "mix": {**block("SOURCE", layers="mix", special_tokens=True), "frozen": True},
    "depth": {**block("SOURCE", depth=1), "frozen": True},
}


def make(kind, base):
    config = json.loads(json.dumps(KINDS[kind]).replace("SOURCE", base.as_posix()))
    return trained(base, **config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_delta_holds_what_the_source_does_not_and_predicts_the_same_bits(kind, base, tmp_path):
    nlp = make(kind, base)
    expected, before = said(nlp), (nlp.get_pipe("transfer_backbone").to_bytes(), nlp.config, {**nlp.meta})
    delta = save(nlp, tmp_path / "delta")
    assert (nlp.get_pipe("transfer_backbone").to_bytes(), nlp.config, nlp.meta) == before  # It saves as before.
    # A second way: the numbers in the file of the source.
    source = load_file(base / "model.safetensors")
    saved = {name: numpy.asarray(tensor) for name, tensor in shim_of(nlp).own_state().items()}
    names = [name.removeprefix("transformer.") for name in saved]
    own = [
        name
        for name, plain in zip(saved, names, strict=True)
        if plain not in source or not numpy.array_equal(saved[name], source[plain].numpy())
    ]
    assert sorted(delta.own) == sorted(own)
    assert bool(own) == (kind in ("top", "all", "mix"))
    whole = tmp_path / "whole"
    nlp.to_disk(whole)
    loaded = spacy.load(tmp_path / "delta")
    assert said(loaded) == said(spacy.load(whole)) == expected
    # What was loaded saves whole: it needs no base any more.
    loaded.to_disk(tmp_path / "again")
    assert (tmp_path / "again/transfer_backbone/model").read_bytes() == (whole / "transfer_backbone/model").read_bytes()


def test_the_file_is_as_small_as_what_it_holds(base, tmp_path):
    nlp = make("lora", base)
    assert save(nlp, tmp_path / "delta").n_weights == 0
    nlp.to_disk(tmp_path / "whole")
    size, whole = ((tmp_path / name / "transfer_backbone/model").stat().st_size for name in ("delta", "whole"))
    adapter = sum(4 * tensor.numel() for tensor in shim_of(nlp).adapter_tensors().values())
    assert adapter < size < adapter + 6000 < whole


def test_pipelines_of_one_base_share_its_memory_until_one_is_trained(base, tmp_path):
    for kind in ("frozen", "top"):
        save(make(kind, base), tmp_path / kind)
    frozen, top, third = (spacy.load(tmp_path / kind) for kind in ("frozen", "top", "frozen"))
    places = [{n: p.data_ptr() for n, p in shim_of(nlp).encoder.named_parameters()} for nlp in (frozen, top, third)]
    changed = {name for name in places[1] if ".layer.1." in name and places[0][name] != places[1][name]}
    assert changed and all(
        places[0][name] == places[1][name] for name in places[0] if ".layer.1." not in name and "pooler" not in name
    )
    assert places[0] == places[2]
    assert shim_of(frozen).pretrained.tokenizer is shim_of(third).pretrained.tokenizer
    before = tensors(frozen)
    third.get_pipe("transfer_backbone").frozen = False
    examples, optimizer = make_examples(third), Adam(0.01)
    for _ in range(2):
        step(third, examples, optimizer)
    moved = tensors(third)
    assert any(not numpy.array_equal(before[name], moved[name]) for name in before)
    assert all(numpy.array_equal(tensor, before[name]) for name, tensor in tensors(frozen).items())
    assert all(
        numpy.array_equal(tensor, before[name]) for name, tensor in tensors(spacy.load(tmp_path / "frozen")).items()
    )


def test_merging_an_adapter_leaves_the_base_as_it_is(base, tmp_path):
    save(make("lora", base), tmp_path / "lora")
    one, other = spacy.load(tmp_path / "lora"), spacy.load(tmp_path / "lora")
    expected = said(other)
    one.get_pipe("transfer_backbone").merge_adapter()
    assert said(other) == expected


def test_the_base_is_dropped_with_its_last_pipeline(base, tmp_path):
    save(make("frozen", base), tmp_path / "delta")
    gc.collect()
    before = len(_LIVING)
    nlp = spacy.load(tmp_path / "delta")
    assert len(_LIVING) == before + 1
    del nlp
    gc.collect()
    assert len(_LIVING) == before


def change_byte(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "vocab.txt"])
def test_a_base_that_changed_by_one_byte_is_refused(base, tmp_path, file):
    save(make("frozen", base), tmp_path / "delta")
    gc.collect()
    if not (base / file).exists():
        file = "tokenizer.json"
    change_byte(base / file, len((base / file).read_bytes()) // 2)
    with pytest.raises(ValueError, match=r"T227.*(an)?other .*there now") as error:
        spacy.load(tmp_path / "delta")
    assert str(base) in str(error.value)


def test_a_base_that_is_missing_says_what_to_do(base, tmp_path):
    save(make("frozen", base), tmp_path / "delta")
    expected = said(spacy.load(tmp_path / "delta"))
    gc.collect()
    base.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"T227.*not found.*T100.*model.source"):
        spacy.load(tmp_path / "delta")
    key = "components.transfer_backbone.model.source"
    assert said(spacy.load(tmp_path / "delta", config={key: str(tmp_path / "moved")})) == expected


def test_two_bases_under_one_name_are_told_apart(base, tmp_path):
    save(make("frozen", base), tmp_path / "one")
    first = spacy.load(tmp_path / "one")
    expected = said(first)
    changed = load_file(base / "model.safetensors")
    changed["embeddings.LayerNorm.bias"][0] += 0.5
    save_file(changed, base / "model.safetensors", {"format": "pt"})
    second = make("frozen", base)
    save(second, tmp_path / "two")
    loaded = spacy.load(tmp_path / "two")
    assert said(loaded) == said(second) != expected
    assert said(spacy.load(tmp_path / "one")) == expected  # Still in memory, under its own fingerprint.
    del first
    gc.collect()
    with pytest.raises(ValueError, match="T227"):
        spacy.load(tmp_path / "one")


def test_the_hub_is_not_asked_unless_it_is_allowed(base, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(source, *, local_files_only, **kwargs):
        asked.append(local_files_only)
        return str(base)

    nlp = make("frozen", base)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setenv("SPACY_TRANSFER_DOWNLOAD", "1")
    with as_delta(nlp, "some/encoder"):
        nlp.to_disk(tmp_path / "delta")
    assert not any(asked)
    monkeypatch.delenv("SPACY_TRANSFER_DOWNLOAD")
    asked.clear()
    assert said(spacy.load(tmp_path / "delta")) == said(nlp)
    assert asked and all(asked)


def test_a_file_that_is_cut_short_is_refused(base, tmp_path):
    save(make("lora", base), tmp_path / "delta")
    file = tmp_path / "delta/transfer_backbone/model"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match="T408"):
        spacy.load(tmp_path / "delta")


def test_a_delta_needs_the_base_that_it_was_trained_from(base, tmp_path):
    nlp = make("frozen", base)
    change_byte(base / "model.safetensors")
    with pytest.raises(ValueError, match=r"T704.*its weights are others"), as_delta(nlp):
        pass
    base.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"T704.*T100"), as_delta(nlp):
        pass
    with pytest.raises(ValueError, match="T703"), as_delta(spacy.blank("en")):
        pass


@pytest.fixture
def tiny_package(tiny_bert, tmp_path, monkeypatch):
    site = tmp_path / "site"
    shutil.copytree(tiny_bert, site / "tiny_base" / "model")
    (site / "tiny_base" / "__init__.py").touch()
    about = site / "tiny_base-2.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-base\nVersion: 2.5\n")
    (about / "top_level.txt").write_text("tiny_base\n")
    monkeypatch.syspath_prepend(str(site))
    return site / "tiny_base" / "model"


def test_a_wheel_requires_the_package_of_the_base(tiny_package, tmp_path):
    nlp = trained(tiny_package, frozen=True)
    delta = save(nlp, tmp_path / "delta")
    assert (delta.base.source, delta.base.requirement) == ("package:tiny_base/model", "tiny-base==2.5")
    assert nlp.config["components"]["transfer_backbone"]["model"]["source"] == str(tiny_package)
    assert "requirements" not in nlp.meta
    package(tmp_path / "delta", tmp_path, name="small", version="1.0", create_sdist=False)
    [meta] = tmp_path.glob("en_small-1.0/meta.json")
    assert "tiny-base==2.5" in json.loads(meta.read_text())["requirements"]
    [inner] = tmp_path.glob("en_small-1.0/en_small/en_small-1.0")
    expected = said(nlp)
    del nlp
    assert said(spacy.load(inner)) == expected
    shutil.rmtree(tiny_package.parent)
    gc.collect()
    with pytest.raises(ValueError, match=r"T227.*pip install tiny-base==2\.5"):
        spacy.load(inner)


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--disable-pip-version-check"], check=True)


@pytest.mark.slow
def test_a_wheel_of_a_delta_is_installed_and_loads(tiny_package, tmp_path, monkeypatch):
    """What pip does, without a network: the wheel has no weights of the base, and loads by its name."""
    nlp = trained(tiny_package, frozen=True)
    save(nlp, tmp_path / "delta")
    expected = said(nlp)
    package(tmp_path / "delta", tmp_path, name="wheeled", version="1.0", create_sdist=False)
    pip("wheel", tmp_path / "en_wheeled-1.0", "--no-build-isolation", "--wheel-dir", tmp_path / "dist")
    [wheel] = (tmp_path / "dist").glob("en_wheeled-1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [about] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert "Requires-Dist: tiny-base==2.5" in archive.read(about).decode()
        [model] = [name for name in archive.namelist() if name.endswith("transfer_backbone/model")]
        assert archive.getinfo(model).file_size < 4000
    pip("install", wheel, "--target", tmp_path / "target")
    shutil.rmtree(tmp_path / "delta")
    shutil.rmtree(tmp_path / "en_wheeled-1.0")
    monkeypatch.syspath_prepend(str(tmp_path / "target"))
    assert said(spacy.load("en_wheeled")) == expected
