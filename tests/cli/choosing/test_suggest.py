"""`python -m spacy transfer suggest`, end to end."""

import json

import pytest
import spacy
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.cli.choosing.suggest import suggest_cli  # noqa: F401 (hangs the command on spaCy's)
from spacy_transfer.selection.suggesting.scan import judges_of, scan
from spacy_transfer.selection.suggesting.strategies import choose

from ...pipeline.test_calibration import trained
from ...pipelines import make_pipeline

TEXTS = [f"{a} {b}" for a in ("aab", "xyz", "baa", "zyx") for b in ("aba", "yxz", "abab", "zzy", "don't")]


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("suggest")
    trained(tiny_bert).to_disk(folder / "model")
    make_pipeline(tiny_bert, [])[0].to_disk(folder / "backbone")
    spacy.blank("en").to_disk(folder / "blank")
    (folder / "texts.txt").write_text("\n".join([*TEXTS, *TEXTS[:5], ""]))
    (folder / "labelled.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS[:8]))
    return folder


def run(places, *more, model="model", n=4):
    command = ["transfer", "suggest", str(places / model), str(places / "texts.txt"), "--n", str(n)]
    return CliRunner().invoke(app, [*command, *map(str, more)])


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts_and_why_they_were_chosen(places, tmp_path):
    result = run(places, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    nlp = spacy.load(places / "model")
    found = scan(nlp, TEXTS, judges_of(nlp, None, "margin", "most"))
    wanted = choose(found, 4, "auto").indices.tolist()
    lines = read(tmp_path / "out.jsonl")
    assert [line["text"] for line in lines] == [TEXTS[i] for i in wanted]
    for line, i in zip(lines, wanted, strict=True):
        assert line["meta"]["strategy"] == "unsure-diverse"
        assert line["meta"]["unsure"] == pytest.approx(found.unsure[i], abs=1e-4)
        assert line["meta"]["transfer_textcat"] == found.guesses[i]["transfer_textcat"]
        assert line["text"] in result.output
    assert "Wrote 4 texts" in result.output and [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_list_for_label_studio(places, tmp_path):
    assert (
        run(places, "-o", tmp_path / "out.json").exit_code == run(places, "-o", tmp_path / "out.jsonl").exit_code == 0
    )
    assert json.loads((tmp_path / "out.json").read_text()) == read(tmp_path / "out.jsonl")


def test_texts_with_labels_are_left_out(places, tmp_path):
    result = run(places, "--exclude", places / "labelled.jsonl", "-o", tmp_path / "out.jsonl", n=12)
    assert result.exit_code == 0, result.output
    assert sorted(line["text"] for line in read(tmp_path / "out.jsonl")) == sorted(TEXTS[8:])
    assert "... and 2 more" in result.output


def test_a_cold_start(places, tmp_path):
    result = run(places, "-o", tmp_path / "out.jsonl", model="backbone")
    assert result.exit_code == 0, result.output
    lines = read(tmp_path / "out.jsonl")
    assert len({line["meta"]["cluster"] for line in lines}) == 4
    assert all(line["meta"].keys() == {"strategy", "cluster"} for line in lines)


def test_looking_only(places):
    result = run(places, "--strategy", "margin")
    assert result.exit_code == 0 and "--output" in result.output
    assert sorted(path.name for path in places.iterdir()) == [
        "backbone",
        "blank",
        "labelled.jsonl",
        "model",
        "texts.txt",
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"n": 21}, "T930"),
        ({"n": 0}, "--n"),
        ({"model": "blank"}, "T932"),
        ({"more": ["--exclude", "texts.txt"]}, "T931"),
        ({"more": ["--components", "transfer_backbone"]}, "T933"),
        ({"more": ["--strategy", "margin"], "model": "backbone"}, "T936"),
        ({"more": ["--output", "texts.txt"]}, "T937"),
        ({"more": ["--output", "model"]}, "T937"),
        ({"more": ["--output", "next.csv"]}, "[T938] --output next.csv"),
        ({"more": ["--output", "next"]}, "T938"),
        ({"more": ["--output", "none/out.jsonl"]}, "T721"),
        ({"more": ["--exclude", "none.txt"]}, "T483"),
    ],
)
def test_bad_input(places, monkeypatch, more, says):
    monkeypatch.chdir(places)
    before = (places / "texts.txt").read_bytes()
    arguments, settings = more.get("more", []), {key: value for key, value in more.items() if key != "more"}
    result = run(places, *arguments, **settings)
    is_usage = says[:6] in ("--n", "T721", "T483", "T937", "T938", "[T938]")
    assert result.exit_code == (2 if is_usage else 1) and says in result.output
    assert (places / "texts.txt").read_bytes() == before
