"""`transfer assess` and `transfer to-source` on the command line.

Guards also: to_source.py.
"""

import json
from pathlib import Path

import pytest
from spacy.cli import app
from spacy.util import Config
from typer.testing import CliRunner

from spacy_transfer.cli.pretraining import assess, to_source  # noqa: F401 (hangs the commands on spaCy's)
from spacy_transfer.cli.pretraining.assess import split_overrides

from ...pretraining.pretrain import config, run, transformer, write_texts

OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'


def call(*arguments):
    """The exit code, and what was printed."""
    result = CliRunner().invoke(app, ["transfer", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def pretrained(tiny_bert, tmp_path_factory):
    """Folder with a config whose raw_text is null, and a file."""
    folder = tmp_path_factory.mktemp("pretrained")
    raw = write_texts(folder / "raw.txt")
    run(folder, raw, transformer(tiny_bert), OBJECTIVE, epochs=1)
    filled = config(raw, transformer(tiny_bert), OBJECTIVE)
    filled["paths"]["raw_text"] = None
    filled["corpora"]["pretrain"]["path"] = "${paths.raw_text}"
    filled["corpora"]["train"] = {"@readers": "spacy.Corpus.v1", "path": None}  # As in the shipped configs.
    Config(filled).to_disk(folder / "config.cfg")
    return folder


def test_assess_and_write(pretrained, tmp_path):
    raw, file = pretrained / "raw.txt", pretrained / "model-last.bin"
    code, printed = call("assess", pretrained / "config.cfg", file, "--json", "--paths.raw_text", raw)
    assert code == 0, printed
    found = json.loads(printed[printed.index("{") :])
    assert [row["name"] for row in found["rows"]] == ["source", str(file)]
    assert found["rows"][1]["loss"] < found["rows"][0]["loss"]
    code, printed = call("assess", pretrained / "config.cfg", f"--paths.raw_text={raw}", file)
    assert code == 0 and all(f"{row['loss']:.4f}" in printed for row in found["rows"])
    code, printed = call("to-source", pretrained / "config.cfg", file, tmp_path / "source", "--paths.raw_text", raw)
    assert code == 0 and "spacy-transfer.TransformerBackbone.v1" in " ".join(printed.split())
    assert (tmp_path / "source" / "config.json").is_file()
    # The source that was written begins where the file ended.
    where = ["--components.transfer_backbone.model.source", tmp_path / "source"]
    code, printed = call("assess", pretrained / "config.cfg", "--json", "--paths.raw_text", raw, *where)
    again = json.loads(printed[printed.index("{") :])["rows"][0]
    assert again["loss"] == pytest.approx(found["rows"][1]["loss"], abs=1e-4) and again["note"] == ""


def test_errors_in_one_line(pretrained):
    code, printed = call("assess", pretrained / "config.cfg", pretrained / "gone.bin")
    assert code == 2 and "T483" in printed and "Traceback" not in printed
    code, printed = call("assess", pretrained / "config.cfg")
    assert code == 1 and "T820" in printed and "Traceback" not in printed


def test_files_and_overrides_in_any_order():
    arguments = ["a.bin", "--x.y", "1", "b.bin", "--z=a//b", "c.bin"]
    assert split_overrides(arguments) == ([Path("a.bin"), Path("b.bin"), Path("c.bin")], ["--x.y", "1", "--z=a//b"])
