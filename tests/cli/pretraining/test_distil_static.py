"""`python -m spacy transfer static`, end to end."""

import json

import pytest
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.backbones.vectors.vector_files import read_vectors
from spacy_transfer.cli.pretraining import distil_static  # noqa: F401 (hangs the command on spaCy's)

pytest.importorskip("model2vec.distill")


def run(*arguments):
    """The exit code, and what was printed, without its line breaks."""
    result = CliRunner().invoke(app, ["transfer", "static", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_vectors_are_made_and_shown(tiny_bert, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"body": f"a cat sings {i}"}) + "\n" for i in range(120)))
    out = tmp_path / "new" / "vectors"
    code, printed = run(tiny_bert, out, "--corpus", texts, "--text", "body", "--width", 4, "--min-count", 3, "-w", 32)
    assert code == 0, printed
    assert "texts 120" in printed and "tokens 480" in printed and "at first" in printed
    assert "of width 4" in printed and str(out) in printed
    assert read_vectors(str(out)).subwords["data"].shape[1] == 4


def test_errors_in_one_line(tiny_bert, tmp_path):
    empty, small = tmp_path / "empty.txt", tmp_path / "small.txt"
    empty.write_text("\n \n")
    small.write_text("a cat\n")
    for source, out, corpus, says in (
        (tiny_bert, "s", empty, "T545"),
        (tiny_bert, "s", tmp_path / "nowhere.txt", "T483"),
        (tiny_bert, "s", small, "T472"),
        ("./nowhere", "s", small, "T100"),
        (tiny_bert, ".", small, "T811"),
    ):
        code, printed = run(source, tmp_path / out, "--corpus", corpus)
        assert code == (2 if says in ("T483", "T100") else 1) and f"[{says}]" in printed, printed
        assert not (tmp_path / "s").exists()
