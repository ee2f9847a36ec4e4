"""`python -m spacy transfer vectors`, end to end."""

import json

import pytest
import spacy
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.backbones.vectors.vector_files import read_vectors
from spacy_transfer.cli.pretraining import train_vectors  # noqa: F401 (hangs the command on spaCy's)

TEXTS = ["The cat drinks milk.", "A dog drinks water and the cat does not."] * 8


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    return path


def run(*arguments):
    """The exit code, and what was printed, without its line breaks."""
    result = CliRunner().invoke(app, ["transfer", "vectors", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_trained_and_carried_on(texts, tmp_path):
    out = tmp_path / "new" / "v.txt"
    code, printed = run(texts, out, "--field", "body", "--width", 8, "--epochs", 1, "--lower")
    assert code == 0, printed
    n_tokens = sum(len(doc) for doc in spacy.blank("en").pipe(TEXTS))
    assert f"tokens {n_tokens}" in printed and "words 11" in printed and "seconds" in printed
    assert "drinks" in printed.split("nearest")[1] and "Saved 11 vectors" in printed
    assert read_vectors(str(out)).data.shape == (11, 8)
    more = tmp_path / "more.txt"
    more.write_text("The cat drinks lemonade.\n" * 9)
    code, printed = run(more, tmp_path / "w.bin", "--source", out, "--lower", "--tokenizer", make_pipeline(tmp_path))
    assert code == 0, printed
    assert "of these added 1" in printed and "lemonade" in printed.split("nearest")[1]
    code, printed = run(more, tmp_path / "f.bin", "--method", "fasttext", "--buckets", 50, "--algorithm", "cbow")
    assert code == 0 and read_vectors(str(tmp_path / "f.bin")).subwords["data"].shape == (50, 100), printed


def make_pipeline(folder):
    nlp = spacy.blank("en")
    nlp.to_disk(folder / "pipeline")
    return folder / "pipeline"


def test_errors_in_one_line(texts, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    for arguments, says in (
        ((empty, "v"), "T545"),
        ((tmp_path / "nowhere.txt", "v"), "T483"),
        ((texts, "v"), "T552"),
        ((texts, texts, "--field", "body"), "T811"),
        ((texts, "v", "--field", "body", "--tokenizer", "nowhere"), "T756"),
        ((texts, "v", "--field", "body", "--lang", "qq"), "T995"),
    ):
        code, printed = run(arguments[0], tmp_path / arguments[1], *arguments[2:])
        assert code == (2 if says in ("T483", "T756", "T995") else 1) and says in printed, printed
    assert run(texts, tmp_path / "v", "--width", 0)[0] == 2
    assert not (tmp_path / "v").exists() and not list(tmp_path.glob(".transfer*"))
