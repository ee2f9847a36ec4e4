"""`python -m spacy transfer delta`: what it writes and says; mistakes are one line."""

import shutil

import pytest
import spacy
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.cli.shipping.delta import delta_cli  # noqa: F401 (hangs the command on spaCy's)

from ...pipelines import TEXTS, make_pipeline


@pytest.fixture(scope="module")
def room(tiny_bert, tmp_path_factory):
    room = tmp_path_factory.mktemp("room")
    base = shutil.copytree(tiny_bert, room / "base")
    make_pipeline(base, frozen=True)[0].to_disk(room / "whole")
    return room


def run(*arguments):
    result = CliRunner().invoke(app, ["transfer", "delta", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_it_writes_a_delta_and_says_where_the_base_is_looked_for(room):
    code, output = run(room / "whole", room / "delta")
    assert code == 0 and "Saved the delta" in output and "[W227]" in output and str(room / "base") in output
    sizes = [(room / name / "transfer_backbone/model").stat().st_size for name in ("delta", "whole")]
    assert sizes[0] < 4000 < sizes[1]
    docs = [list(spacy.load(room / name).pipe(TEXTS)) for name in ("delta", "whole")]
    for ours, theirs in zip(*docs, strict=True):
        assert ours.tensor.tobytes() == theirs.tensor.tobytes()
        assert [t.tag_ for t in ours] == [t.tag_ for t in theirs]


def test_a_base_elsewhere_is_named(room, tmp_path):
    shutil.copytree(room / "base", tmp_path / "other")
    assert run(room / "whole", tmp_path / "delta", "--base", tmp_path / "other")[0] == 0
    nlp = spacy.load(tmp_path / "delta")
    assert nlp.config["components"]["transfer_backbone"]["model"]["source"] == str(tmp_path / "other")


def test_mistakes_are_one_line_and_write_nothing(room, tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    out = tmp_path / "out"
    for arguments, expected in (
        ((tmp_path / "nothing", out), "[T756]"),
        ((tmp_path / "blank", out), "[T703]"),
        ((room / "whole", out, "--base", tmp_path / "gone"), "[T704]"),
        ((room / "whole", tmp_path), "[T702]"),
    ):
        code, output = run(*arguments)
        assert code == (2 if expected == "[T756]" else 1) and expected in output and "Traceback" not in output
        assert not out.exists()
