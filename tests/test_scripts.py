"""The scripts behind project.yml: a split without leaks, a table that is right, paths that exist."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import DocBin, Span

ROOT = Path(__file__).parent.parent


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def articles():
    """5 topics of 200 articles; every tenth text stands there twice."""
    once = [(f"article {i} on {topic}", topic) for topic in "abcde" for i in range(200)]
    return once + once[::10]


def test_split_shares_no_text_and_nests(articles):
    bbc = script("bbc")
    by_topic, test = bbc.split(articles, seed=0)
    train = [text for group in by_topic.values() for text, _ in group]
    assert len(test) == bbc.N_TEST == 445
    assert {topic: len(group) for topic, group in by_topic.items()} == dict.fromkeys("abcde", 100)
    assert not set(train) & {text for text, _ in test}
    assert len(set(train)) == len(train)
    assert bbc.split(articles, seed=0)[1] == test
    assert bbc.split(articles, seed=1)[1] != test
    few, _ = bbc.split(articles, seed=0, most=10)
    assert all(few[topic] == by_topic[topic][:10] for topic in few)


def test_report(tmp_path):
    report = script("report")
    for name, accuracy in (("scratch", 0.5), ("vectors", 0.75), ("transformer", 0.7)):
        for shots in (10, 100):
            folder = tmp_path / "training" / f"{name}_{shots}"
            (folder / "model-last").mkdir(parents=True)
            (folder / "model-last" / "config.cfg").write_text("x" * 100_000)
            srsly.write_json(folder / "seconds.json", {"seconds": 1.23})
            scores = {"cats_micro_f": accuracy + shots / 1000, "cats_macro_f": 0.5, "speed": 1234.5}
            (tmp_path / "metrics").mkdir(exist_ok=True)
            srsly.write_json(tmp_path / "metrics" / f"{name}_{shots}.json", scores)
    results = report.read_results(tmp_path / "metrics", tmp_path / "training")
    assert [(r.name, r.shots) for r in results][:2] == [("scratch", 10), ("scratch", 100)]
    assert results[3].accuracy == 85.0
    assert results[0].size == 0.1
    assert "| GloVe vectors, frozen | 100 | 85.0 | 50.0 | 1.2 | 1,234 | 0.1 |" in report.as_markdown(results)
    assert report.spread([1.0, 1.1, 5.0], gap=1) == [1.0, 2.0, 5.0]


def test_the_page_of_results_is_filled_between_markers():
    fill = script("update_results").fill
    readme = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    once = fill(readme, "x", "| t |\n")
    assert once == "a\n<!-- x -->\n\n| t |\n\n<!-- /x -->\nb"
    assert fill(once, "x", "| t |") == once
    assert "```\nsaid\n```" in fill(readme, "x", "said")
    with pytest.raises(SystemExit):
        fill(readme, "y", "")


def test_the_try_environment_sees_this_one(tmp_path):
    import subprocess

    python = script("try_package").make_env(tmp_path / "env")
    code = "import sys, json, spacy_transfer, spacy; print(json.dumps([sys.prefix, spacy.__version__]))"
    out = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    prefix, version = json.loads(out)
    import spacy

    assert Path(prefix).resolve() == (tmp_path / "env").resolve()
    assert version == spacy.__version__


@pytest.mark.parametrize(("workflow", "trainings"), [("all", 6), ("extend", 3), ("distill", 2), ("adapt", 4)])
def test_project_refers_to_what_exists_or_is_made(workflow, trainings):
    project = srsly.read_yaml(ROOT / "project.yml")
    commands = {command["name"]: command for command in project["commands"]}
    made, lines = set(), []
    for name in project["workflows"][workflow]:
        command = commands[name]
        for path in command.get("deps", []):
            assert path in made or (ROOT / path).exists(), f"{name}: {path}"
        made |= set(command.get("outputs", []))
        lines += command["script"]
        for path in re.findall(r"(?:scripts|configs)/\S+\.(?:py|cfg)", " ".join(command["script"])):
            assert (ROOT / path).exists(), path
    assert sum("spacy train" in line for line in lines) == trainings


def test_words_that_are_labelled_by_rule(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    extend = script("extend")
    text = "Rugby and football fans watch TV on a mobile phone, not in the set-top box era."
    doc = extend.label(spacy.blank("en").make_doc(text))
    expected = [("football", "SPORT"), ("TV", "DEVICE"), ("mobile phone", "DEVICE"), ("set-top box", "DEVICE")]
    assert [(ent.text, ent.label_) for ent in doc.ents] == expected
    docs = [extend.label(spacy.blank("en").make_doc(f"{word} number {i}")) for i in range(30) for word in ("TV", "A")]
    drawn = extend.draw(docs, 20, extend.random.Random(0))
    assert len(drawn) == 20 and sum(bool(doc.ents) for doc in drawn) == 10


def test_new_labels_are_those_that_the_old_pipeline_lacks(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("ner").add_label("OLD")
    doc = nlp.make_doc("a b c")
    doc.ents = [Span(doc, 0, 1, "OLD"), Span(doc, 2, 3, "NEW")]
    DocBin(docs=[doc]).to_disk(tmp_path / "x.spacy")
    assert script("retained").new_labels(nlp, tmp_path / "x.spacy") == ["NEW"]


def test_every_score_of_old_and_new_types_before_and_after(tmp_path, monkeypatch, capsys):
    """Against counts by hand. The old pipeline's types are those that it finds in these texts: none of ORG is."""
    words = {"before": {"PERSON": ["Anna", "Otto"], "GPE": ["Rome"], "ORG": ["Acme"]}}
    words["after"] = {"PERSON": ["Anna"], "SPORT": ["golf"], "DEVICE": ["Rome"]}
    for name, of in words.items():
        nlp = spacy.blank("en")
        ruler = nlp.add_pipe("entity_ruler", name="ner")
        ruler.add_patterns([{"label": label, "pattern": word} for label, each in of.items() for word in each])
        nlp.to_disk(tmp_path / name)
    docs = [spacy.blank("en").make_doc(text) for text in ("Anna plays golf in Rome", "Otto has a TV", "golf and TV")]
    for doc, spans in zip(docs, ([(2, "SPORT")], [(3, "DEVICE")], [(0, "SPORT"), (2, "DEVICE")]), strict=True):
        doc.ents = [Span(doc, at, at + 1, label) for at, label in spans]
    DocBin(docs=docs).to_disk(tmp_path / "test.spacy")
    before, after = (str(tmp_path / name) for name in words)
    given = [before, str(tmp_path / "test.spacy"), str(tmp_path / "out.json"), f"a={after}", f"b={before}"]
    monkeypatch.setattr("sys.argv", ["retained.py", *given])
    script("retained").main()
    found = srsly.read_json(tmp_path / "out.json")
    assert found["before"] == before and list(found["after"]) == ["a", "b"]
    old = {"ents_f": 1 / 2, "ents_per_type.GPE.f": 0.0, "ents_per_type.PERSON.f": 2 / 3}
    # Of new ones 2 of 4, with 1 that is none.
    new = {"ents_f": 4 / 7, "ents_per_type.DEVICE.f": 0.0, "ents_per_type.SPORT.f": 1.0}
    rows = [("old", score, 1.0, now) for score, now in old.items()] + [("new", n, 0.0, now) for n, now in new.items()]
    for row, (skill, score, was, now) in zip(found["after"]["a"], rows, strict=True):
        assert (row["skill"], row["score"], row["before"]) == (skill, score, was)
        assert row["now"] == pytest.approx(now) and row["difference"] == pytest.approx(now - was)
    assert all(row["difference"] == 0 for row in found["after"]["b"])
    assert capsys.readouterr().out.count("ents_per_type.GPE.f") == 2


