"""Private names of other libraries: still there, still meaning what we take them for."""

import re
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam, Linear

from spacy_transfer import _compat


def test_cpu_has_bf16_is_a_plain_answer():
    assert _compat.cpu_has_bf16() in (True, False)


def test_packed_products_are_torchs_own():
    """Where the processor has them, this torch has them too."""
    import torch

    if not torch.cpu._is_avx512_supported():
        assert not _compat.has_packed_linear()
        pytest.skip("a processor without AVX512")
    assert _compat.has_packed_linear()
    rows, weight, bias = torch.randn(5, 8).bfloat16(), torch.randn(3, 8).bfloat16(), torch.randn(3).bfloat16()
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    for how in ("none", "gelu"):
        found = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, how, [], "none")
        expected = torch.nn.functional.linear(rows.float(), weight.float(), bias.float())
        expected = torch.nn.functional.gelu(expected) if how == "gelu" else expected
        torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("bars", [True, False])
def test_loading_is_quiet_and_settings_are_back(bars, tiny_bert, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers import AutoModel
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    logging.set_verbosity_info()
    try:
        with pytest.raises(KeyError), _compat.quiet_loading():
            AutoModel.from_pretrained(tiny_bert)
            assert list(logging.tqdm(range(3), desc="a bar")) == [0, 1, 2]
            raise KeyError
        assert capfd.readouterr().err == ""
        assert logging.is_progress_bar_enabled() is bars and are_progress_bars_disabled() is not bars
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()
    assert are_progress_bars_disabled() == before[2]


def test_parts_of_spacy_transformers(peer, tiny_bert):
    config = {"model": {"@architectures": "spacy-transformers.TransformerModel.v3", "name": tiny_bert}}
    model = spacy.blank("en").add_pipe("transformer", config=config).model
    model.initialize()
    transformer, tokenizer = _compat.spacy_transformers_parts(model)
    assert transformer.config.hidden_size == 16
    assert tokenizer.is_fast


def test_parts_of_the_drop_in(peer, tiny_bert):
    model = {"@architectures": "spacy-transfer.TransformerModel.v1", "name": tiny_bert}
    model["get_spans"] = {"@span_getters": "spacy-transformers.doc_spans.v1"}
    model = spacy.blank("en").add_pipe("transformer", config={"model": model}).model
    model.initialize()
    assert _compat.spacy_transformers_parts(model)[0] is model.transformer


def test_classes_of_spacy_transformers(peer):
    found = _compat.spacy_transformers_classes()
    objects = found.HFObjects(None, None, None, {}, {})
    shim = found.HFShim(objects, mixed_precision=False, grad_scaler_config={"enabled": False})
    assert shim._hfmodel is objects and shim._model is None
    assert callable(shim.config_cls.from_pretrained) and callable(shim.tokenizer_cls.from_pretrained)
    model = found.TransformerModel("name", len)
    assert isinstance(model.layers[0].shims[0], found.HFShim)
    assert {"name", "get_spans", "has_transformer", "set_transformer", "replace_listener_cfg"} <= set(model.attrs)
    assert callable(model.init) and model.attrs["has_transformer"] is False
    assert found.split_trf_batch().name and found.trfs2arrays(model, 0.5).attrs["grad_factor"] == 0.5


def test_other_models_have_no_such_parts():
    assert _compat.spacy_transformers_parts(spacy.blank("en").add_pipe("tagger").model) is None


def test_parts_of_spacys_commands():
    parts = _compat.spacy_cli_parts()
    assert "config" in {command.name for command in parts.debug_cli.registered_commands}
    assert parts.parse_config_overrides(["--training.max_steps", "3"]) == {"training.max_steps": 3}
    assert callable(parts.import_code) and callable(parts.setup_gpu) and callable(parts.show_validation_error)


def test_a_gradient_that_is_dropped_is_gone():
    linear = Linear(2, 2)
    linear.initialize()
    linear.inc_grad("W", numpy.ones((2, 2), dtype="f"))
    _compat.drop_gradient(linear, "W")
    _compat.drop_gradient(linear, "b")
    assert not linear.has_grad("W") and not linear.has_grad("b")
    before = linear.get_param("W").copy()
    linear.finish_update(Adam(0.1, L2=0.1))
    assert (linear.get_param("W") == before).all()


def test_hooks_are_seen():
    import torch

    module = torch.nn.Linear(2, 2)
    assert not _compat.has_hooks(module)
    for register in (module.register_forward_hook, module.register_forward_pre_hook):
        handle = register(lambda *args: None)
        assert _compat.has_hooks(module)
        handle.remove()


def test_the_bar_of_model2vec_is_ours(tiny_bert, capfd):
    pytest.importorskip("model2vec.distill")
    from model2vec.distill import distill, inference

    before, seen = inference.tqdm, []

    class Bar:
        def __init__(self, total):
            seen.append(total)

        def update(self, n):
            seen.append(n)

    with _compat.bar_of_model2vec(Bar):
        distill(str(tiny_bert), device="cpu", pca_dims=None)
    assert seen[0] == sum(seen[1:]) > 0 and inference.tqdm is before
    assert "tokens" not in capfd.readouterr().err


def test_stored_value():
    """What was written, and not a default; at the same characters of another doc."""
    nlp = spacy.blank("en")
    doc, other = nlp.make_doc("a bc"), nlp.make_doc("a bc")
    for kind in (Doc, Span):
        kind.set_extension("of_compat", default=7)
    try:
        assert doc._.of_compat == 7 and _compat.stored_value(doc, "of_compat") is None
        doc._.of_compat, doc[1:2]._.of_compat = 1, 2
        assert _compat.stored_value(doc, "of_compat") == 1
        assert _compat.stored_value(doc[1:2], "of_compat") == 2
        assert _compat.stored_value(doc[0:1], "of_compat") is None
        assert _compat.stored_value(other[1:2], "of_compat", doc) == 2
        assert _compat.stored_value(doc, "of_compat", nlp.make_doc("")) is None
    finally:
        for kind in (Doc, Span):
            kind.remove_extension("of_compat")


def test_a_component_for_training_alone():
    """It is updated where it stands, at all its places. One that takes itself out while the pipeline goes through its
    list is called to the end of that list. Taken out, it is nowhere."""
    nlp, calls = spacy.blank("en"), []
    nlp.add_pipe("sentencizer")

    class Training:
        is_trainable, model = True, Linear(2, 2)

        def update(self, examples, **kwargs):
            calls.append((len(examples), nlp.component_names))
            _compat.remove_component(nlp, self)

        def finish_update(self, sgd):
            raise AssertionError("nlp.update steps nothing with sgd=False")

    example = Example(nlp.make_doc("a"), nlp.make_doc("a"))
    component, before = Training(), nlp.to_bytes()
    _compat.insert_component(nlp, 1, "training", component)
    _compat.insert_component(nlp, 0, "training", component)
    assert nlp.pipe_names == ["training", "sentencizer", "training"]
    nlp.update([example], sgd=False)
    assert calls == [(1, ["training", "sentencizer", "training"]), (1, ["sentencizer"])]
    _compat.remove_component(nlp, component)
    assert nlp.pipe_names == ["sentencizer"] and nlp.to_bytes() == before


def test_zeros_reach_spacys_tok2vec_and_nothing_else():
    """What spaCy's tok2vec waits for goes through it, once; our listeners, and layers that are none, hear nothing."""
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "*"}
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    example = Example.from_dict(nlp.make_doc("a b"), {"tags": ["A", "B"]})
    nlp.initialize(lambda: [example])
    nlp.get_pipe("tok2vec").update([example])
    read = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    _compat.send_zeros(read)
    nodes = [node for node in nlp.get_pipe("tok2vec").model.walk() if node.grad_names]
    assert nodes and not any(node.get_grad(name).any() for node in nodes for name in node.grad_names)
    sent = []
    read._backprop = sent.append
    for other in (read, Linear(2, 2), None):
        _compat.send_zeros(other)
    assert not sent


