"""Private names of other libraries: still there, still meaning what we take them for."""

import numpy
import spacy
from thinc.api import Adam, Linear

from spacy_transfer import _compat


def test_cpu_has_bf16_is_a_plain_answer():
    assert _compat.cpu_has_bf16() in (True, False)


def test_parts_of_spacy_transformers(tiny_bert):
    config = {"model": {"@architectures": "spacy-transformers.TransformerModel.v3", "name": tiny_bert}}
    model = spacy.blank("en").add_pipe("transformer", config=config).model
    model.initialize()
    transformer, tokenizer = _compat.spacy_transformers_parts(model)
    assert transformer.config.hidden_size == 16
    assert tokenizer.is_fast


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