def test_distributions_are_checked_against_the_checkout(tmp_path):
    """A whole pair passes; one file too few or too many in either is named."""
    import tarfile
    import zipfile

    check, root = script("check_distribution"), tmp_path / "checkout"
    package = {"spacy_transfer/a.py", "spacy_transfer/py.typed"}
    for name in {*package, *check.FILES, "tests/test_a.py", "tests/__pycache__/a.pyc"}:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")

    def build(sdist, wheel):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
            for name in sdist:
                archive.add(root / name, f"x-1.0/{name}")
        with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
            for name in wheel:
                archive.writestr(name, "")
        found = check.problems_of_sdist(root, tmp_path / "x.tar.gz")
        return found + check.problems_of_wheel(root, tmp_path / "x.whl")

    sources, built = {*package, *check.FILES, "tests/test_a.py"}, {*package, "x-1.0.dist-info/licenses/LICENSE"}
    assert build(sources, built) == []
    assert build(sources - {"tests/test_a.py"}, built) == ["x.tar.gz lacks tests/test_a.py"]
    assert build(sources, built - {"spacy_transfer/a.py"}) == ["x.whl lacks spacy_transfer/a.py"]
    assert build(sources, built | {"tests/test_a.py"}) == ["x.whl holds tests/test_a.py, which is not of the package"]
    assert build(sources, package) == ["x.whl lacks the license"]


def test_reviews_are_drawn_by_label_and_seed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    reviews = script("reviews")
    pool = [(f"review {i}", reviews.NAMES[str(i % 2)]) for i in range(60)]
    drawn = reviews.draw(pool, 10, seed=1)
    assert len(set(drawn)) == 20 and set(drawn) <= set(pool)
    assert sum(label == "positive" for _, label in drawn) == 10
    assert drawn == reviews.draw(pool, 10, seed=1) != reviews.draw(pool, 10, seed=2)


def test_what_pretraining_gave(tmp_path, monkeypatch, capsys):
    srsly.write_jsonl(tmp_path / "log.jsonl", [{"held_out_loss": 9.2}, {"loss": 3.0}, {"held_out_loss": 5.1}])
    names = [f"{kind}_{count}" for kind in ("fresh", "pretrained") for count in (10, 100)]
    for i, name in enumerate(names):
        srsly.write_json(tmp_path / f"{name}.json", {"cats_macro_f": 0.5 + i / 10})
    picture = tmp_path / "pictures" / "adapted.png"
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "log.jsonl"), str(picture), str(tmp_path), *names])
    script("adapted").main()
    said = capsys.readouterr().out
    assert "9.200 at the start, 5.100 at the end" in said and "| pretrained_100 | 80.0 |" in said
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_pictures_of_pages():
    """Those that docs show are those that the script takes (and those that scripts draw)."""
    shots = script("screenshots")
    drawn = {"accuracy.png", "choosing.png", "few_labels.png"}
    assert {path.name for path in (ROOT / "docs").glob("*.png")} == drawn | set(shots.PICTURES)
    for name, (page, *_) in shots.PICTURES.items():
        assert f"]({name})" in (ROOT / page).read_text(encoding="utf8")
        picture = (ROOT / "docs" / name).read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) <= shots.MOST_BYTES


def test_a_browser_that_is_missing_is_said(monkeypatch):
    shots = script("screenshots")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install chromium"):
        shots.find_browser()