def test_the_dropout_of_parsers_is_where_we_turn_it_off():
    """Gradients of one text differ from time to time although `drop` is 0, and no more once it is off."""
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    example = Example.from_dict(nlp.make_doc("Anna sees Rome"), {"entities": [(0, 4, "PER"), (10, 14, "LOC")]})
    nlp.initialize(lambda: [example])
    model = nlp.get_pipe("ner").model

    def gradient():
        nlp.update([example], drop=0.0, sgd=False)
        found = model.get_ref("upper").get_grad("W").copy()
        model.get_ref("upper").get_grad("W")[...] = 0
        return found

    assert (gradient() != gradient()).any()
    _compat.drop_parser_dropout(model)
    first = gradient()
    assert (gradient() == first).all() and first.any()


def test_the_output_of_a_training_can_be_intercepted(tmp_path):
    from spacy.training import loop

    before, seen = (loop.clean_output_dir, loop.shutil), []
    restore = _compat.intercept_output(seen.append, seen.append, lambda source, target: seen.append(target))
    loop.clean_output_dir("clean")
    loop.shutil.rmtree("remove")
    loop.shutil.copytree("from", "to")
    restore()
    assert seen == ["clean", "remove", "to"] and (loop.clean_output_dir, loop.shutil) == before
    (tmp_path / "model-best").mkdir()
    _compat.clean_output(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_loop_of_spacy_uses_what_is_intercepted():
    """Names that its functions look up in their module, and nothing else of shutil."""
    from spacy.training import loop

    assert "clean_output_dir" in loop.train.__code__.co_names
    text = Path(loop.__file__).read_text(encoding="utf8")
    assert set(re.findall(r"shutil\.(\w+)", text)) == {"rmtree", "copytree"}


def test_two_folders_change_places(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    if _compat.exchange(tmp_path / "a", tmp_path / "b"):
        assert (tmp_path / "a" / "b").exists() and (tmp_path / "b" / "a").exists()


def test_the_loss_scale_of_thinc():
    import torch
    from thinc.api import PyTorchWrapper

    shim = PyTorchWrapper(torch.nn.Linear(1, 1)).shims[0]
    state = {name: value * 2 + 1 for name, value in _compat.grad_scaler_state(shim).items()}
    _compat.set_grad_scaler_state(shim, state)
    assert len(state) == 2 and _compat.grad_scaler_state(shim) == state and _compat.grad_scaler_state(object()) == {}
