"""Nothing in a source or a saved backbone runs, and nothing damaged is taken: one coded error each.

Guards also: tokenizer_checks.py.
"""

import builtins
import json
import shutil
from pathlib import Path

import numpy
import pytest
import spacy
import srsly
import torch
from safetensors.torch import load_file, save_file
from spacy.tokens import Doc

from spacy_transfer.backbones.shims.safetensors_shim import dump_tensors, read_metadata, read_state
from spacy_transfer.backbones.sources import resolve_package, resolve_source
from spacy_transfer.backbones.transformer.pretrained import rebuild
from spacy_transfer.backbones.transformer.reading.tokenizer_checks import read_tokenizer
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.backbones.vectors.vector_files import read_vectors
from spacy_transfer.huggingface.files import read_checkpoint
from spacy_transfer.integrity import unpack, unseal
from spacy_transfer.tuning.adapters import inject

CODED = r"^\[T\d+\]"
DROP_IN = {
    "@architectures": "spacy-transfer.TransformerModel.v1",
    "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 8, "stride": 6},
}


def build(source):
    return build_transformer_backbone_v1(source=str(source), window=32, overlap=8)


def initialize(source):
    model = build(source)
    model.initialize()
    return model


def drop_in(source, **settings):
    pytest.importorskip("spacy_transformers", exc_type=ImportError)
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": {**DROP_IN, "name": str(source), **settings}})
    nlp.initialize()
    return nlp


READERS = {"backbone": initialize, "drop-in": drop_in}


@pytest.fixture
def copy(tiny_bert, tmp_path):
    return Path(shutil.copytree(tiny_bert, tmp_path / "copy"))


def edit(file, **changes):
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps(values))


@pytest.fixture
def trap(copy, monkeypatch):
    """Code in the folder that leaves a mark, and somebody who agrees to everything."""
    mark = copy.parent / "ran"
    lines = [
        f"open({str(mark)!r}, 'w')",
        "from transformers import BertConfig, BertModel, BertTokenizerFast",
        "class C(BertConfig):",
        "    model_type = 'own'",
        "class M(BertModel):",
        "    config_class = C",
        "class T(BertTokenizerFast):",
        "    pass",
    ]
    (copy / "own.py").write_text("\n".join(lines))
    asked = []
    monkeypatch.setattr(builtins, "input", lambda *args: asked.append(args) or "y")
    yield copy
    assert not asked and not mark.exists()


AUTO = {"AutoConfig": "own.C", "AutoModel": "own.M"}


@pytest.mark.parametrize("reader", READERS)
def test_code_of_a_model_is_refused(trap, reader):
    edit(trap / "config.json", model_type="own", auto_map=AUTO)
    with pytest.raises(ValueError, match=r"T124.*auto_map"):
        READERS[reader](trap)


@pytest.mark.parametrize("reader", READERS)
def test_code_below_the_top_of_a_config_is_refused(trap, reader):
    edit(trap / "config.json", text_config={"model_type": "bert", "auto_map": AUTO})
    with pytest.raises(ValueError, match=r"T124"):
        READERS[reader](trap)


@pytest.mark.parametrize("reader", READERS)
def test_code_of_a_tokenizer_is_refused(trap, reader):
    edit(trap / "tokenizer_config.json", tokenizer_class="T", auto_map={"AutoTokenizer": [None, "own.T"]})
    with pytest.raises(ValueError, match=r"T124.*own\.T"):
        READERS[reader](trap)


def test_a_known_tokenizer_is_read_by_transformers_own_class(trap, tiny_bert):
    edit(
        trap / "tokenizer_config.json", tokenizer_class="BertTokenizerFast", auto_map={"AutoTokenizer": [None, "own.T"]}
    )
    read, plain = initialize(trap).shims[0].pretrained.tokenizer, initialize(tiny_bert).shims[0].pretrained.tokenizer
    text = "a dog sings zq"
    assert read.encode(text).ids == plain.encode(text).ids


@pytest.mark.parametrize("reader", READERS)
def test_a_known_kind_is_read_by_transformers_own_class(trap, reader):
    edit(trap / "config.json", auto_map=AUTO)
    with pytest.warns(UserWarning, match="W124"):
        read = READERS[reader](trap)
    saved = read.to_bytes() if reader == "backbone" else read.get_pipe("transformer").model.to_bytes()
    assert b"own.M" not in saved


def test_code_of_a_checkpoint_is_refused(trap):
    edit(trap / "config.json", model_type="own", auto_map=AUTO, architectures=["BertForSequenceClassification"])
    with pytest.raises(ValueError, match="T124"):
        read_checkpoint(str(trap))


@pytest.mark.parametrize("key", ["tokenizer_config", "transformer_config"])
def test_a_config_cannot_ask_the_drop_in_to_trust(trap, key):
    with pytest.raises(ValueError, match=f"T137.*{key}"):
        drop_in(trap, **{key: {"trust_remote_code": True}})


