"""`python -m spacy transfer annotate`, end to end; killed too."""

import json
import signal
import subprocess
import sys
import time

import pytest
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.cli.scale.annotate import annotate_cli  # noqa: F401 (hangs the command on spaCy's)

from ...scale.texts import BROKEN, pipeline, read_jsonl, write_jsonl

SLOW = """
import time
from spacy.language import Language

@Language.component("breaks_on_some")
def slow(doc):
    time.sleep(0.01)
    return doc
"""


@pytest.fixture
def places(tmp_path):
    nlp = pipeline()
    nlp.add_pipe("breaks_on_some")
    nlp.to_disk(tmp_path / "model")
    write_jsonl(tmp_path / "in.jsonl", 30)
    return tmp_path


def call(places, *more, source="in.jsonl"):
    command = ["transfer", "annotate", places / "model", places / source, places / "out", "--shard-size", "8", *more]
    result = CliRunner().invoke(app, [*map(str, command)])
    assert "Traceback" not in result.output and not isinstance(result.exception, Exception | KeyboardInterrupt)
    return result.exit_code, " ".join(result.output.split())


def test_annotate_and_annotate_again(places):
    code, printed = call(places, "--columns", "entities")
    assert code == 0 and "Wrote 30 texts in 4 shards to" in printed, printed
    rows = read_jsonl(places / "out")
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(30)]
    assert rows[3] == {
        "id": "r3",
        "entities": [{"start": 0, "end": 4, "label": "GPE", "text": "Rome", "score": None}],
        "meta": {"year": 3},
    }
    files = {path: path.stat().st_mtime_ns for path in (places / "out").glob("shard-*")}
    assert call(places, "--columns", "entities")[0] == 0
    assert files == {path: path.stat().st_mtime_ns for path in (places / "out").glob("shard-*")}
    code, printed = call(places, "--columns", "tokens")
    assert code == 1 and "[T969]" in printed and "--columns" in printed


def test_one_text_and_its_counts(places):
    write_jsonl(places / "one.jsonl", 1)
    code, printed = call(places, source="one.jsonl")
    assert code == 0 and "Wrote 1 text in 1 shard to" in printed
    code, printed = call(places, "--json", "-", source="one.jsonl")
    counts = {"texts": 1, "broken": 0, "shards": 1, "folder": str(places / "out")}
    assert code == 0 and json.loads(printed) == counts


def test_texts_that_break_are_counted(places):
    (places / "in.txt").write_text(f"a\n{BROKEN}\nb\n")
    code, printed = call(places, source="in.txt")
    assert code == 0 and "[W960] 1 of 3 texts broke" in printed and "no such text" in printed
    assert len(read_jsonl(places / "out")) == 2 and len(read_jsonl(places / "out", "errors.jsonl")) == 1
    (places / "all.txt").write_text(f"{BROKEN}\n")
    code, printed = call(places, source="all.txt")
    assert code == 1 and "[T969]" in printed and "input (all.txt) differ" in printed
    assert call(places, "--fail-fast", source="in.txt")[0] == 0, "how a job is run may change"


def test_all_texts_break(places):
    (places / "all.txt").write_text(f"{BROKEN}\n")
    code, printed = call(places, source="all.txt")
    assert code == 1 and "[W960] 1 of 1" in printed


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--address", "auto"], "T979"),
        (["--columns", "label"], "T966"),
        (["--columns", "labels"], "T967"),
        (["--text", "body"], "T963"),
        (["--n-process", "0"], "--n-process"),
    ],
)
def test_mistakes_in_one_line(places, more, code):
    exit_code, printed = call(places, *more)
    assert exit_code == (1 if code in ("T967", "T963") else 2) and code in printed
    assert not list(places.glob("out/shard-*"))


def test_a_folder_of_something_else(places):
    (places / "out").mkdir()
    (places / "out" / "mine.txt").write_text("x")
    code, printed = call(places)
    assert code == 1 and "[T970]" in printed and [path.name for path in (places / "out").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_same_command_goes_on_after_it_was_killed(places):
    (places / "slow.py").write_text(SLOW)
    out = places / "out"
    command = [sys.executable, "-m", "spacy", "transfer", "annotate", places / "model", places / "in.jsonl", out]
    command += ["--shard-size", "3", "--batch-size", "1", "--code", places / "slow.py"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and len(list(out.glob("shard-*"))) < 3:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {path: path.read_bytes() for path in out.glob("shard-*")}
    assert 3 <= len(done) <= 10
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    assert [row["id"] for row in read_jsonl(out)] == [f"r{i}" for i in range(30)]
    assert all(path.read_bytes() == data for path, data in done.items())


def test_broken_rows_stay_broken(places):
    """What had no text is no empty text when errors.jsonl is annotated."""
    (places / "mixed.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    assert call(places, source="mixed.jsonl")[0] == 0
    (broken,) = read_jsonl(places / "out", "errors.jsonl")
    assert broken["text"] is None
    (places / "again.jsonl").write_text((places / "out" / "errors.jsonl").read_text())
    (places / "out").rename(places / "before")
    code, printed = call(places, source="again.jsonl")
    assert code == 1 and "[T963]" in printed


def test_the_output_is_no_input(places):
    (places / "folder").mkdir()
    (places / "in.jsonl").rename(places / "folder" / "in.jsonl")
    command = ["transfer", "annotate", places / "model", places / "folder", places / "folder" / "sub" / "out"]
    result = CliRunner().invoke(app, [*map(str, command)])
    assert result.exit_code == 1 and "T956" in result.output
    assert [path.name for path in (places / "folder").iterdir()] == ["in.jsonl"]
