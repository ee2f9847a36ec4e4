"""The drop-in beside a spacy-transformers that is not the tested one: a tiny package with the names that it needs, as
release 2.0, and the same package with one of the names missing."""

import importlib
import sys
import textwrap

import pytest

OURS, THEIRS = "spacy_transfer.backbones.spacy_transformers", "spacy_transformers"
STUB = {
    "__init__.py": "",
    "data_classes.py": """
        class HFObjects:
            def __init__(self, tokenizer, transformer, vocab_file_contents, tokenizer_config, transformer_config):
                self.tokenizer, self.transformer, self.vocab_file_contents = tokenizer, transformer, vocab_file_contents
                self._init_tokenizer_config, self._init_transformer_config = tokenizer_config, transformer_config
        """,
    "layers/hf_shim.py": """
        from thinc.api import PyTorchShim

        class HFShim(PyTorchShim):
            def __init__(self, objects, *, mixed_precision=False, grad_scaler_config=None):
                super().__init__(objects.transformer)
                self._hfmodel = objects
        """,
    "layers/__init__.py": """
        from thinc.api import Model

        from ..data_classes import HFObjects
        from .hf_shim import HFShim

        class TransformerModel(Model):
            def __init__(self, name, get_spans, tokenizer_config={}, transformer_config={}):
                shim = HFShim(HFObjects(None, None, None, tokenizer_config, transformer_config))
                attrs = {"name": name, "get_spans": get_spans, "has_transformer": False, "set_transformer": len}
                attrs["replace_listener_cfg"] = len
                encoder = Model("encoder", len, shims=[shim])
                super().__init__("transformer", len, init=len, layers=[encoder], attrs=attrs)

        def split_trf_batch():
            return Model("split_trf_batch", len)

        def trfs2arrays(pooling, grad_factor):
            return Model("trfs2arrays", len, layers=[pooling], attrs={"grad_factor": grad_factor})
        """,
}


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Installs the package for one test. Modules that were imported before are back after it."""
    before = dict(sys.modules)

    def forget():
        for name in list(sys.modules):
            if name.split(".")[0] == THEIRS or name.startswith(f"{OURS}.dropin"):
                del sys.modules[name]

    def install(without="-"):
        for name, text in STUB.items():
            file = tmp_path / THEIRS / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).replace(without, "removed"))
        info = tmp_path / "spacy_transformers-2.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spacy-transformers\nVersion: 2.0.0\n")
        monkeypatch.syspath_prepend(tmp_path)

    forget()
    yield install
    forget()
    parent = importlib.import_module(OURS)
    for name, module in before.items():
        sys.modules.setdefault(name, module)
        if name.startswith(f"{OURS}.dropin"):
            setattr(parent, name.rpartition(".")[2], module)


def build(name="TransformerModel"):
    builders = importlib.import_module(f"{OURS}.dropin")
    if name == "TransformerModel":
        return builders.build_transformer_model_v1(name="a/b", get_spans=len)
    from thinc.api import Linear

    return builders.build_tok2vec_transformer_v1(name="a/b", get_spans=len, pooling=Linear(2, 2), grad_factor=0.5)


def test_a_newer_release_with_the_same_names(install):
    install()
    model = build()
    theirs = importlib.import_module("spacy_transformers.layers")
    assert isinstance(model, theirs.TransformerModel) and isinstance(model.shim, theirs.HFShim)
    assert type(model.shim).__name__ == "DropInShim" and model.shim is model.layers[0].shims[0]
    pooled = [node.attrs["grad_factor"] for node in build("Tok2Vec").walk() if node.name == "trfs2arrays"]
    assert pooled == [0.5]


@pytest.mark.parametrize("name", ["HFObjects", "TransformerModel", "split_trf_batch", "trfs2arrays", "HFShim"])
@pytest.mark.parametrize("builder", ["TransformerModel", "Tok2Vec"])
def test_a_newer_release_without_one_of_the_names(name, builder, install):
    install(without=name)
    with pytest.raises(ImportError, match=rf"T161.*installed as 2\.0\.0.*{name}.*TransformerBackbone\.v1"):
        build(builder)


def test_no_spacy_transformers(install, monkeypatch):
    sys.modules[THEIRS] = None  # `install` takes it away again.
    monkeypatch.setattr("spacy_transfer._compat.version", lambda name: importlib.metadata.version("not-" + name))
    with pytest.raises(ImportError, match="T161.*is not installed.*pip install 'spacy-transformers") as raised:
        build()
    assert raised.value.name.split(".")[0] == THEIRS