def manipulate(nlp, folder, change):
    """Change what the shim of a transformer component has saved."""
    nlp.to_disk(folder)
    (file,) = folder.glob("transformer/model")
    saved = unpack(file.read_bytes(), "the component")
    (node,) = [i for i, shims in enumerate(saved["shims"]) if shims]
    state = unpack(saved["shims"][node][0], "the shim")
    change(state)
    saved["shims"][node][0] = srsly.msgpack_dumps(state)
    file.write_bytes(srsly.msgpack_dumps(saved))
    for checksum in folder.glob("transformer/*.sha256"):
        checksum.unlink()


def change_json(files, name, **changes):
    files[name] = json.dumps({**json.loads(files[name]), **changes}).encode()


def test_a_manipulated_drop_in_runs_nothing(trap, tiny_bert, tmp_path):
    def plant(state):
        state["files"]["own.py"] = (trap / "own.py").read_bytes()
        change_json(state["files"], "config.json", model_type="own", auto_map=AUTO)

    manipulate(drop_in(tiny_bert), tmp_path / "saved", plant)
    with pytest.raises(ValueError, match="T124"):
        spacy.load(tmp_path / "saved")


@pytest.mark.parametrize("name", ["../out", "..", "/tmp/out"])
def test_files_of_a_drop_in_stay_in_their_folder(tiny_bert, tmp_path, name):
    manipulate(drop_in(tiny_bert), tmp_path / "saved", lambda state: state["files"].update({name: b""}))
    with pytest.raises(ValueError, match="T130.*files"):
        spacy.load(tmp_path / "saved")


@pytest.mark.parametrize("field", ["class", "files", "is_fast", "adapter", "adapter_state", "steps", "fingerprint"])
@pytest.mark.parametrize("value", ["missing", 1.5, ["x"]])
def test_fields_of_a_drop_in(tiny_bert, tmp_path, field, value):
    def change(state):
        del state[field]
        if value != "missing":
            state[field] = value

    manipulate(drop_in(tiny_bert), tmp_path / "saved", change)
    with pytest.raises(ValueError, match=f"T130.*{field}"):
        spacy.load(tmp_path / "saved")


def test_a_source_that_spacy_transformers_saved(peer, trap, tiny_bert, tmp_path):
    """Its file may even say that code is trusted."""
    nlp = spacy.blank("en")
    block = {**DROP_IN, "@architectures": "spacy-transformers.TransformerModel.v3", "name": tiny_bert}
    nlp.add_pipe("transformer", config={"model": block})
    nlp.initialize()

    def plant(state):
        state["tokenizer"]["own.py"] = (trap / "own.py").read_bytes()
        auto = {"AutoTokenizer": [None, "own.T"]}
        change_json(state["tokenizer"], "tokenizer_config.json", tokenizer_class="T", auto_map=auto)
        state["tokenizer"]["kwargs"] = {"trust_remote_code": True}

    manipulate(nlp, tmp_path / "saved", plant)
    with pytest.raises(ValueError, match="T138.*trust_remote_code"):
        initialize(tmp_path / "saved")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["owner/repo:function", "kernel_owner_repo", 3, {"": "owner/repo:function"}])
@pytest.mark.parametrize("nested", [False, True])
def test_attention_of_others(copy, key, value, nested):
    edit(copy / "config.json", **({"text_config": {key: value}} if nested else {key: value}))
    with pytest.raises(ValueError, match=f"T125.*{key}.*eager, sdpa"):
        initialize(copy)


def test_the_mark_that_transformers_chose_the_attention(copy):
    edit(copy / "config.json", _attn_implementation_autoset=True)
    saved = initialize(copy).to_bytes()
    assert build(copy).from_bytes(saved).to_bytes() == saved
    edit(copy / "config.json", _attn_implementation_autoset="owner/repo:function")
    with pytest.raises(ValueError, match="T125.*_attn_implementation_autoset"):
        initialize(copy)


def test_quantised_weights(copy):
    edit(copy / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(ValueError, match="T127.*quantization_config"):
        initialize(copy)


def test_an_adapter_beside_the_config(copy):
    (copy / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "other/encoder"}))
    with pytest.raises(ValueError, match="T135"):
        initialize(copy)


def test_an_adapter_that_imports(tiny_bert):
    with pytest.raises(ValueError, match="T136.*megatron_config"):
        inject(initialize(tiny_bert).shims[0].pretrained.transformer, {"method": "lora", "megatron_config": {"a": 1}})


@pytest.mark.parametrize("inside", ["..", "../..", "/etc", "../numpy", "x/../../numpy"])
def test_paths_out_of_a_package(inside):
    with pytest.raises(ValueError, match=r"T126|T104"):
        resolve_package(f"package:srsly/{inside}")


def test_a_link_out_of_a_package(tmp_path, monkeypatch):
    real = tmp_path / "real"
    (real / "model").mkdir(parents=True)
    (real / "__init__.py").write_text("")
    (tmp_path / "linked_package").symlink_to(real)  # An installation may be a link itself.
    (real / "out").symlink_to("/etc")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_package("package:linked_package/model").is_dir()
    with pytest.raises(ValueError, match="T126.*etc"):
        resolve_package("package:linked_package/out")


