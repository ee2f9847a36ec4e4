"""`python -m spacy transfer new-transformer`: what it prints, and that nothing is written on an error."""

import gzip

import pytest
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.cli.pretraining import new_transformer  # noqa: F401 (hangs the command on spaCy's)

from ...pretraining.test_random_transformer import TEXTS, TINY, files, read, write_transformer

SIZES = ["--width", "12", "--layers", "2", "--heads", "3", "--vocab-size", "90", "--window", "32"]


def run(*arguments):
    """The exit code, and what was printed, without its line breaks."""
    result = CliRunner().invoke(app, ["transfer", "new-transformer", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_it_says_what_it_made(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n".join(TEXTS[:30]), encoding="utf8")
    (tmp_path / "texts" / "b.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS[30:]).encode()))
    code, printed = run(tmp_path / "texts", tmp_path / "out", *SIZES)
    about = write_transformer(read, tmp_path / "same", TINY)
    assert code == 0 and files(tmp_path / "out") == files(tmp_path / "same"), printed
    assert "90 word pieces" in printed and "2 layers of width 12, 3 heads, window 32" in printed
    assert f"{about['parameters']:,}" in printed and f"{about['bytes'] / 1e6:.1f} MB" in printed


@pytest.mark.parametrize(
    ("texts", "more", "code", "says"),
    [
        ("none.txt", [], 2, "T483"),
        ("blank.txt", [], 1, "T545"),
        ("a.txt", ["--heads", "5"], 1, "T801"),
        ("a.txt", ["--vocab-size", "9000"], 1, "T803"),
        ("a.txt", ["--layers", "0"], 2, "--layers"),
    ],
)
def test_on_an_error_nothing_is_written(texts, more, code, says, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf8")
    (tmp_path / "blank.txt").write_text("\n \n")
    before = sorted(tmp_path.rglob("*"))
    found, printed = run(tmp_path / texts, tmp_path / "out", *SIZES, *more)
    assert found == code and says in printed, printed
    assert sorted(tmp_path.rglob("*")) == before
