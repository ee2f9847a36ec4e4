"""The log of a pretraining, and that looking on changes nothing."""

import math

import pytest
import srsly

from spacy_transfer.corpora.raw_text import RawText
from spacy_transfer.pretraining.objective import Pretraining

from .pretrain import run, transformer, vectors_cnn, write_texts, write_vectors

OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"'


def blocks(tiny_bert, tmp_path):
    return {"transformer": transformer(tiny_bert), "vectors": vectors_cnn(write_vectors(tmp_path / "words.txt"))}


@pytest.mark.parametrize("kind", ["transformer", "vectors"])
def test_held_out_losses_change_nothing_in_training(kind, tiny_bert, tmp_path, monkeypatch):
    """The same bytes, with a look at the held-out texts and without."""
    raw, backbone = write_texts(tmp_path / "raw.txt"), blocks(tiny_bert, tmp_path)[kind]
    watched = run(tmp_path / "a", raw, backbone, f'{OBJECTIVE}\nlog = "{tmp_path / "log.jsonl"}"')
    looked = []
    monkeypatch.setattr(Pretraining, "held_out", lambda self, docs: looked.append(docs))
    monkeypatch.setattr("spacy_transfer.pretraining.monitor.Monitor.evaluate", lambda self: None)
    alone = run(tmp_path / "b", raw, backbone, f"{OBJECTIVE}\nprogress = false")
    assert not looked and watched.read_bytes() == alone.read_bytes()


def test_log_and_lines(tiny_bert, tmp_path, capsys):
    raw, log = write_texts(tmp_path / "raw.txt"), tmp_path / "logs" / "log.jsonl"
    run(tmp_path / "a", raw, transformer(tiny_bert), f'{OBJECTIVE}\nlog = "{log}"')
    lines = list(srsly.read_jsonl(log))
    # Before the first step, and after each epoch; the last file is that of the last epoch.
    assert [line["epoch"] for line in lines] == [0, 0, 1]
    steps = [line["step"] for line in lines]
    assert steps[0] == 0 < steps[1] < steps[2] == 2 * steps[1]
    assert lines[0]["loss"] is None and all(line["loss"] > 0 for line in lines[1:])
    for line in lines:
        assert line["held_out_perplexity"] == pytest.approx(math.exp(line["held_out_loss"]))
        assert line["unit"] == "masked word piece"
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Held out")]
    start = f"{lines[0]['held_out_loss']:.4f}"
    assert len(printed) == 3 and start in printed[0] and all(f"at the start {start}" in line for line in printed[1:])


def test_nothing_held_out(tiny_bert, tmp_path, capsys):
    raw, log = write_texts(tmp_path / "raw.txt"), tmp_path / "log.jsonl"
    run(tmp_path / "a", raw, transformer(tiny_bert), f'{OBJECTIVE}\nlog = "{log}"', epochs=1, held_out=0.0)
    assert not log.exists() and "Held out" not in capsys.readouterr().out


def test_held_out_docs_with_nothing_to_predict(tiny_bert, tmp_path, capsys, monkeypatch):
    """A loss of 0 would look like success."""
    raw, log = write_texts(tmp_path / "raw.txt"), tmp_path / "log.jsonl"
    monkeypatch.setattr(RawText, "held_out_docs", lambda reader: [reader._language.make_doc("  ")])
    run(tmp_path / "a", raw, transformer(tiny_bert), f'{OBJECTIVE}\nlog = "{log}"', epochs=1)
    assert not log.exists() and "nothing to predict" in capsys.readouterr().out
