"""Private names of other libraries: still there, still meaning what we take them for."""

import spacy

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
