"""What a backbone says when it is initialised: heads that do not listen, data not read, sources by component.

Guards also: console_logger.py.
"""

import warnings

import pytest
import spacy

from spacy_transfer.pipeline.backbone.complaints import no_examples

from ...pipelines import backbone_config, make_examples


def test_a_stock_head_with_an_encoder_of_its_own(tiny_bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("ner")
    nlp.add_pipe("transfer_tagger")
    examples = make_examples(nlp)
    with pytest.warns(UserWarning, match=r"W438\] components\.ner .*'transfer_ner'"):
        nlp.initialize(lambda: examples)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*W438")
        nlp.initialize(lambda: examples)  # It has weights by now: it may have been sourced so.


@pytest.mark.parametrize(
    ("path", "code"), [("data/train.csv", r"\[T438\].*a \.csv .*init data/train\.csv"), ("train.spacy", r"\[T404\]")]
)
def test_no_example(path, code, nlp):
    nlp.config["paths"]["train"] = path
    with pytest.raises(ValueError, match=code):
        raise ValueError(no_examples("transfer_backbone", nlp))


def test_a_source_is_named_with_its_component_and_what_pip_has(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", name="mine", config={"model": {"source": "no/such"}})
    examples = make_examples(nlp)
    with pytest.raises(ValueError, match=r"T106\] components\.mine\.model\.source = 'no/such'.*--no-deps gt-all"):
        nlp.initialize(lambda: examples)


def test_what_heads_require_is_known(nlp):
    nlp.add_pipe("transfer_ner")
    assert nlp.analyze_pipes()["problems"]["transfer_ner"] == ["doc.tensor"]
