"""Held-out losses of a source and of pretrained files: those that `spacy pretrain` has logged."""

import math

import pytest
import srsly
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from spacy_transfer.pretraining.assess import assess

from .pretrain import config, run, transformer, vectors_cnn, write_texts, write_vectors

OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'


def pretrain(tmp_path, backbone):
    raw, log = write_texts(tmp_path / "raw.txt"), tmp_path / "log.jsonl"
    objective = f'{OBJECTIVE}\nlog = "{log}"'
    run(tmp_path / "out", raw, backbone, objective)
    return config(raw, backbone, objective), [line["held_out_loss"] for line in srsly.read_jsonl(log)]


@pytest.mark.parametrize("kind", ["transformer", "vectors"])
def test_what_the_log_has(kind, tiny_bert, tmp_path):
    vectors = vectors_cnn(write_vectors(tmp_path / "words.txt"))
    settings, losses = pretrain(tmp_path, transformer(tiny_bert) if kind == "transformer" else vectors)
    files = [tmp_path / "out" / f"model{i}.bin" for i in (0, 1)]
    found = assess(settings, files)
    assert [row.loss for row in found.rows] == pytest.approx(losses, abs=1e-6)
    assert [row.name for row in found.rows] == ["source", *map(str, files)]
    assert [row.note for row in found.rows] == ["its output layer begins anew", "", ""]
    assert all(row.perplexity == pytest.approx(math.exp(row.loss)) for row in found.rows)
    # The files in another order, and alone: the same numbers.
    assert assess(settings, files[1:]).rows[1] == assess(settings, files[::-1]).rows[1] == found.rows[2]
    text = found.as_text()
    assert all(f"{row.loss:.4f}" in text for row in found.rows) and "masked word" in text and "anew" in text


def test_a_source_with_its_own_output_layer(tiny_bert, tmp_path):
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "lm")
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(tiny_bert)).save_pretrained(tmp_path / "lm")
    raw = write_texts(tmp_path / "raw.txt")
    assert [row.note for row in assess(config(raw, transformer(tmp_path / "lm"), OBJECTIVE), []).rows] == [""]


def test_other_settings_are_said(tmp_path):
    """Perplexities over other words cannot be compared."""
    backbone = vectors_cnn(write_vectors(tmp_path / "words.txt"))
    settings, _ = pretrain(tmp_path, backbone)
    few = config(tmp_path / "raw.txt", backbone, f"{OBJECTIVE}\nn_words = 3")
    assert assess(few, [tmp_path / "out" / "model0.bin"]).rows[1].note == "its output layer has other settings"


def test_refused(tiny_bert, tmp_path):
    settings, _ = pretrain(tmp_path, transformer(tiny_bert))
    file = tmp_path / "out" / "model0.bin"
    with pytest.raises(ValueError, match=r"T862.*FILE = .*gone"):
        assess(settings, [tmp_path / "gone.bin"])
    msg = srsly.msgpack_loads(file.read_bytes())
    msg["spacy_transfer_pretraining"]["name"] = "spacy-transfer.Other.v1"
    (tmp_path / "other.bin").write_bytes(srsly.msgpack_dumps(msg))
    with pytest.raises(ValueError, match=r"T825.*Other\.v1"):
        assess(settings, [tmp_path / "other.bin"])
    del msg["spacy_transfer_pretraining"]
    (tmp_path / "stock.bin").write_bytes(srsly.msgpack_dumps(msg))
    with pytest.raises(ValueError, match=r"T865.*stock\.bin"):
        assess(settings, [tmp_path / "stock.bin"])
    nothing = config(tmp_path / "raw.txt", transformer(tiny_bert), OBJECTIVE, held_out=0.0)
    with pytest.raises(ValueError, match=r"T866.*held_out"):
        assess(nothing, [file])
    stock = '@architectures = "spacy.PretrainCharacters.v1"\nmaxout_pieces = 2\nhidden_size = 8\nn_characters = 2'
    with pytest.raises(ValueError, match=r"T867.*spacy\.PretrainCharacters\.v1"):
        assess(config(tmp_path / "raw.txt", transformer(tiny_bert), stock), [])
