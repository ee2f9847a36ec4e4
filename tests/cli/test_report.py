"""`python -m spacy transfer report`: a page from a saved pipeline and a file, and how it looks in a real browser."""

import html
import json
import re
import shutil
import subprocess

import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_transfer.cli.report import report_cli  # noqa: F401 (hangs the command on spaCy's)

from ..pipelines import TAGGER, backbone_config
from ..reports.test_page import EVIL, check_alone

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEXTS = ["the cat sees a dog", "a dog sings", f"{EVIL} cat", "dogs see the big cat here " * 40, "cat", ""]


def gold(nlp, i, text):
    doc = nlp.make_doc(text)
    ents = [(t.idx, t.idx + len(t), "ANIMAL") for t in doc if t.text in ("cat", "dog")]
    cats = {f"label {n}": float(i % 3 == n) for n in range(3)}
    tags = [token.text[0].upper() for token in doc]
    doc = Example.from_dict(doc, {"entities": ents, "cats": cats, "tags": tags}).reference
    doc._.score = float(i)
    return doc


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_bert):
    """A pipeline with every kind of head, hardly trained, and a file of texts."""
    folder = tmp_path_factory.mktemp("report")
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe("transfer_textcat")
    nlp.add_pipe("transfer_regressor")
    nlp.add_pipe("tagger", config={"model": TAGGER})
    nlp.add_pipe("entity_ruler")
    docs = [gold(nlp, i, text) for i, text in enumerate(TEXTS)]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    nlp.initialize(lambda: examples)
    patterns = [{"label": "THING", "pattern": "dog"}, {"label": "ANIMAL", "pattern": "cat"}]
    nlp.get_pipe("entity_ruler").add_patterns(patterns)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    nlp.to_disk(folder / "pipeline")
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "data.spacy")
    yield folder
    Doc.remove_extension("score")


def run(*arguments):
    return CliRunner().invoke(app, ["transfer", "report", *map(str, arguments)])


@pytest.fixture(scope="module")
def page(saved):
    result = run(saved / "pipeline", saved / "data.spacy", saved / "out.html", "--resamples", 50)
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.output and "Pearson" in result.output
    assert not list(saved.glob("*.part"))
    return saved / "out.html"


def test_the_page_says_what_spacy_evaluate_says(saved, page):
    nlp = spacy.load(saved / "pipeline")
    from spacy.training import Corpus

    scores = nlp.evaluate(list(Corpus(saved / "data.spacy")(nlp)))
    parser = check_alone(page.read_text(encoding="utf8"))
    text = " ".join(parser.text)
    rows = re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+) to', page.read_text(encoding="utf8"))
    shown = {}
    for name, value, _ in rows:
        shown.setdefault(name, []).append(float(value))
    assert shown["Pearson"] == [pytest.approx(scores["score_pearson"], abs=6e-4)]
    assert shown["F1"] == [pytest.approx(scores["ents_f"], abs=6e-4)]
    # One label given and one found in every doc: micro-averaged F is accuracy.
    assert shown["accuracy"] == [
        pytest.approx(scores["cats_micro_f"], abs=6e-4),
        pytest.approx(scores["tag_acc"], abs=6e-4),
    ]
    # It has no name of its own: the end of its folder is shown.
    assert "en_pipeline" not in text and "name and version" not in text
    assert re.search(rf"Report on [^/]+/{saved.name}/pipeline", text)
    assert re.search(r"accuracy of always saying '\w+ \d'", text) and "exact" in text and "bootstrap" in text
    for said in (f"{saved.name}/pipeline", str(saved / "data.spacy"), "50 bootstrap draws", "seed 0"):
        assert said in text
    # spaCy's reader leaves out docs without tokens.
    assert re.search(r"docs\s*5", text) and re.search(r"20\d\d-\d\d-\d\d", text)


# Appended to a copy of the page, for the test alone: what a reader would see.
MEASURE = """<script>addEventListener("load", () => {
const box = e => e.getBoundingClientRect();
const outside = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = box(svg);
  for (const e of svg.querySelectorAll("text,circle,rect")) {
    const b = box(e);
    if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
      outside.push(e.outerHTML);
  }
}
const style = getComputedStyle(document.body);
const found = {
  wide: document.documentElement.scrollWidth - innerWidth, outside,
  evil: typeof window.evil, scripts: document.scripts.length, images: document.images.length,
  svgs: [...document.querySelectorAll("svg")].map(e => [box(e).width, box(e).height]),
  sections: document.querySelectorAll("section").length,
  marks: [...document.querySelectorAll("mark.entity")].map(e => [getComputedStyle(e).color,
    getComputedStyle(e).backgroundColor]),
  text: document.body.innerText, colour: style.color, background: style.backgroundColor,
};
const out = document.createElement("pre"); out.id = "found"; out.textContent = JSON.stringify(found);
document.body.append(out);
})</script>"""


def measure(page, folder, width, *more):
    copy = folder / "measured.html"
    copy.write_text(page.read_text(encoding="utf8").replace("</body>", MEASURE + "</body>"), encoding="utf8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", *more]
    done = subprocess.run([*command, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    return json.loads(html.unescape(found[1]))


def brightness(colour):
    """Relative luminance (WCAG 2)."""
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((brightness(one), brightness(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium")
@pytest.mark.parametrize(
    ("width", "more"), [(1200, []), (500, []), (1200, ["--blink-settings=preferredColorScheme=0"])]
)
def test_in_a_browser(page, tmp_path, width, more):
    found = measure(page, tmp_path, width, *more)
    assert found["wide"] <= 0, "the page must not scroll sideways"
    assert found["outside"] == []
    assert (found["evil"], found["scripts"], found["images"]) == ("undefined", 1, 0)
    assert found["sections"] == 4 and len(found["svgs"]) == 6
    assert all(w > 200 and h > 100 for w, h in found["svgs"])
    for said in ("Report on", "accuracy", "95% interval", "<script>window.evil = 1</script>", "\U0001f600", "ANIMAL"):
        assert said in found["text"]
    assert contrast(found["colour"], found["background"]) >= 7
    assert found["marks"] and all(contrast(*mark) >= 4.5 for mark in found["marks"])
    assert (brightness(found["background"]) < 0.1) == bool(more), "dark where the reader wants it dark"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": "nowhere.spacy"}, "T483"),
        ({"out": "nowhere/out.html"}, "T735"),
        ({"pipeline": "no_such_pipeline"}, "T756"),
        ({"data": "empty.spacy"}, "T732"),
        ({"pipeline": "blank"}, "T731"),
    ],
)
def test_bad_input(saved, change, says):
    DocBin().to_disk(saved / "empty.spacy")
    spacy.blank("en").to_disk(saved / "blank")
    names = {"pipeline": "pipeline", "data": "data.spacy", "out": "bad.html", **change}
    pipeline = names["pipeline"] if "no_such" in names["pipeline"] else saved / names["pipeline"]
    result = run(pipeline, saved / names["data"], saved / names["out"])
    assert result.exit_code == (1 if says in ("T732", "T731") else 2) and says in result.output
    assert not (saved / "bad.html").exists()