def test_a_namespace_package(tmp_path, monkeypatch):
    for place in ("one", "two"):
        (tmp_path / place / "spread_package" / place).mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / place)
    assert resolve_package("package:spread_package/one").name == "one"
    assert resolve_package("package:spread_package/two").name == "two"


@pytest.mark.parametrize("read", [resolve_source, read_vectors, drop_in])
@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_source(read, source):
    with pytest.raises(ValueError, match="T134"):
        read(source)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(copy, reader, value):
    tensors = load_file(copy / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][3, 3] = value
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"T133.*word_embeddings"):
        READERS[reader](copy)


@pytest.mark.parametrize("reader", READERS)
def test_an_id_without_a_row(copy, reader):
    file = json.loads((copy / "tokenizer.json").read_text())
    file["model"]["vocab"]["zq"] = 99
    (copy / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(ValueError, match=r"T132.*99 \('zq'\)"):
        READERS[reader](copy)


@pytest.mark.parametrize("pattern", ["(", "(a+)+$", "(x|xx)+$", r"(\w+\s?)+$"])
@pytest.mark.parametrize("reader", READERS)
def test_patterns_that_are_broken_or_never_end(copy, reader, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    edit(copy / "tokenizer.json", pre_tokenizer=split)
    # BERT's own class in transformers 5 puts its own pattern in the place of the file's.
    edit(copy / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ValueError, match=r"T131|T111"):
        READERS[reader](copy)


def test_patterns_of_well_known_tokenizers():
    patterns = [r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", r" {2,}", r"(\d{3})+(?!\d)"]
    for pattern in patterns:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        model = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
        text = json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": split, "model": model})
        assert read_tokenizer(text, "here").get_vocab_size() == 1


# Headers


@pytest.fixture(scope="module")
def saved(tiny_bert):
    """Without the checksum around it: what is tried here are files that somebody made to fit."""
    model = initialize(tiny_bert)
    return unseal(model.shims[0].to_bytes(), "the shim"), predict(model)


def predict(model):
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, words=["a", "dog", "sings", "."]), Doc(vocab, words=["the", "sea"])]
    return numpy.concatenate(model.predict(docs))


def load(state):
    model = build("nowhere")
    model.shims[0].from_bytes(state)
    model.set_dim("nO", model.shims[0].encoder.width)
    return model


def with_header(state, header):
    return dump_tensors(read_state(state), {"encoder": header if isinstance(header, str) else json.dumps(header)})


MUTATIONS = {"gone": None, "null": None, "text": "x", "list": ["x"], "huge": 10**12, "float": 1.5}


def mutated(parts, path, how):
    parts = json.loads(json.dumps(parts))
    inner = parts
    for key in path[:-1]:
        inner = inner[key]
    if how == "gone":
        del inner[path[-1]]
    else:
        inner[path[-1]] = MUTATIONS[how]
    return parts


@pytest.mark.parametrize("how", MUTATIONS)
def test_every_field_of_a_header(saved, how):
    """One coded error, or the same predictions."""
    state, wanted = saved
    parts = json.loads(read_metadata(state)["encoder"])
    paths = [(key,) for key in parts]
    paths += [(key, inner) for key in ("config", "special") for inner in parts[key]]
    wrong = []
    for path in paths:
        # Which of several attentions it is, and what it rounds to, only a checksum could tell.
        if path in {("config", "position_embedding_type"), ("config", "layer_norm_eps"), ("config", "hidden_act")}:
            continue
        try:
            model = load(with_header(state, mutated(parts, path, how)))
        except ValueError as error:
            if not str(error).startswith("[T"):
                wrong.append((path, repr(error)))
        except BaseException as error:
            wrong.append((path, repr(error)))
        else:
            if not numpy.array_equal(predict(model), wanted):
                wrong.append((path, "other predictions"))
    assert not wrong


@pytest.mark.parametrize("header", ["{", "[]", "3", '{"class": "BertModel"}', "[" * 100_000])
def test_headers_that_are_none(saved, header):
    with pytest.raises(ValueError, match=CODED):
        load(with_header(saved[0], header))


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("num_hidden_layers", 10**9, "T128"),
        ("max_position_embeddings", 10**7, "T102|T128"),
        ("intermediate_size", 10**7, "T128"),
        ("vocab_size", 10**9, "T128"),
        ("num_labels", 10**9, "T128"),
    ],
)
def test_absurd_sizes_take_no_memory(saved, copy, key, value, code):
    import resource

    parts = json.loads(read_metadata(saved[0])["encoder"])
    parts["config"][key] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=code):
        load(with_header(saved[0], parts))
    edit(copy / "config.json", **{key: value})
    with pytest.raises(ValueError, match=f"{code}|T107"):
        initialize(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_a_saved_weight_that_is_no_number(saved):
    state = read_state(saved[0])
    state["transformer.embeddings.word_embeddings.weight"][0, 0] = torch.nan
    with pytest.raises(ValueError, match="T133"):
        rebuild(dump_tensors(state, read_metadata(saved[0])), "transformer.")


def test_a_value_that_fails_in_the_forward_pass_alone(copy):
    edit(copy / "config.json", layer_norm_eps="x")
    with pytest.raises(ValueError, match="T129|T107"):
        initialize(copy)
