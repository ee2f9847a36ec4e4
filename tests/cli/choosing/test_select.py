"""`transfer select` on the command line: what is printed and written, what is chosen, and bad input.

Guards also: selection/selected.py.
"""

import json
import re
import sys

import numpy
import pytest
from spacy.cli import app
from spacy.cli.train import train
from spacy.util import load_config
from typer.testing import CliRunner

from spacy_transfer.cli.choosing import select  # noqa: F401 (hangs the command on spaCy's)
from spacy_transfer.cli.choosing.select import check_files, check_numbers, find_estimator
from spacy_transfer.selection import costs, ranking

from ...selection.tasks import config_of, write_texts

KNN = ["--estimator", "spacy-transfer.NearestNeighbours.v1"]
NAME = "transfer_backbone"
BLOCKS = """
[right]
@architectures = "spacy-transfer.VectorsBackbone.v1"
source = {source}
[hash]
@architectures = "spacy-transfer.HashEmbedBackbone.v1"
width = 4
rows = [8]
attrs = ["SHAPE"]
"""


def call(*arguments):
    """The exit code, and what was printed, in one line."""
    result = CliRunner().invoke(app, ["transfer", "select", *map(str, arguments)])
    return result.exit_code, " ".join(re.sub(r"\x1b\[[0-9;]*m", "", result.output).split())


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Times are not looked at."""
    monkeypatch.setattr(costs, "SECONDS", 0.0)


@pytest.fixture
def files(tiny_bert, tmp_path):
    """A config of a tagger and a classifier, vectors that know every word, and a file of blocks."""
    config_of(["transfer_tagger", "transfer_textcat"], tiny_bert, train=write_texts(tmp_path)).to_disk(
        tmp_path / "config.cfg"
    )
    words = ["the", "cat", "sees", "a", "dog", "sings", "dogs", "big", "here"]
    rows = numpy.eye(len(words))
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, rows, strict=True)]
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n", encoding="utf8")
    blocks = BLOCKS.format(source=json.dumps(str(tmp_path / "words.txt")))
    (tmp_path / "blocks.cfg").write_text(blocks, encoding="utf8")
    return tmp_path


def test_all_that_is_written(files, tiny_bert):
    outputs = ["--output", files / "best.cfg", "--json", files / "a.json", "--picture", files / "a.svg"]
    given = ["--backbone", files / "words.txt", "--backbone", "no/such", "--candidates", files / "blocks.cfg"]
    code, printed = call(files / "config.cfg", *given, *outputs, *KNN, "--cache", files / "cache")
    assert code == 0, printed
    found = json.loads((files / "a.json").read_text(encoding="utf8"))
    lines = {(line["name"], line["depth"]): line for line in found["candidates"]}
    # "right" has the block of words.txt, and is left out.
    own = f"{tiny_bert} (own)"
    assert set(lines) == {(own, 1), (own, 2), (str(files / "words.txt"), None), ("hash", None)}
    assert found["not_read"][0]["name"] == "no/such" and "Not read: no/such: [T106]" in printed
    # A tag is the first letter of the word: vectors that tell words apart are all that is needed.
    right = lines[str(files / "words.txt"), None]
    assert right["scores"]["transfer_tagger"] == 1.0 > lines["hash", None]["scores"]["transfer_tagger"]
    assert sum(line["is_chosen"] for line in found["candidates"]) == 1
    assert (files / "a.svg").read_text(encoding="utf8").startswith("<?xml") and list((files / "cache").iterdir())
    written = load_config(files / "best.cfg")
    chosen = next(line for line in found["candidates"] if line["is_chosen"])
    block = written["components"][NAME]["model"]
    assert {key: block[key] for key in chosen["model"]} == chosen["model"]
    train(files / "best.cfg", files / "out")
    assert (files / "out" / "model-last").is_dir()


def test_overrides_constraints_and_a_second_call(files):
    config = load_config(files / "config.cfg")
    config["corpora"]["train"]["path"] = config["corpora"]["dev"]["path"] = "${paths.train}"
    config.to_disk(files / "config.cfg")
    common = [
        files / "config.cfg",
        "--paths.train",
        files / "train.spacy",
        "--no-training-cost",
        "--cache",
        files / "c",
    ]
    code, printed = call(*common, "--max-mb", 0.0001)
    assert code == 1 and "T893" in printed
    sized = json.loads(call_json(files, *common))
    small = min(line["mb"] for line in sized["candidates"])
    again = json.loads(call_json(files, *common, "--max-mb", small + 0.001))
    assert [line["fits"] for line in again["candidates"]] == [line["depth"] == 1 for line in again["candidates"]]
    chosen = next(line for line in again["candidates"] if line["is_chosen"])
    assert chosen["depth"] == 1 and chosen["tuned_epoch"] is None
    scores = [sorted((line["depth"], str(line["scores"])) for line in run["candidates"]) for run in (sized, again)]
    assert scores[0] == scores[1]


def test_several_layers_side_by_side(files):
    """A single head of tokens has no other forms than the depths."""
    config = load_config(files / "config.cfg")
    config["components"][NAME]["model"]["layers"] = 2
    config["nlp"]["pipeline"] = [NAME, "transfer_tagger"]
    del config["components"]["transfer_textcat"]
    config.to_disk(files / "top.cfg")
    outputs = ["--output", files / "best.cfg", "--json", files / "a.json"]
    code, printed = call(files / "top.cfg", *outputs, *KNN, "--cache", "-")
    assert code == 0 and "2 (all), top 2" in printed, printed
    lines = json.loads((files / "a.json").read_text(encoding="utf8"))["candidates"]
    assert {line["depth"]: line["model"]["layers"] for line in lines} == {1: "last", 2: 2}
    chosen = next(line for line in lines if line["is_chosen"])
    written = load_config(files / "best.cfg")["components"][NAME]["model"]
    assert {key: written[key] for key in chosen["model"]} == chosen["model"]
    train(files / "best.cfg", files / "out")


def call_json(files, *arguments):
    code, printed = call(*arguments, "--json", files / "numbers.json")
    assert code == 0, printed
    return (files / "numbers.json").read_text(encoding="utf8")


def test_a_training_step_that_fails_is_told(files, monkeypatch):
    def fail(*args):
        raise ValueError("no step")

    monkeypatch.setattr(ranking, "with_training_cost", fail)
    code, printed = call(files / "config.cfg", *KNN, "--cache", "-")
    assert code == 0 and "W882" in printed and "no step" in printed


@pytest.mark.parametrize("estimator", [["--estimator", "LogME"], ["-b", "no/such"], KNN])
def test_estimators(files, estimator):
    options = ["--no-training-cost", "--cache", "-", *estimator]
    code, printed = call(files / "config.cfg", *options)
    assert code == 0 and "Recommended" in printed, printed


def test_bad_input(files):
    config = files / "config.cfg"
    code, printed = call(config, "--cache", "-", f"--components.{NAME}.model.source", "no/such")
    assert code == 1 and "T892" in printed and "T106" in printed
    single = load_config(config)
    single["components"][NAME]["model"] = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1"}
    single["nlp"]["pipeline"] = [NAME, "transfer_tagger"]
    del single["components"]["transfer_textcat"]
    single.to_disk(files / "single.cfg")
    code, printed = call(files / "single.cfg", "--cache", "-")
    assert code == 1 and "T885" in printed and "--backbone" in printed


def test_arguments(tmp_path):
    with pytest.raises(ValueError, match="T897.*LinearProbe"):
        find_estimator("Linear")
    with pytest.raises(ValueError, match="T897"):
        find_estimator("spacy-transfer.Tuning.v1")
    with pytest.raises(ValueError, match="T898.*--max-texts 0"):
        check_numbers(max_texts=0)
    with pytest.raises(ValueError, match="T898.*--min-speed"):
        check_numbers(min_speed=-1.0)
    check_numbers(max_mb=float("inf"))
    with pytest.raises(ValueError, match="T895.*--output"):
        check_files(tmp_path / "no" / "a.cfg", None)
    with pytest.raises(ValueError, match="T896"):
        check_files(None, tmp_path / "a.gif")


def test_a_picture_needs_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="T894"):
        check_files(None, tmp_path / "a.png")


def test_rows_for_the_training_that_follows(files):
    config = load_config(files / "config.cfg")
    config["components"][NAME]["frozen"] = True
    # As the ready configs have it: spaCy keeps the variable in the component's own block.
    config.setdefault("paths", {})["backbone"] = config["components"][NAME]["model"]["source"]
    config["components"][NAME]["model"]["source"] = "${paths.backbone}"
    config.to_disk(files / "frozen.cfg")
    rows = ["--keep-rows", files / "rows"]
    code, printed = call(files / "frozen.cfg", *KNN, "--cache", "-", *rows, "--output", files / "best.cfg")
    assert code == 0 and "Kept the rows of" in printed, printed
    best = load_config(files / "best.cfg")
    assert best["components"][NAME]["cache_folder"] == str(files / "rows")
    (folder,) = (files / "rows").iterdir()
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    best["training"].update(max_steps=2, eval_frequency=2)
    best.to_disk(files / "best.cfg")
    train(files / "best.cfg", files / "out")
    # The training has read the rows and added none: it has no other texts.
    assert len(list((files / "rows").iterdir())) == 1
    assert before and {path.name: path.stat().st_size for path in folder.iterdir()} == before


def test_rows_that_nothing_would_read(files):
    code, printed = call(files / "config.cfg", *KNN, "--keep-rows", files / "rows", "--output", files / "best.cfg")
    assert code == 1 and "T899" in printed and not (files / "rows").exists()
